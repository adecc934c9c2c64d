from __future__ import annotations

import pytest
import torch

from limbeck.tasks import Classification, Multilabel
from limbeck.tasks.parts.chance import most_by_chance


def test_it_is_three_standard_errors_above() -> None:
    assert most_by_chance(0.25, 0.05) == pytest.approx(0.4)
    assert most_by_chance(0.5, 0.2) == 0.5  # a share of 1 would count, too


def test_a_network_that_is_right_on_few_samples_is_not_at_chance() -> None:
    task, targets = Classification(("circle", "square")), torch.tensor([0, 1, 0, 1, 0, 1])
    assert not task.at_chance({"top1": 1.0}, targets)
    assert not task.at_chance({"top1": 5 / 6}, targets)
    assert task.at_chance({"top1": 0.5}, targets)
    labels, several = Multilabel(("a", "b")), torch.tensor([[1, 0], [0, 1], [1, 1]])
    assert not labels.at_chance({"map": 1.0}, several)
    assert labels.at_chance({"map": 2 / 3}, several)
