"""Scores on tasks of lm-eval: with lm-eval where it is installed, and with its place taken."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from printed import shown
from small_runs import make_teacher

import limbeck
from language_models import llama, write_stories
from limbeck import LimbeckError
from limbeck.cli.evaluated import evaluated
from limbeck.doors import evaluate
from limbeck.evaluation import results
from limbeck.evaluation.results import Role
from limbeck.models import GPT
from limbeck.runs import Run
from limbeck.runs.task_scores import counterpart

pytest.importorskip("transformers")

QUESTIONS = [
    ("Tim saw a ball. The", " ball was big.", " cat."),
    ("Sue saw a", " box.", " Sue saw a big tree."),
]
TASK = """
task: stories
dataset_path: json
dataset_kwargs:
  data_files: {{test: {file}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: label
target_delimiter: ""
metric_list:
  - metric: acc
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("language")
    return limbeck.distill(
        student="gpt(dim=16, depth=1, heads=2)",
        teacher=f"hf:{llama(folder / 'llama')}",
        data=f'language(path="{write_stories(folder)}", separator="\\n\\n", block=16)',
        objective="0.5*ce + 0.5*kd(temperature=1)",
        epochs=1,
        baseline="none",
        display=False,
        out=folder / "run",
        settings={"training.trackers": []},
    )


@pytest.fixture
def task(tmp_path: Path) -> Path:
    rows = [{"question": question, "choices": choices, "label": 0} for question, *choices in QUESTIONS]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    file = tmp_path / "stories.yaml"
    file.write_text(TASK.format(file=tmp_path / "docs.jsonl"), encoding="utf-8")
    return file


def right(network: Any, tokenizer: Any) -> float:
    """The share of the questions whose first choice the network holds for more probable than the other."""
    hits = 0
    for question, *choices in QUESTIONS:
        sums = []
        for choice in choices:
            before, whole = (tokenizer(text)["input_ids"] for text in (question, question + choice))
            with torch.no_grad():
                scores = network(torch.tensor([whole]))
                scores = scores if isinstance(scores, torch.Tensor) else scores.logits
                logs = scores[0, :-1].log_softmax(-1).gather(-1, torch.tensor(whole[1:]).unsqueeze(-1))
            sums.append(logs[len(before) - 1 :].sum().item())
        hits += sums[0] > sums[1]
    return hits / len(QUESTIONS)


def test_scores_are_those_of_the_networks(run: Run, task: Path) -> None:
    pytest.importorskip("lm_eval", reason="lm-eval is not installed; make test-lm-eval brings it")
    found = evaluate(run, lm_eval=[str(task)])
    (score,) = found.scores
    assert (score.task, score.metric, score.samples) == ("stories", "acc", 2)
    source = run.data()
    assert source.tokens is not None
    from limbeck.runs import networks

    teacher = networks.teacher(next(iter(run.config.taught_by.values())), source).eval()
    assert score.values == {
        "student": right(limbeck.load(run), source.tokens.tokenizer),
        "teacher": right(teacher, source.tokens.tokenizer),
    }
    assert results.read(run.path / "evaluation.json") == found
    with pytest.raises(LimbeckError, match=r"holds figures that this would lose, of tasks of lm-eval"):
        evaluate(run)
    (score,) = evaluate(run, lm_eval=[str(task)], lm_eval_limit=1).scores
    assert score.samples == 1


class Asked:
    """Stands where lm-eval would, and keeps what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.models: list[dict[str, Any]] = []
        self.calls: list[dict[str, Any]] = []
        asked = self

        class TaskManager:
            all_tasks = ("arc_easy", "broken", "hellaswag")

            def load(self, names: list[str]) -> None:
                if "broken" in names:
                    raise OSError("no network\nand more")

        def model(**given: Any) -> object:
            asked.models.append({**given, "training": given["pretrained"].training})
            return given["pretrained"]

        def score(**given: Any) -> dict[str, Any]:
            asked.calls.append(given)
            share = 0.25 * len(asked.calls)
            return {
                "results": {
                    "arc_easy": {
                        "alias": "arc_easy",
                        "acc,none": share,
                        "acc_stderr,none": 0.1,
                        "exact_match,strict": 0.0,
                        "exact_match_stderr,strict": "N/A",
                    }
                },
                "n-samples": {"arc_easy": {"original": 9, "effective": 5}},
            }

        places: dict[str, dict[str, Any]] = {
            "lm_eval": {"simple_evaluate": score},
            "lm_eval.tasks": {"TaskManager": TaskManager},
            "lm_eval.models": {},
            "lm_eval.models.huggingface": {"HFLM": model},
        }
        for name, inside in places.items():
            module = ModuleType(name)
            vars(module).update(inside)
            monkeypatch.setitem(sys.modules, name, module)


def test_what_is_asked_and_what_is_recorded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch)
    before = torch.random.get_rng_state()
    found = evaluate(run, lm_eval=["arc_easy"], lm_eval_limit=5, overwrite=True)
    assert torch.equal(before, torch.random.get_rng_state())
    assert [(each["tasks"], each["limit"]) for each in asked.calls] == [(["arc_easy"], 5)] * 2
    assert [type(each["pretrained"]).__name__ for each in asked.models] == ["LlamaForCausalLM"] * 2
    assert not any(each["training"] for each in asked.models)
    first, second = found.scores
    assert (first.metric, first.samples) == ("acc", 5)
    assert first.values == {"student": 0.25, "teacher": 0.5}
    assert first.errors == {"student": 0.1, "teacher": 0.1}
    assert (second.metric, second.errors) == ("exact_match, strict", {})
    printed = shown(evaluated(found, run))
    assert "0.2500 ± 0.1000" in printed
    assert "Task scores" in (run.path / "report.html").read_text(encoding="utf-8")


def test_what_cannot_be_scored_is_refused_before_anything_is_measured(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(LimbeckError, match=r"a limit of documents is for tasks of lm-eval; name some"):
        evaluate(run, lm_eval_limit=3)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(LimbeckError, match=r"lm_eval"):
        evaluate(run, lm_eval=["arc_easy"], overwrite=True)
    Asked(monkeypatch)
    for name, said in {
        "arc_eazy": "unknown task of lm-eval 'arc_eazy'; did you mean 'arc_easy'",
        "none.yaml": "there is no file 'none.yaml' with a task of lm-eval",
        "broken": "lm-eval cannot load the task 'broken': no network$",
        "": "lm-eval needs the name of a task",
    }.items():
        with pytest.raises(LimbeckError, match=said):
            evaluate(run, lm_eval=[name], overwrite=True)
    with pytest.raises(LimbeckError, match=r"lm-eval needs at least 1 document of a task, not 0"):
        evaluate(run, lm_eval=["arc_easy"], lm_eval_limit=0, overwrite=True)
    other = make_teacher(tmp_path / "digits")
    with pytest.raises(LimbeckError, match=r"lm-eval scores language models, and \S+ is for classification"):
        evaluate(other, lm_eval=["arc_easy"])


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_networks_without_a_counterpart_are_refused(role: Role) -> None:
    learned = GPT(dim=16, depth=1, heads=2, vocab_size=30, positions="learned", context=8)
    for network in (learned, torch.nn.Linear(2, 2)):
        with pytest.raises(LimbeckError, match=f"the {role} is {type(network).__name__}; give a network of"):
            counterpart(network, role)
