"""What a report shows of classifiers: confusion, calibration, and the agreement with the teacher."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from limbeck.tasks.base import Agreement, Findings
from limbeck.tasks.classification_findings import ClassificationAgreement, ClassificationFindings
from limbeck.tasks.fidelity import FEW_CLASSES
from limbeck.tasks.sections import Bars, Figure, Heatmap, Line, Lines, Section, Table

WILSON = "Bars are 95 % Wilson intervals: they cover other samples, not other seeds."

NONE = "-"
"""A cell of a table without a value."""


def sections(
    names: Sequence[str], found: Mapping[str, Findings], agreement: Agreement | None
) -> Sequence[Section]:
    """The sections of a report; see `limbeck.tasks.Task.sections`.

    Args:
        names: of the classes.
        found: findings by role, the student's among them.
        agreement: of student and teacher; None without a teacher.
    """
    each = {role: its for role, its in found.items() if isinstance(its, ClassificationFindings)}
    student = each["student"]
    outputs = [*names, *map(str, range(len(names), student.confusion.classes))]
    parts = [_confusion(outputs, each), _calibration(each)]
    if isinstance(agreement, ClassificationAgreement):
        parts.append(_agreement(outputs, agreement))
    return parts


def _confusion(names: Sequence[str], found: Mapping[str, ClassificationFindings]) -> Section:
    """The matrix of few classes, the accuracy of those that the student knows least, and confused pairs."""
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
    figures.append(_by_class(names, found))
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
    measured = [(rate.value, at) for at, rate in enumerate(rates) if rate]
    worst = [at for _, at in sorted(measured, key=lambda item: item[0])[:FEW_CLASSES]]
    series = {
        role: [
            math.nan if (rate := found[role].accuracy.per_class[at]) is None else 100 * rate.value
            for at in worst
        ]
        for role in ("student", "teacher")
        if role in found
    }
    limits = [(100 * rate.low, 100 * rate.high) for at in worst if (rate := rates[at])]
    which = "" if len(worst) == len(measured) else f" The {len(worst)} that the student knows least."
    return Bars(
        "Accuracy by class",
        "accuracy (%)",
        [names[at] for at in worst],
        series,
        {"student": limits},
        kind="points",
        notes=WILSON + which,
    )


def _calibration(found: Mapping[str, ClassificationFindings]) -> Section:
    """Reliability, how sure each network is, and what a temperature would change."""
    reliability, sureness = [], []
    for role, each in found.items():
        bins, before, points = each.calibration.bins, 0, []
        total = sum(part.samples for part in bins)
        for part in bins:
            points.append((100 * part.confidence, 100 * (before + part.samples / 2) / total))
            before += part.samples
        curve = [(100 * part.confidence, 100 * part.accuracy) for part in bins]
        reliability.append(Line(role, curve, role))
        sureness.append(Line(role, points, role))
    student = found["student"].calibration
    return Section(
        "Calibration",
        _sentences(student.ece, student.temperature, student.ece_after),
        [
            Lines(
                "Reliability",
                "confidence (%)",
                "accuracy (%)",
                reliability,
                diagonal=True,
                notes="Each mark is a bin of equally many samples; under the line a network is too sure.",
            ),
            Lines(
                "How sure it is",
                "confidence (%)",
                "samples less sure than that (%)",
                sureness,
                notes="A curve far to the right is a network that is sure of most of its answers.",
            ),
            _confidence(found),
        ],
    )


def _sentences(ece: float, temperature: float | None, after: float | None) -> str:
    """What the student's confidence is worth."""
    text = f"The student's confidence is {100 * ece:.1f} percentage points away from its accuracy on average."
    if temperature is None or after is None:
        return text
    return (
        f"{text} Logits divided by the temperature {temperature:.2f}, which the validation split gives, make "
        f"it {100 * after:.1f} points."
    )


def _confidence(found: Mapping[str, ClassificationFindings]) -> Table:
    def shown(value: float | None, digits: int) -> str:
        return NONE if value is None else f"{value:.{digits}f}"

    def percent(value: float | None) -> float | None:
        return None if value is None else 100 * value

    rows = [
        [
            role,
            shown(percent(its.ece), 1),
            shown(each.nll, 3),
            shown(its.temperature, 2),
            shown(percent(its.ece_after), 1),
            shown(its.nll_after, 3),
        ]
        for role, each in found.items()
        for its in (each.calibration,)
    ]
    fitted = any(each.calibration.temperature is not None for each in found.values())
    return Table(
        ["network", "calibration error (%)", "NLL (nats)", "temperature", "error then (%)", "NLL then"],
        rows,
        title="Confidence",
        notes="The calibration error is the distance of confidence from accuracy over the bins. "
        + (
            "What follows the temperature holds for logits divided by it; it is fitted on the validation "
            "split."
            if fitted
            else "No temperature was fitted."
        ),
    )


def _agreement(names: Sequence[str], its: ClassificationAgreement) -> Section:
    """What student and teacher have in common: answers, and classes that they take for alike."""
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
    assert its.agreement is not None, "classifiers always have one"
    text = (
        f"Student and teacher give the same class in {100 * its.agreement:.1f} % of the samples. The mean "
        f"divergence KL(teacher, student) is {its.distance:.3f} nats, and the correlations of their classes "
        f"differ by {its.correlation.difference:.3f} on average."
    )
    return Section("Agreement with the teacher", text, figures)
