"""Sentences of words: answers to tokens become answers to words."""

from __future__ import annotations

import pytest
import torch

from limbeck.errors import LimbeckError
from limbeck.outputs import Batch, apply, joined, size_of
from limbeck.words import LOST, Words

GIVEN = Words(
    {"input_ids": torch.arange(8).view(2, 4), "attention_mask": torch.ones(2, 4, dtype=torch.int64)},
    torch.tensor([[1, 3, LOST], [0, LOST, LOST]]),
)


def test_the_answer_to_a_word_is_that_to_its_first_token() -> None:
    answers = torch.arange(16.0).view(2, 4, 2)
    found = GIVEN.of(answers, "the logits")
    assert found.shape == (2, 3, 2)
    assert torch.equal(found[0, :2], answers[0, [1, 3]])
    assert torch.equal(found[1, 0], answers[1, 0])
    assert GIVEN.read.tolist() == [[True, True, False], [True, False, False]]


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 5), (2, 4)])
def test_an_answer_that_is_not_of_tokens_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(LimbeckError, match=r"the logits of x have the shape .* for sentences of 4 tokens"):
        GIVEN.of(torch.zeros(shape), "the logits of x")


def test_a_network_is_called_with_its_tensors_alone() -> None:
    assert [*GIVEN] == ["input_ids", "attention_mask"]
    assert len(GIVEN) == 2
    assert dict(**GIVEN)["input_ids"] is GIVEN.inputs["input_ids"]
    assert size_of(GIVEN) == 2


def test_it_stays_together_in_a_batch() -> None:
    second = apply(lambda tensor: tensor[1:], GIVEN)
    assert isinstance(second, Words)
    assert second.first.tolist() == [[0, LOST, LOST]]
    one, two = Batch(GIVEN, teacher_inputs={"teacher": GIVEN}).split(2)
    assert isinstance(one.inputs, Words)
    assert isinstance(two.teacher_inputs["teacher"], Words)
    assert two.teacher_inputs["teacher"].first.tolist() == [[0, LOST, LOST]]
    again = joined([one.inputs, two.inputs])
    assert isinstance(again, Words)
    assert torch.equal(again.first, GIVEN.first)
    assert torch.equal(again["input_ids"], GIVEN["input_ids"])
