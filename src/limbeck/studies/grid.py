"""A grid of runs in Python: several contenders, several seeds, and everything else the same.

A study (`limbeck.studies.study`) is a grid too, and its runner does each run as the one here does. They are
two because a study is a file: whatever decides a cell has a name there, by which its record is known again
when the run is gone. A grid takes what has no name, such as data that was made in Python, keeps nothing but
the run directories, and stops at the first error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limbeck.errors import LimbeckError
from limbeck.objective import parse
from limbeck.runs import Run
from limbeck.studies.cells import slug
from limbeck.studies.running import done


@dataclass(frozen=True)
class Grid:
    """Contenders that differ in their objective alone, each run with every seed.

    A run that is finished is not repeated and one that was killed goes on, so `run` may be stopped and
    started again; a directory with runs of other settings is refused.

    Attributes:
        directory: where the runs go, `CONTENDER-SEED` each.
        contenders: objectives by name, in the notation.
        seeds: of the runs.
        student: what is trained, as in `limbeck.distill`.
        teacher: what teaches those whose objective reads a teacher.
        common: further arguments of `limbeck.runs.distill` and `limbeck.runs.train` that all runs share;
            `report`, which writes the page of a run, is one of them.
    """

    directory: Path
    contenders: Mapping[str, str]
    seeds: Sequence[int]
    student: str
    teacher: Run | Path | str | None = None
    common: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        by_path = {self.path(name, 0): name for name in self.contenders}
        for name in self.contenders:
            if (other := by_path[self.path(name, 0)]) != name:
                raise LimbeckError(
                    f"the contenders {name!r} and {other!r} would share a directory; rename one"
                )

    def run(self) -> Iterator[tuple[str, int, Run]]:
        """Runs what is not finished, seed after seed; yields every contender, seed and run as it is done."""
        for seed in self.seeds:
            for name in self.contenders:
                yield name, seed, self.cell(name, seed)

    def cell(self, name: str, seed: int) -> Run:
        """The run of one contender with one seed, done now unless it is finished."""
        objective, path = self.contenders[name], self.path(name, seed)
        taught = bool(parse(objective).all_reads.teacher)
        networks = {"student": self.student, "teacher": self.teacher} if taught else {"model": self.student}
        return done(path, taught=taught, objective=objective, seed=seed, **networks, **self.common)

    def finished(self, name: str) -> dict[int, Run]:
        """The finished runs of a contender by seed."""
        runs = {seed: Run(self.path(name, seed)) for seed in self.seeds}
        return {seed: run for seed, run in runs.items() if run.finished}

    def path(self, name: str, seed: int) -> Path:
        """The directory of one run."""
        return self.directory / f"{slug(name)}-{seed}"
