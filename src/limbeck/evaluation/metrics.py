"""How right a network is.

Plain torch: for metrics of one line each, the import of torchmetrics would cost every command two seconds.
The tests hold them against it.
"""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.evaluation.calibration import ece
from limbeck.evaluation.predict import Predictions
from limbeck.evaluation.results import Accuracy, Confusion, Pair, Rate

TOP5_FROM = 10
"""Top-5 accuracy says something from this number of classes on."""


def metrics(predictions: Predictions) -> dict[str, float]:
    """Accuracy and calibration over the labeled samples.

    Returns:
        `top1` and, from `TOP5_FROM` classes on, `top5`: fractions in [0, 1]; `nll`: mean negative
        log-likelihood in nats; `ece`: see `ece`.
    Raises:
        LimbeckError: no sample has a label, or a label is no class of the network.
    """
    logits, targets = predictions.labeled()
    found = {"top1": _share(_in_top(logits, targets, 1))}
    if logits.shape[1] >= TOP5_FROM:
        found["top5"] = _share(_in_top(logits, targets, 5))
    return {**found, "nll": nll(logits, targets), "ece": ece(logits, targets)}


def accuracy(logits: Tensor, targets: Tensor) -> Accuracy:
    """Top-1 and top-5 accuracy in total, and top-1 of each class.

    Args:
        logits: (N, C).
        targets: (N,) class ids.
    """
    right, classes = _in_top(logits, targets, 1), logits.shape[1]
    sizes, hits = targets.bincount(minlength=classes), targets[right].bincount(minlength=classes)
    return Accuracy(
        top1=rate(right),
        top5=rate(_in_top(logits, targets, 5)) if classes >= TOP5_FROM else None,
        per_class=tuple(
            _rate(hit, size) if size else None
            for hit, size in zip(hits.tolist(), sizes.tolist(), strict=True)
        ),
    )


def nll(logits: Tensor, targets: Tensor) -> float:
    """Mean negative log-likelihood in nats; logits (N, C), targets (N,)."""
    return float(F.cross_entropy(logits.double(), targets))


def confusion(logits: Tensor, targets: Tensor, pairs: int = 10) -> Confusion:
    """What is taken for what.

    Args:
        logits: (N, C).
        targets: (N,) class ids.
        pairs: how many of the most confused ordered pairs to name, at most; of equal ones the first classes.
    """
    classes = logits.shape[1]
    codes, counts = torch.unique(targets * classes + logits.argmax(1), return_counts=True)
    cells = [
        (*divmod(code, classes), count) for code, count in zip(codes.tolist(), counts.tolist(), strict=True)
    ]
    wrong = sorted((cell for cell in cells if cell[0] != cell[1]), key=lambda cell: -cell[2])
    return Confusion(
        classes=classes,
        cells=tuple(cells),
        pairs=tuple(Pair(target=each[0], predicted=each[1], samples=each[2]) for each in wrong[:pairs]),
    )


def rate(happened: Tensor) -> Rate:
    """The share of samples with a property, (N,) bool, with its interval."""
    return _rate(int(happened.sum()), len(happened))


def wilson(successes: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson 1927; Newcombe 1998, method 3).

    Args:
        successes: samples with the property, 0 to `total`.
        total: samples in all, at least 1.
        confidence: coverage in (0, 1).
    Returns: the lower and the upper end, in [0, 1].
    """
    if not 0 <= successes <= total or total == 0:
        raise LimbeckError(f"{successes} of {total} is no proportion")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    center = successes + z**2 / 2
    half = z * sqrt(successes * (total - successes) / total + z**2 / 4)
    low, high = ((center + sign * half) / (total + z**2) for sign in (-1, 1))
    return max(low, 0.0) if successes else 0.0, min(high, 1.0) if successes < total else 1.0


def _rate(successes: int, total: int) -> Rate:
    low, high = wilson(successes, total)
    return Rate(value=successes / total, low=low, high=high, samples=total)


def _in_top(logits: Tensor, targets: Tensor, k: int) -> Tensor:
    return (logits.topk(k).indices == targets[:, None]).any(1)


def _share(happened: Tensor) -> float:
    return float(happened.double().mean())
