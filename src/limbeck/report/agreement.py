"""The part of a run's page on how close the student is to its teacher."""

from __future__ import annotations

from limbeck.evaluation.results import Evaluation
from limbeck.report.chart import HeatMap
from limbeck.report.page import Block
from limbeck.report.table import Table
from limbeck.tasks import Task
from limbeck.tasks.wording import Cell, percent

CKA = "1 if equal up to rotation and scale"


def decided(task: Task) -> str:
    """What the agreement of two networks is."""
    return f"share of the {task.decisions} that both decide alike"


def agreement(found: Evaluation) -> list[Block]:
    """What the answers and the representations of the two have in common; nothing without a teacher."""
    rows: list[list[Cell]] = []
    if its := found.agreement:
        if its.agreement is not None:
            rows.append(["agreement (%)", percent(its.agreement), decided(found.found_task)])
        rows.append(["distance of the answers", f"{its.distance:.4g}", found.found_task.distance])
    if found.cka and found.cka.embedding is not None:
        rows.append(["CKA of embeddings", f"{found.cka.embedding:.3f}", CKA])
    body: list[Block] = []
    if rows:
        body.append(
            Table("How close the student is to its teacher", ["measure", "value", "what it is"], rows)
        )
    if found.cka and (stages := found.cka.stages):
        ours, theirs = [
            [f"stage {at}" for at in range(1, size + 1)] for size in (len(stages), len(stages[0]))
        ]
        shades = [[min(max(value, 0.0), 1.0) for value in row] for row in stages]
        caption = "Linear CKA between what the stages make of the same samples: 1 is equal, 0 unrelated."
        body.append(HeatMap("Stages compared", ours, theirs, stages, shades, "student", "teacher", caption))
    return body
