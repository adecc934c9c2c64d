"""How right a classifier is.

Plain torch: for metrics of one line each, the import of torchmetrics would cost every command two seconds.
The tests hold them against it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.tasks.classification.findings import Accuracy, Confusion, Pair
from limbeck.tasks.parts.rates import share_of

TOP5_FROM = 10
"""Top-5 accuracy says something from this number of classes on."""

PAIRS = 10
"""The most confused pairs that are named."""

PENDING = 2**16
"""Rows whose answers are kept one by one before they are counted."""


class Counts:
    """What a classifier got right, counted while its answers come in.

    It keeps a number for each class, and one for each (class, answer) that happened.

    Args:
        answers: whether to count what is taken for what, for `confusion`.
    """

    def __init__(self, *, answers: bool = True) -> None:
        self.rows = 0
        self.classes = 0
        self._answers = answers
        self._sizes = self._hits = self._codes = self._counts = torch.zeros(0, dtype=torch.int64)
        self._top5 = 0
        self._pending: list[Tensor] = []

    def add(self, logits: Tensor, targets: Tensor) -> None:
        """Takes in rows.

        Args:
            logits: (P, C), on the CPU.
            targets: (P,) class ids.
        Raises:
            LimbeckError: for a target that is no class of the network.
        """
        if not self.rows:
            self.classes = logits.shape[1]
            self._sizes = self._hits = torch.zeros(self.classes, dtype=torch.int64)
        if (wrong := targets[(targets < 0) | (targets >= self.classes)]).numel():
            raise LimbeckError(f"target {int(wrong[0])} is no class of a network with {self.classes} logits")
        right = _in_top(logits, targets, 1)
        self.rows += len(targets)
        self._sizes = self._sizes + targets.bincount(minlength=self.classes)
        self._hits = self._hits + targets[right].bincount(minlength=self.classes)
        if self.classes >= TOP5_FROM:
            self._top5 += int(_in_top(logits, targets, 5).sum())
        if self._answers:
            self._pending.append(targets * self.classes + logits.argmax(1))
            if sum(map(len, self._pending)) > PENDING:
                self._count()

    def accuracy(self) -> Accuracy:
        """Top-1 and top-5 accuracy in total, and top-1 of each class; of one row or more."""
        return Accuracy(
            top1=share_of(int(self._hits.sum()), self.rows),
            top5=share_of(self._top5, self.rows) if self.classes >= TOP5_FROM else None,
            per_class=tuple(
                share_of(hits, size) if size else None
                for hits, size in zip(self._hits.tolist(), self._sizes.tolist(), strict=True)
            ),
        )

    def shares(self) -> dict[str, float]:
        """`top1` and, from `TOP5_FROM` classes on, `top5`; of one row or more."""
        found = {"top1": int(self._hits.sum()) / self.rows}
        return {**found, "top5": self._top5 / self.rows} if self.classes >= TOP5_FROM else found

    def confusion(self, pairs: int = PAIRS) -> Confusion:
        """What is taken for what.

        Args:
            pairs: how many of the most confused ordered pairs to name, at most; of equal ones the first
                classes.
        """
        self._count()
        cells = [
            (*divmod(code, self.classes), count)
            for code, count in zip(self._codes.tolist(), self._counts.tolist(), strict=True)
        ]
        wrong = sorted((cell for cell in cells if cell[0] != cell[1]), key=lambda cell: -cell[2])
        return Confusion(
            classes=self.classes,
            cells=tuple(cells),
            pairs=tuple(Pair(target=each[0], predicted=each[1], samples=each[2]) for each in wrong[:pairs]),
        )

    def _count(self) -> None:
        codes = torch.cat([self._codes, *self._pending])
        weights = torch.cat([self._counts, *map(torch.ones_like, self._pending)])
        self._codes, places = torch.unique(codes, return_inverse=True)
        self._counts = torch.zeros_like(self._codes).index_add_(0, places, weights)
        self._pending = []


def accuracy(logits: Tensor, targets: Tensor) -> Accuracy:
    """Top-1 and top-5 accuracy in total, and top-1 of each class.

    Args:
        logits: (N, C).
        targets: (N,) class ids.
    """
    counts = Counts(answers=False)
    counts.add(logits, targets)
    return counts.accuracy()


def confusion(logits: Tensor, targets: Tensor, pairs: int = PAIRS) -> Confusion:
    """What is taken for what.

    Args:
        logits: (N, C).
        targets: (N,) class ids.
        pairs: how many of the most confused ordered pairs to name, at most; of equal ones the first classes.
    """
    counts = Counts()
    counts.add(logits, targets)
    return counts.confusion(pairs)


def nll(logits: Tensor, targets: Tensor) -> float:
    """Mean negative log-likelihood in nats; logits (N, C), targets (N,)."""
    return float(F.cross_entropy(logits.double(), targets))


def _in_top(logits: Tensor, targets: Tensor, k: int) -> Tensor:
    return (logits.topk(k).indices == targets[:, None]).any(1)
