"""What a report shows of classifiers: confusion, calibration, and the agreement with the teacher."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from limbeck.tasks.classification import calibration_section as calibration
from limbeck.tasks.classification.fidelity import FEW_CLASSES
from limbeck.tasks.classification.findings import ClassificationAgreement, ClassificationFindings
from limbeck.tasks.classification.least_known import least_known
from limbeck.tasks.measuring import Agreement, Findings
from limbeck.tasks.parts.by_class import percent
from limbeck.tasks.sections import Bars, Figure, Heatmap, Section, Table

ROWS = 100
"""Classes of the table; of more, those with the lowest F1."""

WILSON = "Bars are 95 % Wilson intervals: they cover other samples, not other seeds."


def sections(
    names: Sequence[str], found: Mapping[str, Findings], agreement: Agreement | None
) -> Sequence[Section]:
    """The sections of a report; see `limbeck.tasks.Task.sections`.

    Args:
        names: names of the classes.
        found: findings by role, the student's among them.
        agreement: agreement of student and teacher; None without a teacher.
    """
    each = {role: its for role, its in found.items() if isinstance(its, ClassificationFindings)}
    student = each["student"]
    outputs = [*names, *map(str, range(len(names), student.confusion.classes))]
    parts = [_confusion(outputs, each), calibration.section({role: [its] for role, its in each.items()})]
    if isinstance(agreement, ClassificationAgreement):
        parts.append(_agreement(outputs, agreement))
    return parts


def _confusion(names: Sequence[str], found: Mapping[str, ClassificationFindings]) -> Section:
    """The matrix of few classes, accuracy and F1 by class, and confused pairs."""
    student, figures = found["student"], list[Figure]()
    if len(names) <= FEW_CLASSES:
        matrix = student.confusion.matrix
        figures.append(
            Heatmap(
                "What is taken for what",
                "answer",
                "true class",
                names,
                matrix,
                shades=[[math.sqrt(count / max(sum(row), 1)) for count in row] for row in matrix],
                notes="The student's answers, in samples. A shade is the share of the row, on a square-root "
                "scale, so that rare mistakes show.",
            )
        )
    figures += [_by_class(names, found), _f1_by_class(names, found)]
    if pairs := student.confusion.pairs:
        sizes = [rate.samples if rate else 0 for rate in student.accuracy.per_class]
        rows = [
            [names[pair.target], names[pair.predicted], f"{pair.samples:,}", f"{sizes[pair.target]:,}"]
            for pair in pairs
        ]
        figures.append(Table(["true class", "taken for", "samples", "of"], rows, title="Most confused pairs"))
    return Section("Confusion", figures=figures)


def _by_class(names: Sequence[str], found: Mapping[str, ClassificationFindings]) -> Bars:
    """Accuracy of the classes that the student knows least, of the student and its teacher."""
    rates = found["student"].accuracy.per_class
    worst, which = least_known({at: rate.value for at, rate in enumerate(rates) if rate}, names)
    series: dict[str, Sequence[float]] = {
        role: [
            math.nan if (rate := found[role].accuracy.per_class[at]) is None else 100 * rate.value
            for at in worst
        ]
        for role in ("student", "teacher")
        if role in found
    }
    limits = [(100 * rate.low, 100 * rate.high) for at in worst if (rate := rates[at])]
    return Bars(
        "Accuracy by class",
        "accuracy (%)",
        [names[at] for at in worst],
        series,
        {"student": limits},
        kind="points",
        notes=WILSON + which,
    )


def _f1_by_class(names: Sequence[str], found: Mapping[str, ClassificationFindings]) -> Table:
    """Precision, recall and F1 of the student by class, and the F1 of the others; the lowest F1 first."""
    counts = {role: its.confusion.by_class for role, its in found.items()}
    student, others = counts["student"], [its for role, its in counts.items() if role != "student"]
    scored = [(f1, at) for at, each in enumerate(student) if (f1 := each.f1) is not None]
    few = len(scored) <= FEW_CLASSES  # which keep the order of the confusion matrix
    order = [at for _, at in (scored if few else sorted(scored))][:ROWS]
    rows = [
        [
            names[at],
            f"{student[at].samples:,}",
            *map(percent, (student[at].precision, student[at].recall, student[at].f1)),
            *(percent(its[at].f1) for its in others),
        ]
        for at in order
    ]
    mean = percent(found["student"].confusion.macro_f1)
    notes = f"The student's; the mean of its F1 is {mean} %, the macro F1."
    if not few:
        notes += " The lowest F1 comes first."
    if len(order) < len(scored):
        notes += f" The {len(order)} lowest of {len(scored)}."
    columns = ["class", "samples", "precision (%)", "recall (%)", "F1 (%)"]
    return Table(
        [*columns, *(f"F1 of the {role} (%)" for role in counts if role != "student")],
        rows,
        title="F1 by class",
        notes=notes,
    )


def _agreement(names: Sequence[str], its: ClassificationAgreement) -> Section:
    """Which classes the student takes for more alike than its teacher does."""
    figures = list[Figure]()
    if matrix := its.correlation.matrix:
        most = max(abs(value) for row in matrix for value in row)
        figures.append(
            Heatmap(
                "Class correlations",
                "other class",
                "class",
                names,
                matrix,
                diverging=True,
                notes="How much more alike two classes are to the student than to its teacher: the "
                "correlation of their logits, student less teacher. The darkest cell is "
                f"{most:.2f} away from 0.",
            )
        )
    text = (
        "The correlations between the logits of two classes differ by "
        f"{its.correlation.difference:.3f} between student and teacher on average; 0 if both take the same "
        "classes for alike."
    )
    return Section("Class correlations", text, figures)
