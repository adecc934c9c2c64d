"""What a report shows of networks that give labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from limbeck.tasks.multilabel_findings import MultilabelFindings
from limbeck.tasks.sections import Line, Lines, Section, Table

ROWS = 50
"""Labels of the table; of more, those with the most positives."""


def sections(found: Mapping[str, MultilabelFindings], names: Sequence[str]) -> Sequence[Section]:
    """Precision-recall curves and a table of labels.

    Args:
        found: findings by role.
        names: of the labels.
    """
    student = found["student"]
    micro = [Line(role, each.curve, role) for role, each in found.items() if each.curve]
    labels = [
        Line(name, label.curve) for name, label in zip(names, student.labels, strict=True) if label.curve
    ]
    curves = [
        Lines(title, "recall", "precision", lines, x_range=(0, 1), y_range=(0, 1))
        for title, lines in (("All labels together", micro), ("The student by label", labels))
        if lines
    ]
    order = sorted(range(len(names)), key=lambda place: -student.labels[place].positives)[:ROWS]
    shown = f" The {ROWS} labels with the most positives are shown." if len(names) > ROWS else ""
    return (
        Section("Precision and recall", figures=curves),
        Section(
            "Labels",
            "F1 is that of decisions by the threshold of each label, chosen on the validation split, or "
            f"0.5 where that has no sample with the label.{shown}",
            [_table(found, names, order)],
        ),
    )


def _table(found: Mapping[str, MultilabelFindings], names: Sequence[str], order: Sequence[int]) -> Table:
    of = {role: f" ({role})" if len(found) > 1 else "" for role in found}
    heads = [f"{what}{of[role]}" for role in found for what in ("AP", "F1", "threshold")]
    rows = []
    for place in order:
        row = [names[place], str(found["student"].labels[place].positives)]
        for each in found.values():
            label = each.labels[place]
            row += [_share(label.ap), _share(label.f1), f"{label.threshold:.2f}"]
        rows.append(row)
    return Table(("label", "positives", *heads), rows)


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"
