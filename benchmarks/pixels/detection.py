"""Small detectors of blood cells, alone and with one and two teachers.

    python -m benchmarks.pixels.detection [--runs DIR] [--shared DIR] [--tiny]

BCCD has 205 images for training, 87 for validation and 72 for test. A figure that is in detection.json is not
measured again, so the command may be stopped and started again; each is written there when it is known, and
the page DETECTION.md is printed from them. `--tiny` tries it out, and writes into the folder of runs alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import limbeck
from benchmarks.ledger import Ledger
from benchmarks.pixels.boxes_page import page
from benchmarks.pixels.cost import cost, peak, peak_apart
from benchmarks.pixels.few import few
from limbeck import data
from limbeck.data import Source
from limbeck.files import write_text
from limbeck.runs import Run

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FEATURES = "5*masked_generative"


@dataclass(frozen=True)
class Setting:
    """What all cells share; cells of other settings do not stand beside them.

    Attributes:
        data: what is learned from, in the notation.
        student: a network, in the notation.
        teachers: larger ones by name, from near to strong.
        epochs: of the student, in all; with two teachers, half with each.
        teacher_epochs: of the teachers.
        tried: numbers of epochs that the student alone is tried with, by its validation split.
        lr: learning rate of all.
        batch_size: of all.
        samples: images of each split that are used; None for all, and the first few to try it out.
        seeds: how many there are.
    """

    data: str = "detection(resize=[120, 160])"
    student: str = "fcos(channels=[8, 16, 32, 32], width=16)"
    teachers: Mapping[str, str] = field(
        default_factory=lambda: {
            "near": "fcos(channels=[16, 32, 64, 64], width=32)",
            "strong": "fcos(channels=[24, 48, 96, 96], blocks=2, width=48)",
        }
    )
    epochs: int = 192
    teacher_epochs: int = 120
    tried: tuple[int, ...] = (48, 96, 384, 768)
    lr: float = 2e-3
    batch_size: int = 8
    samples: int | None = None
    seeds: int = 5

    def contenders(self) -> dict[str, tuple[str, tuple[str, ...], int]]:
        """The objective of each, the teachers that it is given, and the epochs of its training."""
        phase = self.epochs // 2
        both = f'mtpd(fcos + {FEATURES}, teachers=["near", "strong"], epochs={phase}, lr={self.lr:g}'
        return {
            "alone": ("fcos", (), self.epochs),
            "KD + features": (
                f"fcos + kd(temperature=1) + giou + {FEATURES}",
                ("strong",),
                self.epochs,
            ),
            "MTPD, one teacher": (f"fcos + {FEATURES}", ("strong",), self.epochs),
            "MTPD, two teachers": (
                f'{both}, optimizer="adamw", weight_decay=0.0)',
                ("near", "strong"),
                self.epochs - phase,
            ),
        }


class Bench:
    """Where figures are kept and runs go.

    Args:
        setting: what is compared.
        folder: of the figures and the page.
        runs: of the runs.
        shared: of the data files.
    """

    def __init__(self, setting: Setting, folder: Path, runs: Path, shared: Path) -> None:
        self.setting, self.runs, self.shared = setting, runs, shared
        self.ledger, self.written = Ledger(folder / "detection.json"), folder / "DETECTION.md"

    def run(self) -> None:
        """Runs whatever is missing: the tries, the teachers, then seed after seed."""
        setting = self.setting
        for epochs in setting.tried:
            for seed in range(min(2, setting.seeds)):
                self._once(
                    "tries",
                    str(epochs),
                    str(seed),
                    objective="fcos",
                    measure=partial(self._try, epochs, seed),
                )
        for name, model in setting.teachers.items():
            self._once(
                "teachers",
                name,
                objective="fcos",
                measure=partial(self._taught, name, model),
            )
        for seed in range(setting.seeds):
            for name, (objective, teachers, epochs) in setting.contenders().items():
                self._once(
                    "cells",
                    name,
                    str(seed),
                    objective=objective,
                    measure=partial(self._cell, name, objective, teachers, epochs, seed),
                )
        for name, (objective, _, _) in setting.contenders().items():
            self._once("cost", name, objective=objective, measure=partial(self._spent, name))

    def _once(self, *place: str, objective: str, measure: Callable[[], Mapping[str, Any]]) -> None:
        """Figures that are measured if they are missing, and the page with them."""
        of = {"objective": objective, **asdict(self.setting)}
        del of["tried"], of["seeds"]  # other tries and further seeds leave the figures as they are
        kept = self.ledger.once(*place, of=of, measure=measure)
        print(
            f"{', '.join(place)}: { {key: value for key, value in kept.items() if key != 'of'} }", flush=True
        )
        write_text(self.written, page(asdict(self.setting), self.ledger.found))

    def _try(self, epochs: int, seed: int) -> dict[str, Any]:
        return figures(self._trained(self.setting.student, "fcos", f"alone-{epochs}-{seed}", epochs, seed))

    def _cell(
        self, name: str, objective: str, teachers: tuple[str, ...], epochs: int, seed: int
    ) -> dict[str, Any]:
        slug = "".join(letter if letter.isalnum() else "-" for letter in name.lower())
        if not teachers:
            return figures(
                self._trained(self.setting.student, objective, f"alone-{epochs}-{seed}", epochs, seed)
            )
        given = {each: self._teacher(each, self.setting.teachers[each]) for each in teachers}
        path = self.runs / f"{slug}-{seed}"
        shared = self._given(epochs, seed)
        for each in teachers if self.setting.samples else ():  # they are no better than chance
            shared["settings"][f"teachers.{each}.trust" if len(given) > 1 else "teacher.trust"] = True
        run = limbeck.distill(
            student=self.setting.student,
            teacher=given if len(given) > 1 else given[teachers[0]],
            objective=objective,
            out=path,
            resume=(path / "config.yaml").exists(),
            **shared,
        )
        return figures(run)

    def _spent(self, name: str) -> dict[str, Any]:
        """What a step of a contender costs, with one teacher or the second of two, and the peak of memory."""
        objective, taught = self._sides(name)
        spent = cost(self._source(), self.setting, "fcos", objective, taught)
        tiny = self.setting.samples is not None
        apart = peak_apart("detection", name, self.runs.parent, self.shared, tiny=tiny)
        return {**spent, "peak": apart}

    def peak(self, name: str) -> int:
        """Peak bytes of this process, after a few steps of a contender."""
        return peak(self._source(), self.setting, *self._sides(name))

    def _sides(self, name: str) -> tuple[str, dict[str, nn.Module] | nn.Module | None]:
        """The objective of a contender, with a phase of one epoch if it has any, and its teachers."""
        objective, names, _ = replace(self.setting, epochs=2).contenders()[name]
        networks = {each: limbeck.load(self._teacher(each, self.setting.teachers[each])) for each in names}
        return objective, networks if len(networks) > 1 else next(iter(networks.values()), None)

    def _teacher(self, name: str, model: str) -> Run:
        return self._trained(model, "fcos", name, self.setting.teacher_epochs, 0)

    def _taught(self, name: str, model: str) -> dict[str, Any]:
        return figures(self._teacher(name, model))

    def _trained(self, model: str, objective: str, name: str, epochs: int, seed: int) -> Run:
        """A network trained by the labels alone, where it is not there yet."""
        run = Run(self.runs / name)
        if run.finished:
            return run
        resume = (run.path / "config.yaml").exists()
        return limbeck.train(
            model=model, objective=objective, out=run.path, resume=resume, **self._given(epochs, seed)
        )

    def _given(self, epochs: int, seed: int) -> dict[str, Any]:
        """What every run is given."""
        return {
            "data": self._source(),
            "epochs": epochs,
            "batch_size": self.setting.batch_size,
            "lr": self.setting.lr,
            "seed": seed,
            "display": False,
            "settings": {
                "training.trackers": [],
                "training.precision": "fp32",
                "training.memory_format": "contiguous",
                "training.optimizer": {"name": "adamw"},
            },
        }

    def _source(self) -> Source:
        source = data.load(self.setting.data, self.shared / "detection" / "bccd")
        return few(source, self.setting.samples) if self.setting.samples else source


def figures(run: Run) -> dict[str, Any]:
    """What is reported of a run: the metrics of both splits, parameters, agreement with the teacher, time."""
    result = run.result
    return {
        "test": dict(result.metrics.on("test")),
        "validation": dict(result.metrics.on("validation")),
        "agreement": result.agreement,
        "parameters": result.student.parameters,
        "seconds": round(result.seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--tiny", action="store_true", help="one epoch, two seeds; written into --runs alone")
    parser.add_argument("--runs", type=Path, default=Path("runs/pixels"), help="where the runs go")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared" / "data", help="data files")
    parser.add_argument("--peak", choices=Setting().contenders(), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder, runs, setting = HERE, (arguments.runs / "detection").resolve(), Setting()
    if arguments.tiny:
        folder = runs = runs.with_name("detection-tiny")
        setting = replace(setting, epochs=2, teacher_epochs=1, tried=(1,), seeds=2, samples=16)
    bench = Bench(setting, folder, runs, arguments.shared)
    if arguments.peak:
        print(bench.peak(arguments.peak))
    else:
        bench.run()


if __name__ == "__main__":
    main()
