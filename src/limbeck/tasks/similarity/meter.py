"""Measures networks by how they score pairs of texts."""

from __future__ import annotations

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import Batch, Outputs
from limbeck.tasks.measuring import Agreement, Comparison, Meter
from limbeck.tasks.parts.vectors import Score, prepared
from limbeck.tasks.similarity.findings import SimilarityFindings

POINTS = 1000
"""Pairs that are kept to be drawn."""


class Pairs:
    """The scores that a network gives the pairs of a split, while their texts come in.

    Args:
        score: how embeddings are compared.
    """

    def __init__(self, score: Score) -> None:
        self._score = score
        self._waiting: dict[int, Tensor] = {}
        self.found: list[float] = []
        self.wanted: list[float] = []
        self.samples = self.dimensions = self.zero = 0

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Takes in the embeddings (B, D) of a batch with its targets (B, 2)."""
        self.samples += len(batch)
        if batch.targets is None:
            return
        vectors = prepared(outputs.logits.detach(), self._score).cpu()
        self.dimensions = vectors.shape[1]
        self.zero += int((vectors == 0).all(1).sum())
        for (pair, wanted), vector in zip(batch.targets.tolist(), vectors, strict=True):
            if wanted != wanted:
                continue
            other = self._waiting.pop(int(pair), None)
            if other is None:
                self._waiting[int(pair)] = vector
            else:
                self.found.append(float(other @ vector))
                self.wanted.append(wanted)


class SimilarityMeter(Meter):
    """Compares the scores of pairs with those of the data by their correlation.

    It keeps two numbers for each pair, because ranks need them all at once.

    Args:
        score: how embeddings are compared.
    """

    def __init__(self, score: Score) -> None:
        self._pairs = Pairs(score)

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Takes in embeddings (B, D) and targets (B, 2)."""
        self._pairs.update(outputs, batch)

    def compute(self) -> dict[str, float]:
        """`spearman` and `pearson`; 0 where all scores of the network are the same."""
        found, wanted = self._measured()
        return {
            "spearman": correlation(ranks(found), ranks(wanted)),
            "pearson": correlation(found, wanted),
        }

    def findings(self) -> SimilarityFindings:
        """All there is to say; see `limbeck.tasks.Task.measure`."""
        found, wanted = self._measured()
        places = torch.linspace(0, len(found) - 1, min(POINTS, len(found))).round().long()
        return SimilarityFindings(
            pairs=len(found),
            dimensions=self._pairs.dimensions,
            zero=self._pairs.zero,
            points=tuple(zip(wanted[places].tolist(), found[places].tolist(), strict=True)),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Embeddings of length 0, which are as close to one text as to another."""
        if not self._pairs.zero:
            return ()
        return (
            f"The embeddings of {self._pairs.zero} texts have length 0, so their pairs have the score 0.",
        )

    def _measured(self) -> tuple[Tensor, Tensor]:
        if len(self._pairs.found) < 2:
            raise LimbeckError(
                f"the {self._pairs.samples} texts make {len(self._pairs.found)} pairs with a score, and a "
                "correlation needs at least 2"
            )
        found = torch.tensor(self._pairs.found, dtype=torch.float64)
        return found, torch.tensor(self._pairs.wanted, dtype=torch.float64)


class SimilarityComparison(Comparison):
    """Measures how alike two networks score pairs.

    Args:
        score: how embeddings are compared.
    """

    def __init__(self, score: Score) -> None:
        self._student, self._teacher = Pairs(score), Pairs(score)

    def update(self, student: Outputs, teacher: Outputs, batch: Batch) -> None:
        """Takes in embeddings of both, (B, D) and (B, D'), and targets (B, 2)."""
        self._student.update(student, batch)
        self._teacher.update(teacher, batch)

    def compute(self) -> Agreement:
        """The mean difference of the scores."""
        ours, theirs = (torch.tensor(each.found) for each in (self._student, self._teacher))
        return Agreement(agreement=None, distance=float((ours - theirs).abs().mean()))


def ranks(values: Tensor) -> Tensor:
    """(N,) float64 ranks of values (N,) from 0; equal values share the mean of theirs."""
    _, which, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    shared: Tensor = last - (counts.double() + 1) / 2
    return shared[which]


def correlation(first: Tensor, second: Tensor) -> float:
    """Pearson's correlation of two vectors (N,) float64; 0 where one of them is constant."""
    first, second = first - first.mean(), second - second.mean()
    scale = float(first.norm() * second.norm())
    return float(first @ second) / scale if scale > 0 else 0.0
