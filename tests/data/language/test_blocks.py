"""Rows of tokens: what is input and target, and where documents begin and end."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from limbeck.data.language.blocks import blocks, together
from limbeck.data.language.tokens import Tokens
from limbeck.outputs import UNLABELED


def document(*ids: int, prompt: int = 0) -> Tokens:
    """Ids of which the first ones are a prompt; each stands for as many bytes as it says."""
    made = np.array(ids)
    return Tokens(made, np.arange(len(ids)) >= prompt, made)


def test_a_text_goes_on_in_the_next_row() -> None:
    made = blocks([document(1, 2, 3, 4, 5, 6), document(7, 8, 9)], 4, 0, pack=True, whole=False)
    assert made.tokens.batch(torch.arange(2)) == {
        "input_ids": pytest.approx(torch.tensor([[1, 2, 3, 4], [5, 7, 8, 0]])),
        "attention_mask": pytest.approx(torch.tensor([[1, 1, 1, 1], [1, 2, 2, 0]])),
        "position_ids": pytest.approx(torch.tensor([[0, 1, 2, 3], [0, 0, 1, 0]])),
    }
    assert made.targets.tolist() == [[2, 3, 4, 5], [6, 8, 9, UNLABELED]]
    assert made.bytes.tolist() == [2 + 3 + 4 + 5, 6 + 8 + 9]
    assert (made.cut, made.unlearned) == (0, 0)


def test_a_document_a_row_is_cut_at_the_end() -> None:
    some = [
        document(1, 2, 3, 4, 5, 6, prompt=2),
        document(7, 8, 9, prompt=2),
        document(1, 2, 3, 4, 5, 6, prompt=5),
    ]
    made = blocks(some, 4, 0, pack=False, whole=True)
    assert made.tokens.batch(torch.arange(2))["input_ids"].tolist() == [[1, 2, 3, 4], [7, 8, 0, 0]]
    assert "position_ids" not in made.tokens.values
    assert made.targets.tolist() == [[UNLABELED, 3, 4, 5], [UNLABELED, 9, UNLABELED, UNLABELED]]
    assert made.bytes.tolist() == [12, 9]
    assert (made.cut, made.unlearned) == (2, 1)  # of the last one, the prompt fills the row


def test_whole_documents_share_a_row_where_they_fit() -> None:
    some = [document(*range(1, 2 + length)) for length in (3, 2, 4, 1, 1)]
    made = blocks(some, 5, 0, pack=True, whole=True)
    assert made.tokens.batch(torch.arange(3)) == {
        "input_ids": pytest.approx(torch.tensor([[1, 2, 3, 1, 2], [1, 2, 3, 4, 1], [1, 0, 0, 0, 0]])),
        "attention_mask": pytest.approx(torch.tensor([[1, 1, 1, 2, 2], [1, 1, 1, 1, 2], [1, 0, 0, 0, 0]])),
        "position_ids": pytest.approx(torch.tensor([[0, 1, 2, 0, 1], [0, 1, 2, 3, 0], [0, 0, 0, 0, 0]])),
    }
    assert made.targets.tolist() == [[2, 3, 4, 2, 3], [2, 3, 4, 5, 2], [2, *[UNLABELED] * 4]]


def test_best_fit_leaves_little_room() -> None:
    lengths = torch.randint(1, 100, (500,), generator=torch.Generator().manual_seed(0)).tolist()
    rows = together(lengths, 128)
    assert sorted(number for row in rows for number in row) == [*range(500)]
    assert all(sum(lengths[number] for number in row) <= 128 for row in rows)
    assert len(rows) <= 1.02 * sum(lengths) / 128 + 1


def test_texts_may_have_a_row_each() -> None:
    made = blocks([document(1, 2, 3, 4, 5, 6), document(7, 8)], 4, 0, pack=False, whole=False)
    assert made.tokens.batch(torch.arange(3))["input_ids"].tolist() == [
        [1, 2, 3, 4],
        [5, 0, 0, 0],
        [7, 0, 0, 0],
    ]
    assert made.targets.tolist() == [[2, 3, 4, 5], [6, *[UNLABELED] * 3], [8, *[UNLABELED] * 3]]


def test_nothing_to_learn_makes_no_row() -> None:
    made = blocks([document(1, prompt=0), document(1, 2, prompt=2)], 4, 0, pack=True, whole=True)
    assert (len(made.targets), made.unlearned) == (0, 2)
