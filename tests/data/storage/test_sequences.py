"""Rows of token ids in memory."""

from __future__ import annotations

import pytest
import torch

from limbeck.data.storage import sequences
from limbeck.data.storage.sequences import Sequences
from limbeck.data.storage.texts import Ragged


def rows(**names: list[int]) -> Sequences:
    """Three rows of 2, 4 and 1 tokens."""
    values = {"input_ids": torch.arange(7), "attention_mask": torch.ones(7, dtype=torch.int64)}
    values |= {name: torch.tensor(each) for name, each in names.items()}
    ragged = Ragged(values, torch.tensor([0, 2, 6, 7]), dict.fromkeys(values, 0) | {"input_ids": 9})
    return Sequences(ragged, torch.tensor([20, 40, 10]), vocab_size=5)


def test_a_batch_is_filled_up_to_its_longest_row() -> None:
    made, view = rows(), torch.zeros(2, dtype=torch.int64)
    assert len(made) == 3
    batch = made.take(torch.tensor([0, 2]), view)
    assert isinstance(batch, dict)
    assert batch["input_ids"].tolist() == [[0, 1], [6, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert made.bytes(torch.tensor([2, 1])).tolist() == [10, 40]


def test_some_rows_are_counted_anew() -> None:
    some = rows().select(torch.tensor([2, 1]))
    assert len(some) == 2
    batch = some.select(torch.tensor([1])).take(torch.tensor([0]), torch.tensor([0]))
    assert isinstance(batch, dict)
    assert batch["input_ids"].tolist() == [[2, 3, 4, 5]]
    assert some.bytes(torch.tensor([0])).tolist() == [10]
    assert some.fingerprint != rows().fingerprint == rows().fingerprint


def test_lengths_are_of_rows_that_are_not_packed() -> None:
    lengths = rows().lengths(torch.tensor([1, 0]))
    assert lengths is not None
    assert lengths.tolist() == [4, 2]
    assert rows(position_ids=[0] * 7).lengths(torch.tensor([1, 0])) is None


def test_scores_of_a_batch_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequences, "SCORES", 45)
    assert rows().at_once == 2  # of 4 positions with 5 scores each
    monkeypatch.setattr(sequences, "SCORES", 1)
    assert rows().at_once == 1


def test_batches_are_moved_and_made_ahead() -> None:
    moved = rows().to("meta")
    batch = moved.take(torch.tensor([0]), torch.tensor([0]))
    assert isinstance(batch, dict)
    assert batch["input_ids"].device.type == "meta"
    assert (rows().workers, moved.workers) == (0, 1)
