"""The classes that a chart shows: those that are known least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from limbeck.errors import listed
from limbeck.tasks.classification.fidelity import FEW_CLASSES


def least_known(accuracy: Mapping[int, float], names: Sequence[str]) -> tuple[list[int], str]:
    """The classes to show, and a note on those that are not shown.

    All are shown in the order of the data, as in the confusion matrix, without a note. Of more than
    `FEW_CLASSES` so many are shown, the least known first. Where no sample of so many classes is right that
    these would fill the chart, they are named in the note and the next ones are shown.

    Args:
        accuracy: share of the samples that are right, by class.
        names: names of all classes.
    """
    order = sorted(accuracy, key=lambda at: accuracy[at])
    never = [at for at in order if accuracy[at] == 0]
    if len(never) < FEW_CLASSES or len(never) == len(order):
        shown = order[:FEW_CLASSES]
        if len(shown) == len(order):
            return sorted(shown), ""
        return shown, f" The {len(shown)} least known of {len(order)}."
    shown = order[len(never) :][:FEW_CLASSES]
    note = f" No sample of {len(never)} classes is right: {listed([names[at] for at in never])}."
    if len(never) + len(shown) < len(order):
        note += f" Of the others the {len(shown)} least known."
    return shown, note
