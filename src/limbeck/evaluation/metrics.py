"""How right a network is, and how well it knows it.

Plain torch: torchmetrics has no calibration error with equal-mass bins, and for the rest, one line each,
its import would cost every command two seconds.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.evaluation.predict import Predictions
from limbeck.outputs import UNLABELLED

TOP5_FROM = 10
"""Top-5 accuracy says something from this number of classes on."""


def metrics(predictions: Predictions) -> dict[str, float]:
    """Accuracy and calibration over the labelled samples.

    Returns:
        `top1` and, from `TOP5_FROM` classes on, `top5`: fractions in [0, 1]; `nll`: mean negative
        log-likelihood in nats; `ece`: see `ece`.
    Raises:
        LimbeckError: no sample has a label, or a label is no class of the network.
    """
    logits, targets = _labelled(predictions)
    found = {"top1": _top(logits, targets, 1)}
    if logits.shape[1] >= TOP5_FROM:
        found["top5"] = _top(logits, targets, 5)
    found["nll"] = float(F.cross_entropy(logits.double(), targets))
    found["ece"] = ece(logits, targets)
    return found


def agreement(first: Predictions, second: Predictions) -> float:
    """Share of the samples, labelled or not, for which both networks give the same class."""
    if len(first) != len(second):
        raise LimbeckError(
            f"agreement needs two answers to each sample, not {len(first)} answers and {len(second)}"
        )
    return float((first.logits.argmax(1) == second.logits.argmax(1)).double().mean())


def ece(logits: Tensor, targets: Tensor, bins: int = 15) -> float:
    """Expected calibration error of the top class, with bins of equal mass.

    Samples are ordered by confidence (the largest softmax probability) and cut into bins that hold the
    same number of samples, or one more; the error is the mean over bins of |accuracy - confidence|,
    weighted by their sizes. Equally confident samples share their accuracy, so that neither their order
    nor a bin's edge among them changes the value.

    Args:
        logits: (N, C).
        targets: (N,) class ids.
        bins: at most; fewer samples than that make a bin each.
    Returns: a fraction in [0, 1].
    """
    confidence, answers = logits.double().softmax(1).max(1)
    _, group, sizes = torch.unique(confidence, return_inverse=True, return_counts=True)
    right = torch.zeros_like(sizes, dtype=torch.double).index_add_(0, group, (answers == targets).double())
    difference = (right / sizes)[group] - confidence
    # the size of a bin times its |accuracy - confidence| is the absolute sum of its differences
    gaps = [part.sum().abs() for part in difference[confidence.argsort()].tensor_split(bins)]
    return float(torch.stack(gaps).sum() / len(targets))


def wilson(successes: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion.

    Args:
        successes: samples with the property, 0 to `total`.
        total: samples in all, at least 1.
        confidence: coverage in (0, 1).
    Returns: the lower and the upper end, in [0, 1].
    """
    if not 0 <= successes <= total or total == 0:
        raise LimbeckError(f"{successes} of {total} is no proportion")
    from scipy.stats import binomtest  # here: 0.7 s to import

    interval = binomtest(successes, total).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def _labelled(predictions: Predictions) -> tuple[Tensor, Tensor]:
    logits, targets = predictions.logits, predictions.targets
    if targets is None or not (rows := targets != UNLABELLED).any():
        raise LimbeckError(f"none of the {len(predictions)} samples has a label, and accuracy needs labels")
    logits, targets = logits[rows], targets[rows]
    classes = logits.shape[1]
    if (wrong := targets[(targets < 0) | (targets >= classes)]).numel():
        raise LimbeckError(f"target {int(wrong[0])} is no class of a network with {classes} logits")
    return logits, targets


def _top(logits: Tensor, targets: Tensor, k: int) -> float:
    return float((logits.topk(k).indices == targets[:, None]).any(1).double().mean())
