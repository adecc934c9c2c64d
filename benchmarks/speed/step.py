"""Figure 1: a training step of each method over a step of the student alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from contest import Timed, alternate
from loop import KD, some, tensors, train
from networks import PAIRS, network, noise
from plain import bare_step

from limbeck import Distiller
from limbeck.data import Loader
from limbeck.objective import parse
from limbeck.teachers import CachedTeacher, LiveTeacher, Teacher
from limbeck.teachers.cached import FIELDS
from limbeck.training import Trainer

OBJECTIVES = {
    "ce": "ce",
    "kd": KD,
    "dkd": "ce + dkd",
    "icd": "ce + icd",
    "mgd(kd)": "mgd(0.2*ce + 0.8*kd, epochs=1)",
    "lwkd": "0.7*ce + lwkd(epochs=2)",
    "at": "ce + 1000*at",
    "sp": "ce + 3000*sp",
    "crd": "ce + 0.8*crd",
    "crd, shared negatives": 'ce + 0.8*crd(negatives="shared")',
}
"""Phases have no part in a step; they are shortened here."""
CLASSES = 10
"""Few, for LW-KD's phase takes longer the more there are."""
ALONE = "student alone"
WARM_UP = 3


def measure(
    device: str, batch_size: int, cache: Path, *, repetitions: int, steps: int, size: int
) -> dict[str, Any]:
    """Seconds of a step by contender and repetition.

    Args:
        device: "cpu" or "cuda".
        batch_size: of a step.
        cache: directory of the cached teacher's files.
        repetitions: turns of each contender.
        steps: of a turn, whose median counts, after a few that warm up.
        size: of the training set, which decides how much CRD has to choose from.
    """
    source = noise(size, CLASSES)
    loader = Loader(source.train, batch_size, views=source.views, device=device)
    batches = some(loader, WARM_UP + steps)
    example = tensors(batches[0])[0].cpu()
    teacher, student = (
        network(name, example, CLASSES).to(device) for name in PAIRS["resnet32x4 -> resnet8x4"]
    )
    trainer = Trainer(device=device, display=False)

    def alone() -> Callable[[], float]:
        step = bare_step(copy.deepcopy(student).train(), bf16=trainer.precision == "bf16", device=device)
        timed = Timed(batches, device)

        def run() -> float:
            for batch in timed:
                images, labels = tensors(batch)
                step(images.contiguous(memory_format=torch.channels_last), labels)
            return timed.step(WARM_UP)

        return run

    def limbeck(objective: str, taught_by: Teacher | None) -> Callable[[], float]:
        distiller = Distiller(
            copy.deepcopy(student), taught_by, objective, example=source.example(), data=loader
        )
        distiller.prepare(batches, display=False, device=device)
        timed = Timed(batches, device)

        def run() -> float:
            train(trainer, distiller, timed)
            return timed.step(WARM_UP)

        return run

    contenders = {ALONE: alone()}
    for name, objective in OBJECTIVES.items():
        reads = parse(objective).all_reads.teacher
        if not reads:
            contenders[name] = limbeck(objective, None)
            continue
        contenders[f"{name}, live"] = limbeck(objective, LiveTeacher(teacher))
        if set(reads) <= set(FIELDS):
            cached = CachedTeacher(teacher, source, FIELDS, directory=cache)
            contenders[f"{name}, cached"] = limbeck(objective, cached)
            contenders[f"{name}, cached"]()  # fills it
    return {"precision": trainer.precision, "seconds": alternate(contenders, repetitions)}
