"""The part of a run's page on how close the student is to its teacher."""

from __future__ import annotations

from limbeck.evaluation.results import Evaluation
from limbeck.report.chart import HeatMap
from limbeck.report.page import Block
from limbeck.report.table import Cell, Table, percent


def fidelity(found: Evaluation) -> list[Block]:
    """What the two have in common: answers, classes that they take for alike, and stages."""
    its = found.fidelity
    if its is None:
        return []
    rows: list[list[Cell]] = [
        ["agreement (%)", percent(its.agreement), "samples both give the same class"],
        ["KL divergence (nats)", f"{its.kl:.3f}", "mean, from the teacher's answers to the student's"],
        ["class correlations", f"{its.correlation.difference:.3f}", "mean absolute difference; 0 if equal"],
    ]
    if its.cka.embedding is not None:
        rows.append(["CKA of embeddings", f"{its.cka.embedding:.3f}", "1 if equal up to rotation and scale"])
    body: list[Block] = [
        Table("How close the student is to its teacher", ["measure", "value", "what it is"], rows)
    ]
    if matrix := its.correlation.matrix:
        most = max(abs(value) for row in matrix for value in row)
        shades = [[value / most if most else 0.0 for value in row] for row in matrix]
        names = found.class_names
        caption = (
            "How much more alike two classes are to the student than to its teacher: the correlation of "
            f"their logits, student less teacher. The darkest cell is {most:.2f} away from 0."
        )
        body.append(
            HeatMap("Class correlations", names, names, matrix, shades, "class", "other class", caption)
        )
    if stages := its.cka.stages:
        ours, theirs = [
            [f"stage {at}" for at in range(1, size + 1)] for size in (len(stages), len(stages[0]))
        ]
        shades = [[min(max(value, 0.0), 1.0) for value in row] for row in stages]
        caption = "Linear CKA between what the stages make of the same samples: 1 is equal, 0 unrelated."
        body.append(HeatMap("Stages compared", ours, theirs, stages, shades, "student", "teacher", caption))
    return body
