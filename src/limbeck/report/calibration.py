"""The part of a page on how far the confidence of networks can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from limbeck.evaluation.results import Bin, NetworkResult
from limbeck.report.chart import Chart, Trace
from limbeck.report.page import Block
from limbeck.report.table import Cell, Table, spread


def calibration(networks: Mapping[str, Sequence[NetworkResult]]) -> list[Block]:
    """Reliability, how sure each network is, and what a temperature would change.

    Args:
        networks: by the name to show them under, each over one or several seeds.
    """
    reliability, sureness, least = [], [], 100.0
    for name, found in networks.items():
        confidence, accuracy, surer = _curves([each.calibration.bins for each in found])
        reliability.append(Trace(name, confidence, accuracy))
        sureness.append(Trace(name, confidence, surer))
        least = min(least, *confidence)
    reliability.append(Trace("perfect", [least, 100.0], [least, 100.0], kind="guide"))
    means = " Means over the seeds." if any(len(found) > 1 for found in networks.values()) else ""
    return [
        Chart(
            "Reliability",
            reliability,
            "confidence (%)",
            "accuracy (%)",
            f"Each mark is a bin of equally many samples; under the line a network is too sure.{means}",
        ),
        Chart(
            "How sure it is",
            sureness,
            "confidence (%)",
            "samples less sure than that (%)",
            "A curve far to the right is a network that is sure of most of its answers.",
        ),
        _confidence(networks),
    ]


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


def _confidence(networks: Mapping[str, Sequence[NetworkResult]]) -> Table:
    rows: list[list[Cell]] = []
    for name, found in networks.items():
        its = [each.calibration for each in found]
        rows.append(
            [
                name,
                spread([100 * each.ece for each in its], 1),
                spread([each.nll for each in found], 3),
                spread([each.temperature for each in its], 2),
                spread([None if each.ece_after is None else 100 * each.ece_after for each in its], 1),
                spread([each.nll_after for each in its], 3),
            ]
        )
    columns = ["network", "calibration error (%)", "NLL (nats)", "temperature", "error then (%)", "NLL then"]
    notes = "Calibration error: distance of confidence from accuracy over the bins. " + (
        "What follows it is had by dividing the logits by the temperature, fitted on the validation split."
        if any(row[3] for row in rows)
        else "No temperature was fitted."
    )
    return Table("Confidence", columns, rows, notes)
