"""What a page shows of several classifiers side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from limbeck.tasks.classification.calibration_section import Seeds, section
from limbeck.tasks.classification.findings import ClassificationFindings
from limbeck.tasks.classification.least_known import least_known
from limbeck.tasks.measuring import Findings
from limbeck.tasks.sections import Bars, Section


def compared(names: Sequence[str], found: Mapping[str, Sequence[Findings]]) -> Sequence[Section]:
    """The sections of a comparison; see `limbeck.tasks.Task.compared`.

    Args:
        names: names of the classes.
        found: findings by the name of the network, those of each seed.
    """
    networks = {
        name: [each for each in seeds if isinstance(each, ClassificationFindings)]
        for name, seeds in found.items()
    }
    return [Section("Classes", figures=[_by_class(names, networks)]), section(networks)]


def _by_class(names: Sequence[str], networks: Mapping[str, Seeds]) -> Bars:
    """The accuracy of each network on the classes that they know least."""
    rates = {
        name: [_mean(seeds, at) for at in range(min(len(names), seeds[0].confusion.classes))]
        for name, seeds in networks.items()
    }
    known = {
        at: fmean(values)
        for at in range(len(names))
        if (values := [its[at] for its in rates.values() if at < len(its) and not math.isnan(its[at])])
    }
    worst, which = least_known(known, names)
    return Bars(
        "Accuracy by class",
        "accuracy (%)",
        [names[at] for at in worst],
        {name: [its[at] if at < len(its) else math.nan for at in worst] for name, its in rates.items()},
        kind="points",
        notes=f"Means over the seeds, the least known class first.{which}",
    )


def _mean(seeds: Seeds, at: int) -> float:
    """The mean accuracy on a class in percent; NaN if no seed's split has a sample of it."""
    rates = [100 * rate.value for each in seeds if (rate := each.accuracy.per_class[at])]
    return fmean(rates) if rates else math.nan
