from __future__ import annotations

import math

import pytest
import torch
from embedding_batches import batch, embeddings, outputs

from limbeck.errors import LimbeckError
from limbeck.losses import cosent
from limbeck.methods import CoSENT
from limbeck.outputs import Outputs


def test_it_is_the_equation() -> None:
    scores, targets = embeddings(1, 6, 1)[0], torch.tensor([0.0, 1.0, 1.0, 3.0, 2.0, 5.0])
    total = 1.0
    for i in range(6):
        for j in range(6):
            if targets[i] > targets[j]:
                total += math.exp((float(scores[j]) - float(scores[i])) / 0.5)
    assert cosent(scores, targets, 0.5).item() == pytest.approx(math.log(total), rel=1e-9)


def test_equal_targets_have_nothing_to_be_ordered() -> None:
    assert cosent(torch.randn(4), torch.ones(4)).item() == 0.0


def test_the_method_pairs_neighbors_and_leaves_out_what_has_no_score() -> None:
    vectors = embeddings(8, 3, 2)
    of = torch.tensor(
        [[0, 1.0], [0, 1.0], [1, math.nan], [1, math.nan], [2, 4.0], [2, 4.0], [3, 0.0], [3, 0.0]]
    )
    pairs = torch.cosine_similarity(vectors[[0, 4, 6]], vectors[[1, 5, 7]])
    found = CoSENT()(outputs(vectors), Outputs(), batch(of))
    assert found.item() == pytest.approx(cosent(pairs, torch.tensor([1.0, 4.0, 0.0])).item())


def test_what_makes_no_pairs_is_refused() -> None:
    vectors = embeddings(4, 3, 3)
    with pytest.raises(LimbeckError, match="should be neighbors in a batch"):
        CoSENT()(outputs(vectors), Outputs(), batch(torch.tensor([[0, 1.0], [1, 1.0], [0, 1.0], [1, 1.0]])))
    with pytest.raises(LimbeckError, match="use contrastive for queries and documents"):
        CoSENT()(outputs(vectors), Outputs(), batch(torch.zeros(4, 3)))
    with pytest.raises(LimbeckError, match=r"not \(4, 1\) with \(4,\)"):
        cosent(torch.zeros(4, 1), torch.zeros(4))
