"""Queries and their candidates among the rows of a batch."""

from __future__ import annotations

import pytest
import torch

from limbeck.errors import LimbeckError
from limbeck.methods.parts.candidates import candidates, scores, scores_in_batch
from limbeck.outputs import UNLABELED

NONE = UNLABELED
TARGETS = torch.tensor(
    [
        *([7, NONE, NONE], [7, 1, 1], [7, 2, 0]),
        *([NONE, NONE, NONE], [NONE, 5, NONE], [NONE, 6, NONE]),  # texts without a query
        *([8, NONE, NONE], [8, 3, 1], [8, 1, 0]),
        *([7, NONE, NONE], [7, 4, 1], [7, 9, 0]),
    ]
)


def test_the_candidates_of_a_query_follow_it_and_other_texts_are_none() -> None:
    found = candidates(TARGETS, "it")
    assert found.queries.tolist() == [0, 6, 9]
    assert found.documents.tolist() == [[1, 2], [7, 8], [10, 11]]
    assert found.query.tolist() == [7, 8, 7]
    assert found.document.tolist() == [[1, 2], [3, 1], [4, 9]]


def test_a_relevant_document_is_no_negative_wherever_it_comes_again() -> None:
    found = candidates(TARGETS, "it").relevant_elsewhere(None)
    assert found.long().tolist() == [
        [0, 0, 0, 1, 1, 0],  # document 1 comes again, and 4 is relevant to query 7 as well
        [0, 0, 0, 0, 0, 0],
        [1, 0, 0, 1, 0, 0],
    ]
    known = torch.tensor([[8, 2, 1], [8, 9, 0]])
    assert candidates(TARGETS, "it").relevant_elsewhere(known)[1].tolist() == [False, True, *[False] * 4]


def test_a_batch_of_texts_without_queries_has_no_candidates() -> None:
    assert len(candidates(TARGETS[3:6], "it")) == 0
    assert len(candidates(TARGETS[:1], "it")) == 0


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (TARGETS[:8], "every query should be followed by as many candidates of its own"),
        (TARGETS[[0, 1, 6, 8, 7]], "every query should be followed by as many candidates"),
        (torch.tensor([1, 2]), r"it compares queries with documents, whose targets are \(P, 3\)"),
        (torch.zeros(2, 3), "use a method that compares embeddings, such as cosine"),
    ],
)
def test_what_is_no_batch_of_groups_is_refused(targets: torch.Tensor, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        candidates(targets, "it")


def test_scores_are_cosines_or_inner_products() -> None:
    queries = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    documents = torch.tensor([[[4.0, 3.0]], [[0.0, 5.0]]])
    assert scores(queries, documents, "dot").tolist() == [[24.0], [10.0]]
    torch.testing.assert_close(scores(queries, documents, "cosine"), torch.tensor([[0.96], [1.0]]))
    torch.testing.assert_close(
        scores_in_batch(queries, documents, "cosine"), torch.tensor([[0.96, 0.8], [0.6, 1.0]])
    )
