"""The quickstart: what distillation gives a very small network with few labels, measured in a minute.

A teacher learns from all 1,000 labeled training scans of the digits. The same small student is then
trained on 100 of the labels alone, and by the teacher, who also answers for the 900 scans without a label;
both get the same number of optimizer steps at the same rate. Epochs and rate were picked on the validation
split, where the student alone gained half a point at most from 300 to 800 steps.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from limbeck import data, evaluation
from limbeck.errors import LimbeckError
from limbeck.files import write_text
from limbeck.report import Contender, differences, overview, study_report
from limbeck.report.formats import rich_table
from limbeck.runs import Run, distill, load, train

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


def quickstart(out: Path, seed: int, console: Console) -> None:
    """Runs it, prints a table and writes a report.

    Args:
        out: where the runs and `report.html` go; replaced if it is an earlier quickstart's.
        seed: of the first of five runs, the others count on from it.
        console: where the table goes.
    """
    marker = out / "quickstart.json"
    if out.exists() and not marker.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LimbeckError(f"{str(out)!r} holds something else; choose another --out")
    write_text(marker, json.dumps({"seed": seed}) + "\n")
    torch.set_num_threads(1)  # networks this small gain nothing from more, and lose much on a busy machine
    seeds = range(seed, seed + SEEDS)
    common: dict[str, Any] = {"settings": SETTINGS, "display": False, "overwrite": True}
    with console.status("training the teacher") as status:
        teacher = train(model=TEACHER, data="digits", epochs=30, seed=seed, out=out / "teacher", **common)
        alone, distilled = [], []
        for number, s in enumerate(seeds, 1):
            status.update(f"training students, seed {number} of {SEEDS}")
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
        status.update("measuring")
        contenders = [
            _contender(name, runs, teacher)
            for name, runs in zip(NAMES, ([teacher], alone, distilled), strict=True)
        ]
    comparisons = [(NAMES[2], NAMES[1])]
    lead = (
        f"A student of {contenders[1].results[0].student.parameters:,} parameters, trained on {LABELS} "
        f"labeled scans of handwritten digits, without and with a teacher. The teacher has seen all 1,000 "
        "labels of the training split, and answers for the 900 scans whose labels the student never sees."
    )
    report = out / "report.html"
    page = study_report(contenders, title="limbeck quickstart", lead=lead, comparisons=comparisons)
    write_text(report, page)
    for table in (overview(contenders), differences(contenders, comparisons)):
        console.print(rich_table(table))
    console.print(f"The report, with curves: {report}")
    console.print(f'The student: limbeck.load("{distilled[0].path}")')


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
