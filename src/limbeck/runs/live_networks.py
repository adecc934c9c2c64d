"""The networks of a run as it begins: made or taken over, and checked against the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from limbeck import checks
from limbeck.config import NetworkConfig, RunConfig, TeacherConfig
from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.methods import Method
from limbeck.outputs import Inputs
from limbeck.runs import language, network_notes, networks, preparations
from limbeck.runs.network_checks import shown_beside
from limbeck.runs.network_names import called, key_of, may_have_seen
from limbeck.runs.widths import check_width, width_of
from limbeck.tasks import Language
from limbeck.training.groups import freeze

DONE_BEFOREHAND = {
    "weights": "network.load_state_dict(...)",
    "normalize": f"{network_notes.BY_HAND}, where source is the data",
    "lora": "limbeck.models.lora.adapt(network, rank=..., ...)",
}
"""What does to a network that is handed over what these settings do to one that limbeck makes."""


@dataclass(frozen=True)
class Live:
    """The networks of a run that are there as networks.

    Attributes:
        student: the student.
        teachers: the teachers by name; files of answers are none of them.
        told: the data as each teacher reads it, by name.
        examples: a few inputs of each network, by its role.
        said: sentences on what was found, some of them None.
    """

    student: nn.Module
    teachers: Mapping[str, nn.Module]
    told: Mapping[str, Source]
    examples: Mapping[str, Inputs]
    said: tuple[str | None, ...]


def live(
    config: RunConfig,
    taught_by: Mapping[str, TeacherConfig],
    objects: Mapping[str, Any],
    source: Source,
    objective: Method,
) -> Live:
    """Makes the networks, or takes them over, and has each answer once.

    Args:
        config: of the run.
        taught_by: its teachers that are networks, by name.
        objects: the "student" and "teacher" that were handed over ready made.
        source: the data.
        objective: what is minimized.
    Raises:
        LimbeckError: for whatever a network cannot be or do here.
    """
    student, task = _student(config, taught_by, objects, source), source.task
    checks.trained(student, objective)
    first = next(iter(config.taught_by), None)
    told = {
        name: language.as_read(
            preparations.preparation(each, task),
            source,
            called(name),
            aligned=language.aligns(objective, name, first or name),
        )
        if isinstance(task, Language)
        else source
        for name, each in taught_by.items()
    }
    with shown_beside(("student", config.student), source):
        teachers = _teachers(taught_by, told, objects)
    examples = {"student": source.example(preparation=preparations.student_preparation(config.student, task))}
    examples |= {
        name: source.example(preparation=preparations.preparation(each, task))
        for name, each in taught_by.items()
    }
    said: list[str | None] = []
    for role, network in {"student": student, **teachers}.items():
        named = config.student if role == "student" else taught_by[role]
        said += _fits(network, role, named, source, told.get(role, source), examples[role])
    return Live(student, teachers, told, examples, tuple(said))


def _student(
    config: RunConfig, taught_by: Mapping[str, TeacherConfig], objects: Mapping[str, Any], source: Source
) -> nn.Module:
    """The student, with the parts frozen that do not learn."""
    student = objects.get("student")
    if student is None:
        with shown_beside(next(iter(taught_by.items()), None), source):
            student = networks.student(config.student, source, config.seed)
    if frozen := config.training.freeze:
        if config.student.lora is not None:
            raise LimbeckError(
                "with student.lora the adapters alone learn, and all else is frozen; leave out "
                "training.freeze (--freeze)"
            )
        freeze(student, frozen)
    return student


def _teachers(
    taught_by: Mapping[str, TeacherConfig], told: Mapping[str, Source], objects: Mapping[str, Any]
) -> dict[str, nn.Module]:
    """The networks of the teachers by name, those that were handed over and those that the config names.

    Args:
        taught_by: what the config says of them.
        told: the data as each of them reads it.
        objects: what was handed over.
    """
    given = objects.get("teacher")
    by_name = given if isinstance(given, Mapping) else {} if given is None else {"teacher": given}
    return {
        name: networks.with_logits(by_name[name], each, told[name])
        if name in by_name
        else networks.teacher(each, told[name])
        for name, each in taught_by.items()
    }


def _fits(
    network: nn.Module, role: str, named: NetworkConfig, source: Source, own: Source, example: Inputs
) -> list[str | None]:
    """Checks that a network answers as the task asks; sentences on what was found.

    Args:
        network: the network.
        role: what it is: "student", or the name of a teacher.
        named: what the config says of it.
        source: the data.
        own: the data as it reads them.
        example: a few of its inputs.
    """
    whose, task = called(role), source.task
    reads = preparations.preparation(named, task)
    said: list[str | None] = []
    if isinstance(task, Language) and role == "student":
        language.as_read(reads, source, whose)
    if own is not source:
        said.append(language.aligned_note(reads, source, whose))
    if isinstance(task, Language):
        language.check_vocabulary(network, own, whose)
    width = width_of(network, role, own, reads, named.features)
    check_width(width, role, own)
    if isinstance(task, Language):
        language.check_causal(network, language.on_device(example, network), whose, width)
        said.append(language.head_note(width, own, whose))
    return said


def check_handed_over(config: RunConfig, objects: Mapping[str, Any]) -> None:
    """Refuses a record of objects without the objects."""
    named = {"student": config.student.model, "data": config.data.name}
    named |= {name: each.model for name, each in config.taught_by.items()}
    given = objects.get("teacher")
    there = {*objects, *(given if isinstance(given, Mapping) else ())}
    for role, name in named.items():
        if name.startswith("<") and role not in there:
            raise LimbeckError(
                f"the {role} {name} was handed over as an object; hand it over again, {role}=... in Python"
            )
    for role, each in {"student": config.student, **config.taught_by}.items():
        keys = [key for key in DONE_BEFOREHAND if getattr(each, key, None) is not None]
        if keys and role in there and each.model.startswith("<"):
            raise LimbeckError(
                f"{key_of(role)}.{keys[0]} is for a network that limbeck makes, and the {role} {each.model} "
                f"was handed over as an object; do it to that beforehand: {DONE_BEFOREHAND[keys[0]]}"
            )


def notes(config: RunConfig, live: Live, source: Source) -> tuple[str, ...]:
    """What was assumed of the inputs and outputs of the networks, and of what the student has seen."""
    said = [*network_notes.notes(config.student, live.student, source, "student")]
    for name, each in live.teachers.items():
        said += network_notes.notes(config.taught_by[name], each, live.told[name], name)
    if config.training.selection == "validation" and may_have_seen(config.student, source):
        said.append(
            f"the student starts from {config.student.weights or config.student.model}, which may have been "
            "trained on the validation split; the epoch that is selected by it may be a wrong one"
        )
    return tuple(said)
