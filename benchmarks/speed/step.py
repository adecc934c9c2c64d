"""Figure 1: a training step of each method over a step of the student alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import limbeck
from benchmarks.speed.contest import Timed, alternate
from benchmarks.speed.loop import KD, ask, some, tensors, train
from benchmarks.speed.networks import PAIRS, network, noise
from benchmarks.speed.plain import bare_step
from limbeck import Distiller
from limbeck.data import Loader
from limbeck.objective import parse
from limbeck.outputs import Batch
from limbeck.teachers import CachedTeacher, LiveTeacher, Teacher
from limbeck.teachers.cached import FIELDS
from limbeck.training import Trainer

OBJECTIVES = {
    "ce": "ce",
    "kd": KD,
    "dkd": "ce + dkd",
    "icd": "ce + icd",
    "mgd(kd)": "mgd(0.2*ce + 0.8*kd, epochs=1)",
    "lwkd": "ce + lwkd(epochs=2)",
    "at": "ce + 1000*at",
    "sp": "ce + 3000*sp",
    "crd": "ce + 0.8*crd",
    "crd, shared negatives": 'ce + 0.8*crd(negatives="shared")',
}
"""Phases have no part in a step; they are shortened here."""
ALONE, ALONE_FEW = "student alone", "student alone, few classes"
CLASSES, FEW = 100, 10
"""Of all, and of LW-KD, whose phase takes longer the more there are."""
WARM_UP = 3


def reference(name: str) -> str:
    """What a method's step is measured by: the student alone, with as many classes."""
    return ALONE_FEW if name == "lwkd" else ALONE


def measure(
    device: str, batch_size: int, cache: Path, *, repetitions: int, steps: int, size: int
) -> dict[str, Any]:
    """Seconds of a step by contender and repetition.

    Args:
        device: "cpu" or "cuda".
        batch_size: of a step.
        cache: directory of the cached teacher's files.
        repetitions: turns of each contender.
        steps: of a turn, after a few that warm up.
        size: of the training set: of the cache, and of what CRD has to choose from.
    """
    trainer = Trainer(device=device, display=False)
    contenders: dict[str, Callable[[], float]] = {}
    for alone, classes in ((ALONE, CLASSES), (ALONE_FEW, FEW)):
        objectives = {name: text for name, text in OBJECTIVES.items() if reference(name) == alone}
        setting = Setting(trainer, device, batch_size, cache, steps=steps, size=size, classes=classes)
        contenders |= {alone: setting.alone(), **setting.contenders(objectives)}
    return {"precision": trainer.precision, "size": size, "seconds": alternate(contenders, repetitions)}


class Setting:
    """Networks and images of so many classes, and the contenders on them."""

    def __init__(
        self,
        trainer: Trainer,
        device: str,
        batch_size: int,
        cache: Path,
        *,
        steps: int,
        size: int,
        classes: int,
    ) -> None:
        self.trainer, self.device, self.steps, self.cache = trainer, device, steps, cache
        self.source = noise(size, classes)
        self.loader = Loader(
            self.source.train, batch_size, views=self.source.views, views_per_sample=1, device=device
        )
        self.epochs = count()
        example = tensors(self.batches()[0])[0].cpu()
        self.teacher, self.student, self.recorded = (
            network(name, example, classes).to(device)
            for name in (*PAIRS["resnet32x4 -> resnet8x4"], "mlp(hidden=[256])")
        )

    def batches(self) -> list[Batch]:
        """Those of one turn, other ones each time."""
        self.loader.set_epoch(next(self.epochs))
        return some(self.loader, WARM_UP + self.steps)

    def alone(self) -> Callable[[], float]:
        step = bare_step(
            copy.deepcopy(self.student).train(), bf16=self.trainer.precision == "bf16", device=self.device
        )

        def run() -> float:
            timed = Timed(self.batches(), WARM_UP, self.device)
            for batch in timed:
                step(*tensors(batch))
            return timed.step

        return run

    def contenders(self, objectives: Mapping[str, str]) -> dict[str, Callable[[], float]]:
        """By method, with a live teacher and with a cached one as far as either makes sense."""
        found: dict[str, Callable[[], float]] = {}
        for name, objective in objectives.items():
            reads = parse(objective).all_reads.teacher
            if not reads:
                found[name] = self.taught(objective, None)
                continue
            found[f"{name}, live"] = self.taught(objective, LiveTeacher(self.teacher))
            if set(reads) <= set(FIELDS):
                # Who gave the answers in the files does not matter to a step. These are of a small network
                # with as many numbers, so that they can be had for as many images as in a real training.
                cached = CachedTeacher(self.recorded, self.source, FIELDS, views=1, directory=self.cache)
                found[f"{name}, cached"] = self.taught(objective, cached)
                ask(cached, self.loader, self.trainer)  # the first of them fills the files
        return found

    def taught(self, objective: str, teacher: Teacher | None) -> Callable[[], float]:
        distiller = Distiller(
            copy.deepcopy(self.student), teacher, objective, example=self.source.example(), data=self.loader
        )
        limbeck.prepare(distiller, self.batches(), display=False, device=self.device)

        def run() -> float:
            timed = Timed(self.batches(), WARM_UP, self.device)
            train(self.trainer, distiller, timed)
            return timed.step

        return run
