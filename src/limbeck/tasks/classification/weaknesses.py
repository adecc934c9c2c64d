"""What a model card says of a classifier's weak points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from limbeck.tasks.classification.calibration import Calibration
from limbeck.tasks.classification.findings import ClassificationFindings

PAIRS = 3
"""Confused pairs that are named."""


def weaknesses(names: Sequence[str], found: ClassificationFindings) -> Iterator[str]:
    """Sentences of Markdown.

    Args:
        names: names of the classes; an output beyond them is named by its number.
        found: the student's findings.
    """
    named = [f"`{name}`" for name in (*names, *range(len(names), found.confusion.classes))]
    rates = [(rate, name) for rate, name in zip(found.accuracy.per_class, named, strict=True) if rate]
    worst, name = min(rates, key=lambda each: each[0].value)
    right = f"{_percent(worst.value)} % ({_percent(worst.low)} to {_percent(worst.high)})"
    if worst.value < 1:
        yield f"It is weakest on {name}: right in {right} of {worst.samples:,} samples."
    if pairs := found.confusion.pairs[:PAIRS]:
        taken = (f"{named[each.target]} for {named[each.predicted]} ({each.samples:,})" for each in pairs)
        yield f"What it takes for something else most often: {', '.join(taken)}."
    yield from _confidence(found.calibration, found.nll)


def _confidence(its: Calibration, nll: float) -> Iterator[str]:
    yield f"Its confidence is off by {_percent(its.ece)} % on average (ECE, 15 bins of equal mass)."
    if its.temperature is not None and its.ece_after is not None and its.nll_after is not None:
        helps = its.ece_after < its.ece and its.nll_after < nll
        verdict = "helps" if helps else "does not mend it"
        after = f"{_percent(its.ece_after)} %, and the NLL {its.nll_after:.4g}"
        yield (
            f"Dividing the logits by {its.temperature:.4g}, a temperature fitted on the validation split, "
            f"{verdict}: that becomes {after} nats instead of {nll:.4g}."
        )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
