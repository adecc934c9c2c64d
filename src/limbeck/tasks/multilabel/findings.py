"""What is found out about a network that gives labels: the records."""

from __future__ import annotations

from typing import Any

from limbeck.tasks.measuring import Findings

Points = tuple[tuple[float, float], ...]
"""Points (recall, precision) of a curve."""


class Decisions(Findings):
    """How good the decisions are that some thresholds make.

    Attributes:
        macro_f1: mean F1 of the labels that apply to a sample or were given to one.
        micro_f1: F1 of all (sample, label) pairs together.
        hamming: share of the pairs that are decided wrongly.
    """

    macro_f1: float
    micro_f1: float
    hamming: float


class Label(Findings):
    """One label.

    Attributes:
        known: samples of which it is known whether the label applies.
        positives: those to which it applies.
        ap: average precision; None where it applies to none.
        threshold: probability above which the label is given, chosen on the validation split; 0.5 where there
            is none, or the label applies to none of its samples.
        f1: with that threshold; None where the label applies to no sample and was given to none.
        f1_at_half: with the threshold 0.5.
        curve: curve of precision and recall, for the labels with the most positives.
    """

    known: int
    positives: int
    ap: float | None
    threshold: float
    f1: float | None
    f1_at_half: float | None
    curve: Points | None


class MultilabelFindings(Findings):
    """What is found out about a network that gives labels.

    Attributes:
        map: mean average precision over the labels that apply to a sample.
        nll: mean binary cross-entropy of a (sample, label) pair, in nats.
        at_thresholds: decisions by each label's threshold.
        at_half: decisions by a probability above 0.5.
        labels: in the order of the task's names.
        curve: curve of precision and recall over all pairs, the micro-average.
    """

    map: float
    nll: float
    at_thresholds: Decisions
    at_half: Decisions
    labels: tuple[Label, ...]
    curve: Points

    @property
    def shipped(self) -> dict[str, Any]:
        """`thresholds`: for each label the probability above which it is given."""
        return {"thresholds": [label.threshold for label in self.labels]}
