"""What a report shows of networks that give values, and what a model card says of their weak points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from limbeck.tasks.measuring import Agreement, Findings
from limbeck.tasks.regression.findings import Histogram, RegressionFindings, Value
from limbeck.tasks.sections import Line, Lines, Section, Table

ROWS = 50
"""Values of the table, the first ones."""


def sections(
    names: Sequence[str], found: Mapping[str, Findings], agreement: Agreement | None
) -> Sequence[Section]:
    """The sections of a report; see `limbeck.tasks.Task.sections`.

    Args:
        names: names of the values.
        found: findings by role, the student's among them.
        agreement: agreement of student and teacher; None without a teacher.
    """
    each = {role: its for role, its in found.items() if isinstance(its, RegressionFindings)}
    parts = [_drawn(names, each), Section("Values", figures=[_table(names, each)])]
    if agreement is not None:
        text = (
            "The values of student and teacher differ by a root mean square of "
            f"{agreement.distance:.3f} standard deviations of the training targets."
        )
        parts.append(Section("Agreement with the teacher", text))
    return parts


def _drawn(names: Sequence[str], found: Mapping[str, RegressionFindings]) -> Section:
    """Predicted against true, and the residuals, for the values whose points are kept."""
    figures: list[Lines] = []
    for place, name in enumerate(names):
        each = {role: value for role, its in found.items() if (value := its.values[place])}
        if not any(value.points for value in each.values()):
            continue
        points = [Line(role, value.points, role) for role, value in each.items()]
        shares = [Line(role, _shares(value.residuals), role) for role, value in each.items()]
        figures += [
            Lines(
                f"{name}: predicted and true",
                "true",
                "predicted",
                points,
                kind="points",
                diagonal=True,
                notes=f"{len(points[0].points):,} of {each['student'].known:,} samples.",
            ),
            Lines(
                f"{name}: residuals",
                "predicted less true",
                "samples (%)",
                shares,
                notes="The outermost samples, 1 % of all, are not drawn.",
            ),
        ]
    return Section("Predicted and true values", figures=figures)


def _shares(residuals: Histogram) -> Sequence[tuple[float, float]]:
    """The middle of each bin, and the percentage of all residuals in it."""
    total = sum(residuals.counts) + residuals.below + residuals.above
    width = (residuals.high - residuals.low) / len(residuals.counts)
    return [
        (residuals.low + (place + 0.5) * width, 100 * count / total)
        for place, count in enumerate(residuals.counts)
    ]


def _table(names: Sequence[str], found: Mapping[str, RegressionFindings]) -> Table:
    columns = [
        f"{what} ({role})" if len(found) > 1 else what
        for role in found
        for what in ("RMSE", "MAE", "R²", "90 % of errors up to")
    ]
    rows = [
        [name, *(text for its in found.values() for text in _texts(its.values[place]))]
        for place, name in enumerate(names[:ROWS])
    ]
    notes = "Errors are in the units of each value."
    if len(names) > ROWS:
        notes += f" The first {ROWS} values."
    return Table(["value", *columns], rows, title="By value", notes=notes)


def _texts(value: Value | None) -> Sequence[str | None]:
    if value is None:
        return [None] * 4
    r2 = None if value.r2 is None else f"{value.r2:.3f}"
    return f"{value.rmse:.4g}", f"{value.mae:.4g}", r2, f"{value.quantiles[0.9]:.4g}"


def weaknesses(names: Sequence[str], found: RegressionFindings) -> Iterator[str]:
    """What a model card says of a student's weak points: sentences of Markdown.

    Args:
        names: names of the values.
        found: the student's findings.
    """
    known = [(value, f"`{name}`") for value, name in zip(found.values, names, strict=True) if value]
    explained = [(value.r2, value, name) for value, name in known if value.r2 is not None]
    if len(explained) > 1:
        r2, value, name = min(explained, key=lambda each: each[0])
        yield f"It is weakest on {name}: it explains {100 * r2:.1f} % of the variance."
    else:
        value, name = known[0]
    yield (
        f"Its errors on {name} are up to {value.quantiles[0.9]:.4g} in 90 % of the samples and up to "
        f"{value.quantiles[0.99]:.4g} in 99 %; its answers are {value.bias:+.4g} off on average."
    )
