"""What of a run's record others may read: no place on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from limbeck.notation import Call, Value, parse_call
from limbeck.runs import places
from limbeck.runs.directory import Run
from limbeck.runs.result import Result, TeacherResult


def without_places(text: str, run: Run, result: Result) -> str:
    """A text with the name of a folder or file in place of each path that the record of a run has.

    Args:
        text: such as a model card.
        run: the run.
        result: its record.
    """
    for path in sorted({*_paths(run, result)}, key=len, reverse=True):
        if os.sep in path:  # what is a name alone stays
            text = text.replace(path, _name(path))
    return text


def local_models(run: Run) -> frozenset[str]:
    """The models and weights in a run's config that lay on this machine as it began."""
    known = (run.path / "environment.json").is_file()
    return frozenset(run.environment.get("places", {}) if known else ())


def _paths(run: Run, result: Result) -> Iterator[str]:
    """The paths in the config and the record, as they are written there, and where they led to."""
    recorded: Mapping[str, Mapping[str, str]] = run.environment.get("places", {}) if local_models(run) else {}
    for text, place in recorded.items():
        yield from (places.path_of(text), place["absolute"])
    for model in _models(result.teachers):
        if places.is_place(model):
            yield places.path_of(model)
    if not result.data.name.startswith("<"):
        yield from _in_call(parse_call(result.data.name, "data set"))
    if run.config.data.dir is not None:
        yield str(run.config.data.dir)


def _models(teachers: Mapping[str, TeacherResult]) -> Iterator[str]:
    """The models of teachers and of those that taught them."""
    for teacher in teachers.values():
        yield teacher.model
        if teacher.run is not None:
            yield from _models(teacher.run.teachers)


def _in_call(value: Value) -> Iterator[str]:
    """The paths among the arguments of a data set."""
    if isinstance(value, Call):
        for inner in (*value.args, *value.kwargs.values()):
            yield from _in_call(inner)
    elif isinstance(value, str) and os.sep in value:
        yield value


def _name(path: str) -> str:
    """What is said of a path: its last part, and for the weights of a run that of the run as well."""
    place = Path(path)
    return f"{place.parent.name}/{place.name}" if place.name == "student.safetensors" else place.name
