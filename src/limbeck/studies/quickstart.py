"""The quickstart: what distillation gives a very small network with few labels, measured in a minute.

A teacher learns from all 1,000 labeled training scans of the digits. The same small student is then
trained on 100 of the labels alone, and by the teacher, who also answers for the 900 scans without a label;
both get the same number of optimizer steps at the same rate. Epochs and rate were picked on the validation
split, where the student alone gained half a point at most from 300 to 800 steps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from limbeck import data, evaluation
from limbeck.errors import LimbeckError
from limbeck.files import write_text
from limbeck.runs import Run, distill, load, train
from limbeck.runs.directory import Report
from limbeck.studies.contender import Contender

TEACHER, STUDENT = "cnn(channels=[32, 64], depth=2)", "cnn(channels=[4, 8])"
OBJECTIVE = "ce + kd(temperature=4)"
SEEDS, LABELS = 5, 100
ALONE: dict[str, Any] = {"epochs": 480, "batch_size": 50}  # 2 steps an epoch of 100 scans
DISTILLED: dict[str, Any] = {"epochs": 60, "batch_size": 64}  # 16 steps an epoch of 1,000 scans
SETTINGS = {
    "training.trackers": [],
    "training.checkpoint_every": 60,
    "training.precision": "fp32",  # the same figures on every processor
    "training.memory_format": "contiguous",
}
NAMES = ("teacher", "student", "distilled student")


@dataclass(frozen=True)
class Quickstart:
    """What came out.

    Attributes:
        contenders: the teacher, the student trained alone, and the distilled student.
        comparisons: pairs of their names, a contender and what it is compared with.
        lead: what was asked, for the head of a page.
        student: the directory of a run of the distilled student.
    """

    contenders: Sequence[Contender]
    comparisons: Sequence[tuple[str, str]]
    lead: str
    student: Path


def quickstart(out: Path, seed: int, note: Callable[[str], None], report: Report | None = None) -> Quickstart:
    """Trains and measures all of it.

    Args:
        out: where the runs go; replaced if it is an earlier quickstart's.
        seed: random seed of the first of five runs, the others count on from it.
        note: is told what is being done.
        report: a function that writes the page of each run; no pages are written if None.
    Raises:
        LimbeckError: if `out` holds something else.
    """
    marker = out / "quickstart.json"
    if out.exists() and not marker.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LimbeckError(f"{str(out)!r} holds something else; choose another out (--out)")
    write_text(marker, json.dumps({"seed": seed}) + "\n")
    torch.set_num_threads(1)  # networks this small gain nothing from more, and lose much on a busy machine
    common: dict[str, Any] = {"settings": SETTINGS, "display": False, "overwrite": True, "report": report}
    note("training the teacher")
    teacher = train(model=TEACHER, data="digits", epochs=30, seed=seed, out=out / "teacher", **common)
    alone, distilled = [], []
    for number, s in enumerate(range(seed, seed + SEEDS), 1):
        note(f"training students, seed {number} of {SEEDS}")
        labels = f"digits(labeled={LABELS}, seed={s})"
        alone.append(train(model=STUDENT, data=labels, seed=s, out=out / f"alone-{s}", **ALONE, **common))
        distilled.append(
            distill(
                student=STUDENT,
                teacher=teacher,
                objective=OBJECTIVE,
                data=labels,
                seed=s,
                out=out / f"distilled-{s}",
                **DISTILLED,
                **common,
            )
        )
    note("measuring")
    contenders = [
        _contender(name, runs, teacher)
        for name, runs in zip(NAMES, ([teacher], alone, distilled), strict=True)
    ]
    lead = (
        f"A student of {contenders[1].results[0].student.parameters:,} parameters, trained on {LABELS} "
        "labeled scans of handwritten digits, without and with a teacher. The teacher has seen all 1,000 "
        "labels of the training split, and answers for the 900 scans whose labels the student never sees."
    )
    return Quickstart(contenders, [(NAMES[2], NAMES[1])], lead, distilled[0].path)


def _contender(name: str, runs: list[Run], teacher: Run) -> Contender:
    """The runs with what the comparison needs besides: agreement with the one teacher, and latency."""
    source = data.load("digits")
    assert source.test is not None
    loader, expected = data.Loader(source.test, len(source.test), shuffle=False), load(teacher)

    def agreement(run: Run) -> float | None:
        return evaluation.compare(source.task, load(run), expected, loader).agreement

    results = [
        run.result if run is teacher else run.result.model_copy(update={"agreement": agreement(run)})
        for run in runs
    ]
    milliseconds = evaluation.latency(load(runs[0]), source.example(64)).ms_per_image
    return Contender(name, results, [run.history for run in runs], milliseconds)
