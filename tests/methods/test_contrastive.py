from __future__ import annotations

import math

import pytest
import torch
from embedding_batches import batch, embeddings, outputs, targets
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.losses import contrastive
from limbeck.methods import Contrastive
from limbeck.outputs import UNLABELED, Outputs


def naive(queries: Tensor, documents: Tensor, temperature: float, excluded: Tensor | None = None) -> float:
    """The equation, a query and a document at a time."""
    flat, total = documents.flatten(0, 1), 0.0
    for number, query in enumerate(queries):
        values = [
            math.exp(float(torch.cosine_similarity(query, each, 0)) / temperature)
            for place, each in enumerate(flat)
            if excluded is None or not excluded[number, place]
        ]
        right = float(torch.cosine_similarity(query, documents[number, 0], 0))
        total -= math.log(math.exp(right / temperature) / sum(values))
    return total / len(queries)


def test_it_is_the_equation() -> None:
    rows = embeddings(12, 5, seed=1).view(3, 4, 5)
    queries, documents = rows[:, 0], rows[:, 1:]
    assert contrastive(queries, documents, 0.5).item() == pytest.approx(
        naive(queries, documents, 0.5), rel=1e-9
    )
    excluded = torch.zeros(3, 9, dtype=torch.bool)
    excluded[0, 3] = excluded[2, 1] = True
    found = contrastive(queries, documents, 0.5, excluded=excluded)
    assert found.item() == pytest.approx(naive(queries, documents, 0.5, excluded), rel=1e-9)


def test_the_method_finds_queries_and_documents_among_the_rows() -> None:
    of, vectors = targets(3, 2), embeddings(9, 4, seed=2)
    grouped = vectors.view(3, 3, 4)
    found = Contrastive(temperature=0.1)(outputs(vectors), Outputs(), batch(of))
    assert found.item() == pytest.approx(contrastive(grouped[:, 0], grouped[:, 1:], 0.1).item())


def test_texts_without_a_query_change_nothing() -> None:
    of, vectors = targets(3, 2), embeddings(9, 4, seed=2)
    more = torch.cat([of, torch.full((3, 3), UNLABELED)])
    wide = torch.cat([vectors, embeddings(3, 4, seed=3)])
    method = Contrastive()
    assert method(outputs(wide), Outputs(), batch(more)) == method(outputs(vectors), Outputs(), batch(of))


def test_a_relevant_document_is_no_negative_unless_the_mask_is_off() -> None:
    of, vectors = targets(2, 1), embeddings(4, 3, seed=4)
    of[3, 1] = of[1, 1]  # both queries have the same document
    vectors[3] = vectors[1]
    masked, plain = (Contrastive(mask=mask)(outputs(vectors), Outputs(), batch(of)) for mask in (True, False))
    assert masked.item() == 0.0, "a query with one document has nothing to choose among"
    assert plain.item() == pytest.approx(math.log(2))


def test_a_batch_without_a_query_gives_zero_with_a_gradient() -> None:
    vectors = embeddings(4, 3, seed=5).requires_grad_()
    value = Contrastive()(outputs(vectors), Outputs(), batch(torch.full((4, 3), UNLABELED)))
    value.backward()
    assert value.item() == 0.0
    assert vectors.grad is not None
    assert not vectors.grad.any()


def test_other_shapes_are_refused() -> None:
    with pytest.raises(LimbeckError, match=r"not \(3, 4\) with \(3, 4\); one document of each query is"):
        contrastive(torch.zeros(3, 4), torch.zeros(3, 4))
