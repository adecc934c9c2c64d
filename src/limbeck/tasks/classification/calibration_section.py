"""What a report shows of how far the confidence of classifiers can be trusted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev

from limbeck.tasks.classification.calibration import Bin
from limbeck.tasks.classification.findings import ClassificationFindings
from limbeck.tasks.sections import Line, Lines, Section, Table

Seeds = Sequence[ClassificationFindings]
"""The findings about one network for each of its seeds; one for a single run."""


def section(found: Mapping[str, Seeds]) -> Section:
    """Reliability, how sure each network is, and what a temperature would change.

    Args:
        found: findings by the name to show a network under; a role where it is one.
    """
    reliability, sureness = [], []
    for name, seeds in found.items():
        confidence, accuracy, surer = _curves([each.calibration.bins for each in seeds])
        reliability.append(Line(name, list(zip(confidence, accuracy, strict=True)), name))
        sureness.append(Line(name, list(zip(confidence, surer, strict=True)), name))
    means = " Means over the seeds." if any(len(seeds) > 1 for seeds in found.values()) else ""
    return Section(
        "Calibration",
        _sentences(found["student"][0]) if "student" in found else "",
        [
            Lines(
                "Reliability",
                "confidence (%)",
                "accuracy (%)",
                reliability,
                diagonal=True,
                notes="Each mark is a bin of equally many samples; under the line a network is too sure."
                + means,
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


def _curves(seeds: Sequence[Sequence[Bin]]) -> list[list[float]]:
    """Confidence, accuracy and share of less sure samples at each bin in percent, means over the seeds.

    Bins are of equal mass, so those of one seed answer to those of another.
    """
    curves = []
    for bins in seeds:
        before, total, points = 0, sum(each.samples for each in bins), []
        for each in bins:
            points.append((each.confidence, each.accuracy, (before + each.samples / 2) / total))
            before += each.samples
        curves.append(points)
    means = [[100 * fmean(values) for values in zip(*at, strict=True)] for at in zip(*curves, strict=False)]
    return [list(values) for values in zip(*means, strict=True)]


def _sentences(found: ClassificationFindings) -> str:
    """What the student's confidence is worth."""
    its = found.calibration
    error = f"{100 * its.ece:.1f} percentage points"
    text = f"The student's confidence is {error} away from its accuracy on average."
    if its.temperature is None or its.ece_after is None:
        return text
    return (
        f"{text} Logits divided by the temperature {its.temperature:.2f}, which the validation split gives, "
        f"make it {100 * its.ece_after:.1f} points."
    )


def _confidence(found: Mapping[str, Seeds]) -> Table:
    """The calibration error and the log-likelihood, before and after a temperature."""
    rows: list[list[str | None]] = []
    for name, seeds in found.items():
        its = [each.calibration for each in seeds]
        rows.append(
            [
                name,
                _spread([100 * each.ece for each in its], 1),
                _spread([each.nll for each in seeds], 3),
                _spread([each.temperature for each in its], 2),
                _spread([None if each.ece_after is None else 100 * each.ece_after for each in its], 1),
                _spread([each.nll_after for each in its], 3),
            ]
        )
    return Table(
        ["network", "calibration error (%)", "NLL (nats)", "temperature", "error then (%)", "NLL then"],
        rows,
        title="Confidence",
        notes="The calibration error is the distance of confidence from accuracy over the bins. "
        + (
            "What follows the temperature holds for logits divided by it; it is fitted on the validation "
            "split."
            if any(row[3] for row in rows)
            else "No temperature was fitted."
        ),
    )


def _spread(values: Iterable[float | None], digits: int) -> str | None:
    """The mean of the values that there are, of several with their standard deviation; None without any."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    text = f"{fmean(known):.{digits}f}"
    return text if len(known) == 1 else f"{text} ± {stdev(known):.{digits}f}"
