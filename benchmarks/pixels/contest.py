"""Contenders on one data set: every cell is written down as it is done, and is never run again."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

import limbeck
from benchmarks.ledger import Ledger
from benchmarks.pixels.cost import cost, peak, peak_apart
from benchmarks.pixels.few import few
from benchmarks.pixels.page import page
from limbeck.data import Source
from limbeck.files import write_text
from limbeck.objective import parse
from limbeck.runs import Run

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ALONE = "alone"
TRIES = 2  # seeds of each


@dataclass(frozen=True)
class Contest:
    """A data set with its networks, the budget and who takes part.

    Attributes:
        name: of the files with what was found, and of the module that runs the contest.
        about: what the page says first, in Markdown.
        source: what is learned from, given the folder of data files.
        student: a network, in the notation.
        teacher: a larger one.
        contenders: objectives by name; that of the student alone is `ALONE`.
        epochs: of every contender.
        teacher_epochs: of the teacher.
        tried: numbers of epochs that the student alone is tried with, by its validation split.
        lr: learning rate.
        teacher_lr: that of the teacher.
        batch_size: of all.
        settings: further settings of all runs.
        seeds: how many there are.
    """

    name: str
    about: str
    source: Callable[[Path], Source]
    student: str
    teacher: str
    contenders: Mapping[str, str]
    epochs: int
    teacher_epochs: int
    tried: tuple[int, ...]
    lr: float
    teacher_lr: float
    batch_size: int
    settings: Mapping[str, Any]
    seeds: int = 5

    def of(self, objective: str, epochs: int) -> dict[str, Any]:
        """What a student's figures are of."""
        own = {"student": self.student, "objective": objective, "epochs": epochs, "lr": self.lr}
        return {**own, "batch_size": self.batch_size, "settings": self.settings}

    @property
    def of_teacher(self) -> dict[str, Any]:
        """What the teacher's figures are of."""
        own = {"teacher": self.teacher, "epochs": self.teacher_epochs, "lr": self.teacher_lr}
        return {**own, "batch_size": self.batch_size, "settings": self.settings}


@dataclass(frozen=True)
class Ring:
    """Where a contest takes place.

    Attributes:
        contest: which.
        file: what was found, as JSON.
        written: the page printed from it.
        runs: where the runs go.
        shared: the folder of data files.
        tiny: whether the contest is a try.
    """

    contest: Contest
    file: Path
    written: Path
    runs: Path
    shared: Path
    tiny: bool

    def given(self, epochs: int, lr: float) -> dict[str, Any]:
        """What every run is given."""
        contest = self.contest
        return {
            "data": contest.source(self.shared),
            "epochs": epochs,
            "batch_size": contest.batch_size,
            "lr": lr,
            "display": False,
            "settings": {
                "training.trackers": [],
                "training.precision": "fp32",
                "training.memory_format": "contiguous",
                **contest.settings,
            },
        }

    def teacher(self) -> Run:
        """The teacher, trained where it is not there yet."""
        contest, run = self.contest, Run(self.runs / "teacher")
        if not run.finished:
            resume = (run.path / "config.yaml").exists()
            given = self.given(contest.teacher_epochs, contest.teacher_lr)
            limbeck.train(model=contest.teacher, out=run.path, resume=resume, seed=0, **given)
        return run

    def cell(self, contender: str, seed: int, epochs: int) -> dict[str, Any]:
        """The figures of one run, which goes on where it was stopped."""
        contest, objective = self.contest, self.contest.contenders[contender]
        slug = "".join(letter if letter.isalnum() else "-" for letter in contender.lower())
        path = self.runs / f"{slug}-{epochs}-epochs-{seed}"
        given = {**self.given(epochs, contest.lr), "objective": objective, "seed": seed, "out": path}
        given["resume"] = (path / "config.yaml").exists()
        if parse(objective).all_reads.teacher:
            given["settings"]["teacher.trust"] = self.tiny  # after one epoch it is no better than chance
            run = limbeck.distill(student=contest.student, teacher=self.teacher(), **given)
        else:
            run = limbeck.train(model=contest.student, **given)
        return figures(run)

    def run(self) -> None:
        """Runs whatever is missing: the teacher, seed after seed, costs, and other numbers of epochs."""
        ledger, planned = Ledger(self.file), self.planned()
        found: dict[str, Any] = {"tries": {}, "cells": {}, "cost": {}}
        for place, (of, _) in planned.items():
            if ledger.has(*place, of=of):
                _put(found, place, ledger.once(*place, of=of, measure=dict))
        for place, (of, measure) in planned.items():
            kept = ledger.once(*place, of=of, measure=measure)
            _put(found, place, kept)
            write_text(self.written, page(self.contest, found))
            shown = {key: each for key, each in kept.items() if key != "of"}
            print(f"{self.contest.name}, {', '.join(place)}: {shown}", flush=True)

    def planned(self) -> dict[tuple[str, ...], tuple[Mapping[str, Any], Callable[[], Mapping[str, Any]]]]:
        """What there is to measure, in order: by its place, the settings that it is of, and how."""
        contest, objectives = self.contest, self.contest.contenders
        made: dict[tuple[str, ...], tuple[Mapping[str, Any], Callable[[], Mapping[str, Any]]]] = {
            ("teacher",): (contest.of_teacher, lambda: figures(self.teacher()))
        }
        for seed, (name, objective) in itertools.product(range(contest.seeds), objectives.items()):
            cell = partial(self.cell, name, seed, contest.epochs)
            made["cells", name, str(seed)] = self.of(objective), cell
        for name, objective in objectives.items():
            made["cost", name] = self.of(objective), partial(self.spent, name)
        for epochs, seed in itertools.product(contest.tried, range(min(TRIES, contest.seeds))):
            if epochs != contest.epochs:
                of = contest.of(objectives[ALONE], epochs)
                made["tries", str(epochs), str(seed)] = of, partial(self.cell, ALONE, seed, epochs)
        return made

    def of(self, objective: str) -> dict[str, Any]:
        """What the figures of a contender are of; those with a teacher are of this one, too."""
        own = self.contest.of(objective, self.contest.epochs)
        return {**own, "taught": self.contest.of_teacher} if parse(objective).all_reads.teacher else own

    def spent(self, contender: str) -> dict[str, Any]:
        """What a step of a contender costs."""
        contest, objective = self.contest, self.contest.contenders[contender]
        spent = cost(self.source(), contest, contest.contenders[ALONE], objective, self.taught(objective))
        apart = peak_apart(contest.name, contender, self.runs.parent, self.shared, tiny=self.tiny)
        return {**spent, "peak": apart}

    def source(self) -> Source:
        """The data."""
        return self.contest.source(self.shared)

    def taught(self, objective: str) -> torch.nn.Module | None:
        """The teacher's network, if the objective reads one."""
        return limbeck.load(self.teacher()) if parse(objective).all_reads.teacher else None


def _put(found: dict[str, Any], place: tuple[str, ...], kept: Mapping[str, Any]) -> None:
    """Puts figures where they belong."""
    for key in place[:-1]:
        found = found.setdefault(key, {})
    found[place[-1]] = kept


def figures(run: Run) -> dict[str, Any]:
    """What is reported of a run: the metrics of both splits, agreement with the teacher, parameters, time."""
    result = run.result
    return {
        "test": dict(result.metrics.on("test")),
        "validation": dict(result.metrics.on("validation")),
        "agreement": result.agreement,
        "parameters": result.student.parameters,
        "seconds": round(result.seconds, 1),
    }


def main(contest: Contest) -> None:
    """The command line of a contest."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--tiny", action="store_true", help="one epoch, two seeds; written into --runs alone")
    parser.add_argument("--runs", type=Path, default=Path("runs/pixels"), help="where the runs go")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared" / "data", help="data files")
    parser.add_argument("--peak", choices=contest.contenders, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder, name = HERE, contest.name
    runs = (arguments.runs / name).resolve()
    if arguments.tiny:
        folder = runs = runs.with_name(f"{name}-tiny")
        size, whole = 2 * contest.batch_size, contest.source
        contest = replace(
            contest,
            source=lambda shared: few(whole(shared), size),
            epochs=1,
            teacher_epochs=1,
            tried=(1, 2),
            seeds=2,
            settings={**contest.settings, "training.samples_per_epoch": size},
        )
    folder.mkdir(parents=True, exist_ok=True)
    file, written = folder / f"{name}.json", folder / f"{name.upper()}.md"
    ring = Ring(contest, file, written, runs, arguments.shared.resolve(), arguments.tiny)
    if arguments.peak:
        objective = contest.contenders[arguments.peak]
        print(peak(ring.source(), contest, objective, ring.taught(objective)))
    else:
        ring.run()
