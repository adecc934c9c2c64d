"""Similarity: correlations against scipy's, and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import Batch, Outputs
from limbeck.tasks import Similarity


def pairs(count: int) -> tuple[Tensor, Tensor]:
    """Embeddings of the texts of some pairs, and targets with ties."""
    generator = torch.Generator().manual_seed(2)
    vectors = torch.randn(2 * count, 5, generator=generator)
    scores = torch.randint(0, 6, (count,), generator=generator).double()
    targets = torch.stack([torch.arange(count).double(), scores], 1).repeat_interleave(2, 0)
    return vectors, targets


def test_the_metrics_are_scipys() -> None:
    vectors, targets = pairs(30)
    cosines = torch.cosine_similarity(vectors[::2], vectors[1::2])
    meter = Similarity().meter()
    for start in range(0, 60, 7):  # a batch may end between the texts of a pair
        rows = slice(start, start + 7)
        meter.update(Outputs(logits=vectors[rows]), Batch(vectors[rows], targets[rows]))
    found = meter.compute()
    assert found["spearman"] == pytest.approx(spearmanr(cosines, targets[::2, 1]).statistic, rel=1e-5)
    assert found["pearson"] == pytest.approx(pearsonr(cosines, targets[::2, 1]).statistic, rel=1e-5)
    assert meter.findings().pairs == 30


def test_pairs_without_a_score_do_not_count() -> None:
    vectors, targets = pairs(5)
    unscored = targets.clone()
    unscored[4:6, 1] = math.nan
    meter = Similarity().meter()
    meter.update(Outputs(logits=vectors), Batch(vectors, unscored))
    assert meter.findings().pairs == 4
    assert Similarity.labeled(unscored).tolist() == [True] * 4 + [False] * 2 + [True] * 4


def test_equal_scores_have_no_correlation_and_zero_vectors_are_counted() -> None:
    _, targets = pairs(5)
    meter = Similarity().meter()
    meter.update(Outputs(logits=torch.zeros(10, 3)), Batch(torch.zeros(10, 1), targets))
    assert meter.compute() == {"spearman": 0.0, "pearson": 0.0}
    assert meter.notes == ("The embeddings of 10 texts have length 0, so their pairs have the score 0.",)


def test_the_comparison_is_the_mean_difference_of_the_scores() -> None:
    vectors, targets = pairs(8)
    comparison = Similarity().comparison()
    comparison.update(Outputs(logits=vectors), Outputs(logits=-vectors * 2), Batch(vectors, targets))
    assert comparison.compute().distance == pytest.approx(0.0, abs=1e-6), "both texts are turned alike"


def test_what_makes_no_pairs_is_refused() -> None:
    with pytest.raises(LimbeckError, match="make 0 pairs with a score, and a correlation needs at least 2"):
        Similarity().meter().compute()
    with pytest.raises(LimbeckError, match=r"the number of a pair and its score, of shape \(2, 2\)"):
        Similarity.as_targets([[1], [2]], 2, "test")
    with pytest.raises(LimbeckError, match="the score of the test target 1 is infinite"):
        Similarity().check(torch.tensor([[0, 1.0], [0, math.inf]]), "test")
