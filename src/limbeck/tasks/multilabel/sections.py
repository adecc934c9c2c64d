"""What a report shows of networks that give labels, and what a model card says of their weak points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from limbeck.tasks.measuring import Agreement, Findings
from limbeck.tasks.multilabel.findings import Label, MultilabelFindings
from limbeck.tasks.sections import Line, Lines, Section, Table

ROWS = 50
"""Labels of the table; of more, those with the most positives."""


def sections(
    names: Sequence[str], found: Mapping[str, Findings], agreement: Agreement | None
) -> Sequence[Section]:
    """The sections of a report; see `limbeck.tasks.Task.sections`.

    Args:
        names: names of the labels.
        found: findings by role, the student's among them.
        agreement: agreement of student and teacher; None without a teacher.
    """
    each = {role: its for role, its in found.items() if isinstance(its, MultilabelFindings)}
    parts = [_curves(names, each), Section("Labels", figures=[_decisions(each), _labels(names, each)])]
    if agreement is not None:
        assert agreement.agreement is not None, "labels always have one"
        text = (
            f"Student and teacher decide alike on {100 * agreement.agreement:.1f} % of the (sample, label) "
            "pairs, with the threshold 0.5. The mean divergence KL(teacher, student) of a pair is "
            f"{agreement.distance:.3f} nats."
        )
        parts.append(Section("Agreement with the teacher", text))
    return parts


def _curves(names: Sequence[str], found: Mapping[str, MultilabelFindings]) -> Section:
    """The curves of all networks over all labels together, and those of the student by label."""
    together = [Line(role, its.curve, role) for role, its in found.items()]
    labels = zip(names, found["student"].labels, strict=True)
    apart = [Line(name, label.curve) for name, label in labels if label.curve]
    notes = "" if len(apart) == len(names) else f"The {len(apart)} labels with the most samples."
    return Section(
        "Precision and recall",
        figures=[
            _plot("All labels together", together, ""),
            _plot("The student by label", apart, notes),
        ],
    )


def _plot(title: str, lines: Sequence[Line], notes: str) -> Lines:
    return Lines(title, "recall", "precision", lines, x_range=(0, 1), y_range=(0, 1), notes=notes)


def _decisions(found: Mapping[str, MultilabelFindings]) -> Table:
    rows = [
        [f"{role}, {how}", percent(its.macro_f1), percent(its.micro_f1), percent(its.hamming)]
        for role, both in found.items()
        for how, its in (("0.5", both.at_half), ("by label", both.at_thresholds))
    ]
    return Table(
        ["network, threshold", "macro F1 (%)", "micro F1 (%)", "wrong decisions (%)"],
        rows,
        title="Decisions",
        notes="A threshold by label is the one with the largest F1 on the validation split; it is 0.5 "
        "without such a split, and where the label applies to none of its samples.",
    )


def _labels(names: Sequence[str], found: Mapping[str, MultilabelFindings]) -> Table:
    student = found["student"].labels
    order = sorted(range(len(names)), key=lambda place: -student[place].positives)[:ROWS]
    columns = [
        f"{what} ({role})" if len(found) > 1 else what for role in found for what in ("AP", "F1", "threshold")
    ]
    rows = [
        [
            names[place],
            f"{student[place].positives:,}",
            *(text for its in found.values() for text in _texts(its.labels[place])),
        ]
        for place in order
    ]
    notes = "Average precision and, with the threshold of the label, F1, in percent."
    if len(names) > ROWS:
        notes += f" The {ROWS} labels with the most samples."
    return Table(["label", "samples", *columns], rows, title="By label", notes=notes)


def _texts(label: Label) -> Sequence[str | None]:
    return percent(label.ap), percent(label.f1), f"{label.threshold:.2f}"


def weaknesses(names: Sequence[str], found: MultilabelFindings) -> Iterator[str]:
    """What a model card says of a student's weak points: sentences of Markdown.

    Args:
        names: names of the labels.
        found: the student's findings.
    """
    ranked = [
        (its.ap, name, its) for name, its in zip(names, found.labels, strict=True) if its.ap is not None
    ]
    ap, name, label = min(ranked, key=lambda each: each[0])
    yield (
        f"It is weakest on `{name}`: an average precision of {percent(ap)} %, where {label.positives:,} of "
        f"{label.known:,} samples have the label."
    )
    if missing := [f"`{name}`" for name, its in zip(names, found.labels, strict=True) if its.ap is None]:
        which = missing[0] if len(missing) == 1 else f"any of {len(missing):,} labels, such as {missing[0]}"
        yield f"No sample has {which}, so nothing is known there."


def percent(share: float | None) -> str | None:
    """A share as a number of percent; None where there is none."""
    return None if share is None else f"{100 * share:.1f}"
