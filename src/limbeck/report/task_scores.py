"""What language models score on tasks of lm-eval, as a table."""

from __future__ import annotations

from limbeck.evaluation.results import Evaluation, TaskScore
from limbeck.report.page import Block
from limbeck.report.table import Table
from limbeck.tasks.wording import Cell

NOTES = "By lm-eval, as plain text without a chat template; ± is the standard error over the documents."


def task_scores(found: Evaluation) -> list[Block]:
    """A row for each metric of each task; nothing where none was asked for."""
    return [table(found)] if found.scores else []


def table(found: Evaluation) -> Table:
    """The scores, a column for each network."""
    roles = list(found.scores[0].values)
    rows: list[list[Cell]] = [
        [each.task, each.metric, each.samples, *(_cell(each, str(role)) for role in roles)]
        for each in found.scores
    ]
    return Table("Task scores", ["task", "metric", "documents", *map(str, roles)], rows, NOTES)


def _cell(score: TaskScore, role: str) -> str:
    values, errors = (
        {str(name): value for name, value in each.items()} for each in (score.values, score.errors)
    )
    spread = f" ± {errors[role]:.4f}" if role in errors else ""
    return f"{values[role]:.4f}{spread}"
