"""Language models distilled at equal steps: fine-tuning, divergences, caches and texts that networks write.

    python -m benchmarks.language.run [SETTING ...] [--gguf FILE] [--runs DIR] [--shared DIR] [--tiny]

`restaurants` and `shakespeare` have a teacher of 2.4 million parameters, trained here, and a student of a
fifth. `smollm2` cuts layers out of SmolLM2-135M-Instruct, whose file `--gguf` names; `make bench-language`
brings it. Every contender of a setting takes as many steps of as many texts from the same weights. A cell is
one contender with one seed. Its figures are written to results.json beside this file as it is finished, and
cells that are there are not run again, so the command may be stopped and started again. `--tiny` takes a few
steps of everything and leaves results.json and README.md in the folder of the runs.
"""

from __future__ import annotations

import argparse
import itertools
import os
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import limbeck
from benchmarks.language.readme import readme
from benchmarks.language.settings import FINE_TUNING, SETTINGS, Setting, Training, write_pairs
from benchmarks.language.weights import folder_of
from benchmarks.language.writing import taught_nll
from benchmarks.ledger import Ledger
from limbeck.config import TeacherConfig
from limbeck.data import Loader, Source
from limbeck.data.storage.sequences import Sequences
from limbeck.evaluation import results as evaluations
from limbeck.evaluation.measure import compare, metrics
from limbeck.files import write_text
from limbeck.models import count_parameters
from limbeck.runs import Run, networks

HERE = Path(__file__).parent
BATCH = 64
"""Test texts at once."""


@dataclass(frozen=True)
class Bench:
    """One setting with the folders that it reads and writes.

    Attributes:
        name: of the setting.
        setting: that.
        source: its texts, in the notation.
        runs: where its runs go.
        gguf: the file of weights of SmolLM2, which become a folder beside the runs once; None where it is not
            at hand.
    """

    name: str
    setting: Setting
    source: str
    runs: Path
    gguf: Path | None

    def network(self, text: str) -> str:
        """A network in the notation."""
        return text.format(weights=self.weights) if "{weights}" in text else text

    @cached_property
    def weights(self) -> Path:
        """The folder of weights of SmolLM2."""
        assert self.gguf is not None, "a setting that reads them is left out without the file"
        return folder_of(self.gguf, self.runs / "weights")

    def given(self, training: Training, seed: int) -> dict[str, Any]:
        """What every run is given that is trained so."""
        setting = self.setting
        return {
            "data": self.source,
            "epochs": training.epochs,
            "batch_size": setting.batch_size,
            "lr": training.lr,
            "seed": seed,
            "display": False,
            "settings": {
                "training.samples_per_epoch": training.steps * setting.batch_size,
                "training.optimizer": "adamw",
                "training.trackers": [],
                "training.precision": "fp32",
                **{key: value for key, value in setting.settings.items() if key.startswith("training.")},
            },
        }

    def trained(self, name: str, model: str, training: Training, seed: int) -> Run:
        """A network that is trained on the labels alone, where it is not there yet."""
        run = Run(self.runs / name)
        if not run.finished:
            given = self.given(training, seed)
            limbeck.train(model=model, out=run.path, resume=(run.path / "config.yaml").exists(), **given)
        return run

    @cached_property
    def teacher(self) -> str:
        """The teacher, trained where it is not there yet and has no weights."""
        setting, model = self.setting, self.network(self.setting.teacher)
        return str(self.trained("teacher", model, setting.taught, 0).path) if setting.taught else model

    @cached_property
    def asked(self) -> nn.Module:
        """The network of the teacher; every run has the same data."""
        config = TeacherConfig(model=self.teacher)
        return networks.teacher(config, self.run(FINE_TUNING, self.setting.seeds[0]).data()).eval()

    def beginning(self, seed: int) -> str:
        """What all contenders of a seed begin with."""
        setting, model = self.setting, self.network(self.setting.student)
        if setting.begun is None:
            return model
        return str(self.trained(f"begun-{seed}", model, setting.begun, seed).path)

    def run(self, contender: str, seed: int) -> Run:
        """The run of one contender with one seed, done where it is not there yet."""
        made = self.setting.contenders[contender]
        slug = "".join(letter if letter.isalnum() else "-" for letter in contender.lower())
        run = Run(self.runs / f"{slug}-{seed}")
        if run.finished:
            return run
        given = self.given(self.setting.training, seed)
        given |= {"objective": made.objective, "out": run.path, "resume": (run.path / "config.yaml").exists()}
        if contender == FINE_TUNING:
            return limbeck.train(model=self.beginning(seed), **given)
        given["settings"] |= self.setting.settings
        return limbeck.distill(
            student=self.beginning(seed),
            teacher=self.teacher,
            cache_teacher="logits" if made.cached else None,
            baseline="none",
            **given,
        )

    def figures(self, contender: str, seed: int) -> dict[str, Any]:
        """What is reported of a contender's run."""
        run, teacher = self.run(contender, seed), self.asked
        result, source, student = run.result, run.data(), limbeck.load(run)
        found = evaluations.read(run.path / "evaluation.json")
        near = (found and found.agreement) or compare(source.task, student, teacher, held_out(source))
        assert result.samples_seen is not None
        assert isinstance(source.train.samples, Sequences)
        tokens = float(source.train.samples.tokens.lengths.double().mean())
        return {
            **{name: result.metrics.on("test")[name] for name in ("nll", "perplexity")},
            "validation_perplexity": result.metrics.on("validation")["perplexity"],
            "kl": near.distance,
            "agreement": near.agreement,
            "own_nll": taught_nll(student, teacher, source, self.setting.prompts),
            "seconds": result.seconds,
            "tokens_per_second": round(result.samples_seen * tokens / result.seconds, 1),
            "steps": result.steps,
            "samples": result.samples_seen,
            "teacher_forwards": result.teacher_forwards or 0,
            "parameters": result.student.parameters,
        }

    def worth(self) -> dict[str, Any]:
        """What is reported of the teacher."""
        teacher, source = self.asked, self.run(FINE_TUNING, self.setting.seeds[0]).data()
        assert source.validation is not None
        near = metrics(source.task, teacher, Loader(source.validation, BATCH, shuffle=False))
        found = metrics(source.task, teacher, held_out(source))
        return {
            **{name: found[name] for name in ("nll", "perplexity")},
            "validation_perplexity": near["perplexity"],
            "own_nll": taught_nll(teacher, teacher, source, self.setting.prompts),
            "parameters": count_parameters(teacher),
        }


def held_out(source: Source) -> Loader:
    """The test texts in their order."""
    assert source.test is not None
    return Loader(source.test, BATCH, shuffle=False)


def measure(bench: Bench, ledger: Ledger) -> None:
    """Measures whatever of a setting is not in the ledger yet."""
    setting = bench.setting
    of = asdict(setting)
    for each in ("title", "contenders", "seeds"):
        del of[each]  # they change no figure of a cell
    ledger.once(bench.name, "teacher", of=of, measure=bench.worth)
    for seed, (name, contender) in itertools.product(setting.seeds, setting.contenders.items()):
        cell = partial(bench.figures, name, seed)
        kept = ledger.once(bench.name, "cells", name, str(seed), of={**of, **asdict(contender)}, measure=cell)
        print(f"{bench.name}, {name}, {seed}: perplexity {kept['perplexity']:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="*", choices=[[], *SETTINGS], help="which; all if left out")
    parser.add_argument("--gguf", type=Path, help="SmolLM2-135M-Instruct; smollm2 is left out without it")
    parser.add_argument("--runs", type=Path, default=Path("runs/language"), help="where the runs go")
    parser.add_argument("--shared", type=Path, default=HERE.parents[2] / "shared" / "data", help="data files")
    parser.add_argument("--tiny", action="store_true", help="a few steps of everything, to see that it runs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["LIMBECK_CACHE"] = str((arguments.runs / "cache").resolve())
    place = arguments.runs if arguments.tiny else HERE
    ledger = Ledger(place / "results.json")
    for name in arguments.settings or SETTINGS:
        setting = SETTINGS[name].tiny() if arguments.tiny else SETTINGS[name]
        if "{weights}" in setting.teacher and arguments.gguf is None:
            print(f"{name} is left out: --gguf FILE is not given", flush=True)
            continue
        runs = arguments.runs / name
        write_pairs(arguments.shared, runs / "pairs", *setting.pairs)
        source = setting.data.format(pairs=runs / "pairs", shared=arguments.shared)
        measure(Bench(name, setting, source, runs, arguments.gguf), ledger)
    memory, peers = (Ledger(place / f"{name}.json").found for name in ("memory", "peers"))
    write_text(place / "README.md", readme(ledger.found, memory, peers))


if __name__ == "__main__":
    main()
