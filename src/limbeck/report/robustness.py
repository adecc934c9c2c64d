"""The part of a page on how the primary metric suffers when the inputs get noisy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from limbeck.evaluation.results import NetworkResult
from limbeck.report.chart import Chart, over_seeds
from limbeck.report.page import Block
from limbeck.tasks import Metric
from limbeck.tasks.wording import axis, heading


def robustness(networks: Mapping[str, Sequence[NetworkResult]], metric: Metric) -> list[Block]:
    """A chart of the mean over all kinds of noise, and one of each kind; nothing where none was shown.

    Args:
        networks: by the name to show them under, each over one or several seeds.
        metric: the primary one of their task.
    """
    by_kind: dict[str, dict[str, list[list[float]]]] = {"mean of all kinds": {}}
    for name, found in networks.items():
        for each in found:
            if each.robustness is None or each.noiseless is None:
                continue
            kinds = {kind: [each.noiseless, *values] for kind, values in each.robustness.items()}
            mean = [fmean(values) for values in zip(*kinds.values(), strict=True)]
            for kind, values in {"mean of all kinds": mean, **kinds}.items():
                shown = [metric.scale * value for value in values]
                by_kind.setdefault(kind, {}).setdefault(name, []).append(shown)
    if not any(by_kind.values()):
        return []
    charts = []
    for kind, curves in by_kind.items():
        title = "JPEG" if kind == "jpeg" else kind.replace("_", " ").capitalize()
        traces = [over_seeds(name, range(len(seeds[0])), seeds) for name, seeds in curves.items()]
        charts.append(Chart(title, traces, "severity", axis(metric), from_zero=True))
    says = (
        f"{heading(metric)} on the same samples with noise of rising severity; 0 is none. No network was "
        "trained on it."
    )
    several = any(len(seeds) > 1 for seeds in by_kind["mean of all kinds"].values())
    bands = " Means over the seeds; a band runs from the lowest to the highest." if several else ""
    return [says + bands, *charts]
