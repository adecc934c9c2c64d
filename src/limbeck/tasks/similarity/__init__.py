"""Similarity: an embedding for each text, by which two texts are told alike or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.tasks.measuring import Agreement, Findings, Meter, Metric
from limbeck.tasks.parts.embedding import EmbeddingTask
from limbeck.tasks.sections import Line, Lines, Section
from limbeck.tasks.similarity.findings import SimilarityFindings
from limbeck.tasks.similarity.meter import SimilarityComparison, SimilarityMeter
from limbeck.tasks.targets import as_tensor, same_size


@dataclass(frozen=True)
class Similarity(EmbeddingTask):
    """A sample is one text and a row is a sample; the output is its embedding (B, D).

    Targets are (N, 2) float64: the number of the pair that a text is in, and the score of that pair, NaN for
    a text without one. The two texts of a pair are neighbors, and stay in one batch (`Split.together`).

    Args:
        names: none, as outputs have no names.
        score: how two texts are compared, "cosine" or "dot".
    """

    name = "similarity"
    distance: ClassVar[str] = "mean difference between the scores of student and teacher"
    findings = SimilarityFindings
    metrics = (
        Metric("spearman", "Spearman", hub="spearmanr"),
        Metric("pearson", "Pearson", hub="pearsonr"),
    )

    @classmethod
    def as_targets(cls, targets: Any, size: int, which: str) -> Tensor:
        """(N, 2) float64; all NaN for None."""
        if targets is None:
            return torch.full((size, 2), torch.nan, dtype=torch.float64)
        given = as_tensor(targets, which, "the number of a pair and its score, (N, 2)")
        if given.is_complex() or given.dtype == torch.bool or given.shape != (size, 2):
            same_size(given, size, which)
            raise LimbeckError(
                f"the {which} targets should be the number of a pair and its score, of shape ({size}, 2), "
                f"not {given.dtype} of shape {tuple(given.shape)}"
            )
        return given.double()

    def check(self, targets: Tensor, which: str) -> None:
        """Refuses infinite scores."""
        wrong = targets[:, 1].isinf()
        if wrong.any():
            place = int(wrong.nonzero()[0])
            raise LimbeckError(f"the score of the {which} target {place} is infinite, not a number")

    @classmethod
    def labeled(cls, targets: Tensor) -> Tensor:
        """The texts of pairs that have a score."""
        return ~targets[:, 1].isnan()

    def counts(self, targets: Tensor) -> tuple[int, ...]:
        """How many pairs have a score."""
        return (int(self.labeled(targets).sum()) // 2,)

    def meter(self, *, quick: bool = False) -> SimilarityMeter:
        """Correlates the scores."""
        return SimilarityMeter(self.score)

    def comparison(self) -> SimilarityComparison:
        """The difference of the scores of two networks."""
        return SimilarityComparison(self.score)

    def measure(self, meter: Meter, validation: Meter | None) -> SimilarityFindings:
        """The scores of some pairs; nothing is chosen on the validation split."""
        assert isinstance(meter, SimilarityMeter)
        return meter.findings()

    def sections(self, found: Mapping[str, Findings], agreement: Agreement | None) -> Sequence[Section]:
        """The scores of the networks beside those of the data."""
        each = {role: its for role, its in found.items() if isinstance(its, SimilarityFindings)}
        first = next(iter(each.values()))
        figure = Lines(
            "Scores of pairs",
            "score in the data",
            "score of the network",
            [Line(role, its.points, role) for role, its in each.items()],
            kind="points",
            notes=f"{len(first.points):,} of {first.pairs:,} pairs.",
        )
        return [Section("Scores of pairs", figures=[figure])]

    def recipe(self, *, teacher: bool) -> str:
        """The teacher's embeddings; without a teacher the order of the scores."""
        return "cosine" if teacher else "cosent"
