"""What the methods of an objective are bound to."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from limbeck import checks
from limbeck.data_facts import DataFacts
from limbeck.features import FeaturePoints, Tap, undisturbed
from limbeck.methods.base import Method, taught
from limbeck.methods.declarations import Context, TeacherContext
from limbeck.outputs import Batch, Inputs, Outputs
from limbeck.tasks import Task
from limbeck.teachers.group import TeacherGroup


def shown(
    student: nn.Module, points: FeaturePoints, objective: Method, task: Task, example: Inputs
) -> Outputs:
    """What the student gives for the example: all that the objective, its phases and the task read."""
    with undisturbed(student, example), torch.no_grad():
        fields = [*objective.all_reads.student, *task.fields]
        return Tap(student, points, fields, positions=task.dense)(example)


def check_answers(
    objective: Method, teachers: TeacherGroup, student: Outputs, answers: Mapping[str, Outputs], task: Task
) -> None:
    """Checks what teachers give for the example against what the student gives.

    Raises:
        LimbeckError: for outputs that cannot be compared.
    """
    checks.tokens_alike(objective, answers)
    for answer in answers.values():
        if "logits" in answer and "retold" in answer:
            answer["retold"].vocabulary.task.check_outputs(answer.logits, "teacher")
        elif "logits" in answer:
            task.check_outputs(answer.logits, "teacher")
            checks.logits(answer, task)
            checks.same_width(student, answer, task)
    checks.places(objective, teachers, student, answers, task)


def bind(
    objective: Method,
    student: Outputs,
    answers: Mapping[str, Outputs],
    *,
    example: Inputs,
    network: nn.Module,
    points: FeaturePoints,
    teachers: TeacherGroup,
    task: Task,
    data: DataFacts,
) -> None:
    """Binds every method to what the networks give for the example.

    Args:
        objective: what the methods are in.
        student: what the student gives.
        answers: what the teachers give, by name.
        example: inputs of the student.
        network: the student.
        points: where its features are.
        teachers: all of them.
        task: fitted to the student.
        data: what is known of the training set.
    """
    rows = task.rows(Batch(example), student)
    contexts = {
        each: TeacherContext(
            teacher=rows.of(answers[each]) if each in answers else None,
            teacher_network=teacher.network,
            teacher_points=teacher.points,
            cached=teacher.keeps,
            schedule=teacher.schedule,
            teacher_example=teachers.example(each),
        )
        for each, teacher in teachers.items()
    }
    context = Context(
        student=rows.of(student),
        teacher=None,
        example=example,
        student_network=network,
        student_points=points,
        task=task,
        rows=rows,
        data=data,
        teachers=contexts,
    )
    for method, given in taught(objective):
        own = given or teachers.first
        method.bind(context if own is None else context.of_teacher(own))
