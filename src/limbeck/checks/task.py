"""What a Distiller refuses by its task: methods that do not serve it, and outputs of another kind."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch import nn

from limbeck import tasks
from limbeck.checks.teacher import read_by
from limbeck.errors import LimbeckError
from limbeck.features import FeaturePoints, Tap, probabilities, undisturbed
from limbeck.methods.base import Method, inner_first
from limbeck.outputs import Inputs, Outputs
from limbeck.tasks import Task
from limbeck.teachers import Teacher


def task_given(task: Task | str | None, data: object) -> Task | type[Task]:
    """The task that was given, or else that of the data; classification if neither says one."""
    given = getattr(data, "task", None) if task is None else task
    if isinstance(given, Task) or (isinstance(given, type) and issubclass(given, Task)):
        return given
    return tasks.named("classification" if given is None else str(given))


def task_of(given: Task | type[Task], student: nn.Module, example: Inputs, points: FeaturePoints) -> Task:
    """The task, made for the outputs that the student has where only its class is known.

    A task is never guessed from shapes: outputs that do not fit it are refused.

    Args:
        given: a task, or a class of tasks, whose outputs then have numbers for names.
        student: the network that makes the outputs.
        example: inputs for it.
        points: where its logits are.
    """
    with undisturbed(student, example), torch.no_grad():
        logits = Tap(student, points, ())(example).logits
    task = given if isinstance(given, Task) else given.of_width(given.width_of(logits))
    task.check_outputs(logits, "student")
    return task


def serves(objective: Method, task: Task) -> None:
    """Refuses a method that cannot serve the task, by name and with the reason."""
    for method in inner_first(objective):
        if reason := misfit(method, task):
            raise LimbeckError(reason)


def misfit(method: Method | type[Method], task: Task | type[Task]) -> str | None:
    """The reason why a method cannot serve a task, and what can instead; None if it serves it."""
    if method.tasks and task.name not in method.tasks:
        instead = "mse or imitation" if task.scores == "values" else "ce or kd"
        return f"{method.name} is for the task {method.tasks[0]}, and this is {task.name}; use {instead}"
    if method.rows != "any" and task.scores not in (method.rows, *method.also):
        does = {
            "classes": "chooses among classes",
            "values": "is about values",
            "vectors": "compares queries with documents, or pairs of texts",
        }[method.rows]
        instead = {
            "classes": "ce or kd",
            "values": "mse, huber or imitation",
            "vectors": "cosine, contrastive or listwise",
        }[task.scores]
        return (
            f"{method.name} {does}, and the outputs of {task.name} are {task.scores}; use {instead}, or "
            "a method that compares embeddings or stages"
        )
    if method.ranks and not task.ranked:
        return (
            f"{method.name} compares queries with documents, which {task.name} has not; use cosine, "
            "embedding_mse or cosent"
        )
    if method.one_row_per_sample and not task.one_row_per_sample:
        return (
            f"{method.name} is for tasks with one decision for each sample, and {task.name} has several; "
            "use a method without that need, such as kd or icd"
        )
    return None


def same_width(student: Outputs, teacher: Outputs, task: Task) -> None:
    """Refuses outputs of different widths, where the task says how wide they are."""
    if task.embeds:
        return
    ours, theirs = task.width_of(student.logits), task.width_of(teacher.logits)
    if ours != theirs and not (task.fits(ours) and task.fits(theirs)):
        raise LimbeckError(f"the student has {ours} outputs and the teacher {theirs}; they must agree")


def places(
    objective: Method,
    teachers: Mapping[str, Teacher],
    student: Outputs,
    answers: Mapping[str, Outputs],
    task: Task,
) -> None:
    """Refuses a method that compares detectors place by place where their places are not the same."""
    if "places" not in task.fields:
        return
    for name, answer in answers.items():
        found = teachers[name].points
        if "logits" not in answer or found is None:
            continue
        ours, theirs = student.logits.shape[1], answer.logits.shape[1]
        for method in read_by(objective, name, next(iter(answers))):
            if method.of_objects or not {"logits", "boxes", "embedding"} & {*method.reads.teacher}:
                continue
            whose = "the teacher" if len(answers) == 1 else f"the teacher {name!r}"
            if not found.of("places"):
                raise LimbeckError(
                    f"{method.name} compares detectors at the same places of an image, and {whose}, "
                    f"{type(teachers[name].network).__name__}, answers with the objects that it finds, "
                    "wherever they are; use pseudo_boxes, which learns from these, or a teacher with the "
                    "student's places, such as fcos"
                )
            if ours != theirs:
                raise LimbeckError(
                    f"{method.name} compares detectors at the same places of an image, and the student has "
                    f"{ours} places and {whose} {theirs}; give both pyramids the same strides, or use "
                    "pseudo_boxes, which learns from the objects that the teacher finds"
                )


def logits(teacher: Outputs, task: Task) -> None:
    """Warns of a teacher that answers with probabilities, where methods take them for logits."""
    if task.scores != "classes":
        return
    within, summed = probabilities(teacher.logits)
    if summed or (within and teacher.logits.numel() >= 32):
        warnings.warn(
            "the outputs of the teacher are probabilities, all of them from 0 to 1"
            f"{' with the sum 1' if summed else ''}; methods take them for logits, which makes soft targets "
            'all but uniform; take the layer before them, teacher_features={"logits": ...}, or '
            "limbeck.features.as_logits(teacher, ...)",
            stacklevel=4,
        )
