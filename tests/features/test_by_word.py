"""Outputs of networks that answer tokens, by word."""

from __future__ import annotations

import torch

from limbeck.features import Tap, answering, by_word, find
from limbeck.outputs import Outputs
from token_batches import COUNTS, Tagger, words


def test_logits_and_embedding_of_a_tap_are_by_word() -> None:
    network, given = Tagger(4), words(2)
    points = find(network, given, dense=True)
    tap = Tap(network, points, ("embedding", "stages"), positions=True)
    found = tap(given)
    raw = network(**given)
    assert torch.equal(found.logits, given.of(raw, "the logits"))
    assert found.embedding.shape == (6, 5, 4)
    torch.testing.assert_close(network.head(found.embedding), found.logits)
    assert found.stages[0].shape == (6, 14, 4)  # by token
    assert torch.equal(found.mask, given["attention_mask"].bool())
    assert found["words"].sum(1).tolist() == list(COUNTS)


def test_an_embedding_without_positions_is_the_mean_over_the_tokens() -> None:
    network, given = Tagger(4), words(2)
    found = Tap(network, find(network, given, dense=True), ("embedding",))(given)
    assert found.embedding.shape == (6, 4)
    assert found.logits.shape == (6, 5, 5)


def test_other_inputs_stay_as_they_are() -> None:
    network, given = Tagger(4), dict(words(2))
    assert answering(network, given, dense=True)(given).logits.shape == (6, 14, 5)
    outputs = Outputs(logits=torch.zeros(2, 3))
    assert by_word(outputs, torch.zeros(2, 1)) is outputs
