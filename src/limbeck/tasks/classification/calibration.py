"""How well a network knows how right it is.

Plain torch: torchmetrics has no calibration error with equal-mass bins.
"""

from __future__ import annotations

from math import exp, log

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.tasks.measuring import Findings

COLDEST, HOTTEST = 0.01, 100.0
"""Temperatures are looked for between these; a network that is always right, or never, has none."""


class Bin(Findings):
    """A bin of the reliability curve: mean confidence and accuracy of its rows."""

    confidence: float
    accuracy: float
    samples: int


class Calibration(Findings):
    """Whether the confidence can be trusted.

    Attributes:
        ece: expected calibration error over the bins.
        temperature: what to divide the logits by, fitted on the validation split; None where there is no such
            split, and where no temperature was best, as for a network that is always right on it.
        ece_after: the error with that temperature, which is not always lower; None without one.
        nll_after: the negative log-likelihood with that temperature, in nats; None without one.
        bins: bins of equal mass, by rising confidence.
    """

    ece: float
    temperature: float | None
    ece_after: float | None
    nll_after: float | None
    bins: tuple[Bin, ...]


def calibration(
    logits: Tensor, targets: Tensor, validation: tuple[Tensor, Tensor] | None = None
) -> Calibration:
    """Reliability on some samples, and what a temperature fitted on others would make of it.

    Args:
        logits: (N, C) to measure on.
        targets: (N,) class ids.
        validation: logits (M, C) and targets (M,) of other samples, to fit the temperature on.
    """
    curve = reliability(logits, targets)
    mending = None if validation is None else temperature(*validation)
    mended = None if mending is None else logits.double() / mending
    return Calibration(
        ece=_error(curve),
        temperature=mending,
        ece_after=None if mended is None else ece(mended, targets),
        nll_after=None if mended is None else float(F.cross_entropy(mended, targets)),
        bins=curve,
    )


def ece(logits: Tensor, targets: Tensor, bins: int = 15) -> float:
    """Expected calibration error of the top class, with bins of equal mass.

    The mean over the bins of `reliability` of |accuracy - confidence|, weighted by their sizes.

    Args:
        logits: (N, C).
        targets: (N,) class ids.
        bins: at most; fewer samples than that make a bin each.
    Returns: a fraction in [0, 1].
    """
    return _error(reliability(logits, targets, bins))


def reliability(logits: Tensor, targets: Tensor, bins: int = 15) -> tuple[Bin, ...]:
    """The reliability curve: samples ordered by confidence and cut into bins of the same size, or one more.

    Confidence is the largest softmax probability. Equally confident samples share their accuracy, so
    that neither their order nor a bin's edge among them changes the values.

    Args:
        logits: (N, C).
        targets: (N,) class ids.
        bins: at most; fewer samples than that make a bin each.
    """
    confidence, answers = logits.double().softmax(1).max(1)
    _, group, sizes = torch.unique(confidence, return_inverse=True, return_counts=True)
    right = torch.zeros_like(sizes, dtype=torch.double).index_add_(0, group, (answers == targets).double())
    order = confidence.argsort()
    parts = [part for part in order.tensor_split(bins) if len(part)]
    accuracy = (right / sizes)[group]
    return tuple(
        Bin(
            confidence=float(confidence[part].mean()),
            accuracy=float(accuracy[part].mean()),
            samples=len(part),
        )
        for part in parts
    )


def temperature(logits: Tensor, targets: Tensor) -> float | None:
    """The temperature that calibrates a network: dividing the logits by it minimizes their NLL.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017, arXiv:1706.04599, Sec. 4.2.

    Args:
        logits: (N, C) of samples that no figure is taken on.
        targets: (N,) class ids.
    Returns: a value between `COLDEST` and `HOTTEST`; None where the best one is not between them.
    """
    logits, low, high = logits.double(), log(COLDEST), log(HOTTEST)
    theirs = logits.gather(1, targets[:, None])
    for _ in range(40):  # the loss is convex in 1 / temperature, so its slope changes sign at most once
        middle = (low + high) / 2
        expected = ((logits / exp(middle)).softmax(1) * logits).sum(1, keepdim=True)
        low, high = (middle, high) if (expected - theirs).mean() > 0 else (low, middle)
    return None if low == log(COLDEST) or high == log(HOTTEST) else exp((low + high) / 2)


def _error(curve: tuple[Bin, ...]) -> float:
    total = sum(part.samples for part in curve)
    return sum(part.samples * abs(part.accuracy - part.confidence) for part in curve) / total
