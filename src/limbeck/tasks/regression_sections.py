"""What a report shows of networks that give values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from limbeck.tasks.regression_findings import Histogram, RegressionFindings, Value
from limbeck.tasks.sections import Figure, Line, Lines, Section, Table

ROWS = 50
"""Values of the table, the first ones."""


def sections(found: Mapping[str, RegressionFindings], names: Sequence[str]) -> Sequence[Section]:
    """Predicted against true values, residuals, and a table of values.

    Args:
        found: findings by role.
        names: of the values.
    """
    against: list[Figure] = []
    residuals: list[Figure] = []
    for place, name in enumerate(names):
        each = {role: value for role, part in found.items() if (value := part.values[place])}
        if not any(value.points for value in each.values()):
            continue
        points = [Line(role, value.points, role) for role, value in each.items()]
        shares = [Line(role, _shares(value.residuals), role) for role, value in each.items()]
        against.append(Lines(name, "true", "predicted", points, kind="points", diagonal=True))
        residuals.append(Lines(name, "predicted less true", "share of the samples", shares))
    shown = f" The first {ROWS} values are shown." if len(names) > ROWS else ""
    return (
        Section("Predicted and true values", figures=against),
        Section("Residuals", "The outermost samples, 1 % of all, are not drawn.", residuals),
        Section("Values", f"Errors are in the units of each value.{shown}", [_table(found, names[:ROWS])]),
    )


def _shares(residuals: Histogram) -> Sequence[tuple[float, float]]:
    """The middle of each bin, and the share of all residuals in it."""
    total = sum(residuals.counts) + residuals.below + residuals.above
    width = (residuals.high - residuals.low) / len(residuals.counts)
    return [
        (residuals.low + (place + 0.5) * width, count / total) for place, count in enumerate(residuals.counts)
    ]


def _table(found: Mapping[str, RegressionFindings], names: Sequence[str]) -> Table:
    of = {role: f" ({role})" if len(found) > 1 else "" for role in found}
    heads = [f"{what}{of[role]}" for role in found for what in ("RMSE", "MAE", "R²", "90 % of errors below")]
    rows = [
        [name, *(text for part in found.values() for text in _texts(part.values[place]))]
        for place, name in enumerate(names)
    ]
    return Table(("value", *heads), rows)


def _texts(value: Value | None) -> tuple[str, ...]:
    if value is None:
        return ("", "", "", "")
    r2 = "" if value.r2 is None else f"{value.r2:.3f}"
    return f"{value.rmse:.4g}", f"{value.mae:.4g}", r2, f"{value.quantiles[0.9]:.4g}"
