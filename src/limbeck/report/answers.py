"""The part of a run's page on teachers that are files of answers."""

from __future__ import annotations

from limbeck.report.table import Table
from limbeck.runs.result import AnswersResult, Result
from limbeck.tasks import Task
from limbeck.tasks.wording import Cell, axis, figure, percent
from limbeck.teachers.files.coverage import FORMS


def answers(result: Result, task: Task) -> list[Table]:
    """What each file says of the training samples, and how it agrees with their labels."""
    return [
        Table(
            "The answers of the teacher" if len(result.teachers) == 1 else f"The answers of {name}",
            ["measure", "value"],
            _rows(each.answers, task),
            "Compared with the labels of training samples, which no test split stands for.",
        )
        for name, each in result.teachers.items()
        if each.answers is not None
    ]


def _rows(its: AnswersResult, task: Task) -> list[list[Cell]]:
    values: dict[str, Cell] = {
        "training samples": its.samples,
        "with an answer": its.answered,
        "with an answer (%)": percent(its.answered / its.samples),
        **{f"answered with {FORMS.get(form, form)}": count for form, count in its.forms.items()},
        "with an answer and a label": its.compared,
        f"{axis(task.primary)} on these": figure(task.primary, its.agreement),
    }
    odd = {
        "with several answers": its.repeated,
        "with answers that contradict each other": its.contradictory,
        "rows about samples held out": its.elsewhere,
        "rows about no sample of the data": its.unknown,
    }
    values |= {what: count for what, count in odd.items() if count}
    return [[what, value] for what, value in values.items()]
