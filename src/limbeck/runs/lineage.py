"""The runs behind a student: the teachers that were runs themselves, those that taught them, and so on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from posixpath import join, normpath
from typing import Any

from limbeck import tasks
from limbeck.runs.directory import Run
from limbeck.runs.result import Result, TeacherResult, TeacherRun
from limbeck.tasks import Metric
from limbeck.tasks.wording import told


@dataclass(frozen=True)
class Generation:
    """A network of the chain that ends with a student.

    Attributes:
        name: that of its run's directory, or what the run that it taught calls it; "student" for the last.
        model: the network, in the notation, or where it lies.
        parameters: how many numbers it has; None for a file of answers.
        objective: what its run minimized; None if no run made it, as are the next.
        data: name of the data that its run was made on.
        taught_by: names of its teachers.
        metrics: the primary metric by split, as its run measured it.
        place: its run's directory, as seen from that of the student; None if it is not known.
    """

    name: str
    model: str
    parameters: int | None
    objective: str | None
    data: str | None
    taught_by: tuple[str, ...]
    metrics: dict[str, float]
    place: str | None = None


def recorded(run: Run) -> TeacherRun:
    """What the result of a student keeps of the run that its teacher came from.

    Args:
        run: a finished run.
    """
    result = run.result
    there = (run.path / "environment.json").is_file()
    metric = tasks.from_record(result.task).primary.name
    return TeacherRun(
        model=result.student.model,
        objective=result.objective,
        data=result.data.name,
        metric=metric,
        metrics={
            split: found[metric] for split, found in result.metrics.by_split().items() if metric in found
        },
        teachers=result.teachers,
        places=places_of(result.teachers, run.environment if there else None),
    )


def places_of(teachers: Mapping[str, TeacherResult], environment: Mapping[str, Any] | None) -> dict[str, str]:
    """Where a run's teachers lay, as seen from its directory, by name; those of which it is known.

    Args:
        teachers: of the run's `result.json`.
        environment: its `environment.json`.
    """
    known = (environment or {}).get("places", {})
    return {
        name: PurePath(known[teacher.model]["relative"]).as_posix()
        for name, teacher in teachers.items()
        if teacher.model in known
    }


def generations(result: Result, metric: Metric, places: Mapping[str, str] | None = None) -> list[Generation]:
    """The chain of networks that ends with a student, each after those that taught it.

    Args:
        result: of the student's run.
        metric: the primary one of its task.
        places: where the student's teachers lay; see `places_of`.
    Returns: empty if no teacher is a run. A network that taught several is there once.
    """
    if not any(teacher.run for teacher in result.teachers.values()):
        return []
    found: dict[str, Generation] = {}

    def taught(
        teachers: Mapping[str, TeacherResult], places: Mapping[str, str], home: str | None
    ) -> tuple[str, ...]:
        return tuple(
            visited(name, teacher, normpath(join(home, places[name])) if home and name in places else None)
            for name, teacher in teachers.items()
        )

    def visited(name: str, teacher: TeacherResult, place: str | None) -> str:
        key = teacher.weights or teacher.model
        if key not in found:
            run = teacher.run
            taught_by = taught(run.teachers, run.places, place) if run else ()
            found[key] = Generation(
                name=_free_name(name, teacher, {"student", *(each.name for each in found.values())}),
                model=run.model if run else teacher.model,
                parameters=teacher.parameters,
                objective=run.objective if run else None,
                data=run.data if run else None,
                taught_by=taught_by,
                metrics=run.metrics if run and run.metric == metric.name else {},
                place=place if run else None,
            )
        return found[key].name

    taught_by = taught(result.teachers, places or {}, ".")
    splits = result.metrics.by_split()
    student = Generation(
        name="student",
        model=result.student.model,
        parameters=result.student.parameters,
        objective=result.objective,
        data=result.data.name,
        taught_by=taught_by,
        metrics={split: its[metric.name] for split, its in splits.items() if metric.name in its},
    )
    return [*found.values(), student]


def split_of(chain: Sequence[Generation]) -> str:
    """The split whose figures are shown: test, unless no run of the chain has one."""
    return "test" if any("test" in each.metrics for each in chain) else "validation"


def line(chain: Sequence[Generation], metric: Metric) -> str | None:
    """The chain in a line, "big (97.2 %) → student (94.8 %)"; None where a network had several teachers."""
    if any(len(each.taught_by) > 1 for each in chain):
        return None
    split = split_of(chain)
    return " \N{RIGHTWARDS ARROW} ".join(
        f"{each.name} ({told(metric, each.metrics[split])})" if split in each.metrics else each.name
        for each in chain
    )


def _free_name(name: str, teacher: TeacherResult, taken: Collection[str]) -> str:
    """The end of the path of its run, as much of it as no other network is called."""
    parts = PurePath(teacher.model).parts if teacher.run else ()
    ends = ["/".join(parts[-count:]) for count in range(1, len(parts) + 1)] or [name]
    return next((end for end in ends if end not in taken), f"{ends[-1]} ({len(taken)})")
