"""Contenders on one data set: every cell is written down as it is done, and is never run again."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import limbeck
from benchmarks.pixels.cost import cost, peak
from benchmarks.pixels.page import page
from limbeck.data import Source
from limbeck.files import write_text
from limbeck.objective import parse
from limbeck.runs import Run

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ALONE = "alone"


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

    @property
    def setting(self) -> dict[str, Any]:
        """What all cells share; cells of other settings do not stand beside them."""
        names = (
            "student",
            "teacher",
            "epochs",
            "teacher_epochs",
            "lr",
            "teacher_lr",
            "batch_size",
            "settings",
        )
        return {**{name: getattr(self, name) for name in names}, "settings": self.settings}


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

    def found(self) -> dict[str, Any]:
        """What is known already.

        Raises:
            SystemExit: if it is of other settings.
        """
        empty: dict[str, Any] = {"setting": self.contest.setting, "tries": {}, "cells": {}, "cost": {}}
        if not self.file.exists():
            return empty
        found: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
        if found["setting"] != self.contest.setting:
            raise SystemExit(f"{self.file} has cells of other settings; remove it to begin anew")
        return found

    def keep(self, found: Mapping[str, Any]) -> None:
        """Writes down what is known, and prints the page from it."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.file, json.dumps(found, indent=1) + "\n")
        write_text(self.written, page(self.contest, found))

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
            run = limbeck.distill(student=contest.student, teacher=self.teacher(), **given)
        else:
            run = limbeck.train(model=contest.student, **given)
        return {"objective": objective, **figures(run)}

    def run(self) -> None:
        """Runs whatever is missing: the tries, then seed after seed, then what a step costs."""
        contest = self.contest
        found = self.found()
        for epochs in contest.tried:
            tries = found["tries"].setdefault(str(epochs), {})
            for seed in map(str, range(min(3, contest.seeds))):
                if seed not in tries and epochs != contest.epochs:
                    tries[seed] = self.cell(ALONE, int(seed), epochs)["validation"]
                    self.say(f"{epochs} epochs, {seed}", tries[seed])
                    self.keep(found)
        if "teacher" not in found:
            found["teacher"] = figures(self.teacher())
            self.say("teacher", found["teacher"])
            self.keep(found)
        for seed in map(str, range(contest.seeds)):
            for contender, objective in contest.contenders.items():
                cells = found["cells"].setdefault(contender, {})
                if cells.get(seed, {}).get("objective") != objective:
                    cells[seed] = self.cell(contender, int(seed), contest.epochs)
                    self.say(f"{contender}, {seed}", cells[seed])
                    self.keep(found)
        for contender, objective in contest.contenders.items():
            if found["cost"].get(contender, {}).get("objective") != objective:
                spent = cost(self.source(), contest, objective, self.taught(objective))
                found["cost"][contender] = {"objective": objective, **spent, "peak": self.peak_of(contender)}
                self.say(contender, found["cost"][contender])
                self.keep(found)
        self.keep(found)

    def source(self) -> Source:
        """The data."""
        return self.contest.source(self.shared)

    def taught(self, objective: str) -> torch.nn.Module | None:
        """The teacher's network, if the objective reads one."""
        return limbeck.load(self.teacher()) if parse(objective).all_reads.teacher else None

    def peak_of(self, contender: str) -> int:
        """Peak bytes of a process that takes a few steps."""
        command = [sys.executable, "-m", f"benchmarks.pixels.{self.contest.name}", "--peak", contender]
        command += ["--runs", str(self.runs.parent), "--shared", str(self.shared)]
        command += ["--tiny"] if self.tiny else []
        return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout)

    def say(self, what: str, figures: Mapping[str, Any]) -> None:
        print(f"{self.contest.name}, {what}: {figures}", flush=True)


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
        settings = {**contest.settings, "training.samples_per_epoch": 4 * contest.batch_size}
        contest = replace(contest, epochs=1, teacher_epochs=1, tried=(1, 2), seeds=2, settings=settings)
    file, written = folder / f"{name}.json", folder / f"{name.upper()}.md"
    ring = Ring(contest, file, written, runs, arguments.shared.resolve(), arguments.tiny)
    if arguments.peak:
        objective = contest.contenders[arguments.peak]
        print(peak(ring.source(), contest, objective, ring.taught(objective)))
    else:
        ring.run()
