"""Networks that cannot take every number of samples."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.features import answering, check_sizes

X = torch.randn(5, 6)


class Squeezing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x).squeeze()  # type: ignore[no-any-return]


class Even(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(2, -1, 6).sum(1) if len(x) == 4 else x


def test_any_number_of_samples_is_fine() -> None:
    network = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)).train()
    check_sizes(answering(network, X), X, "the student")
    assert network.training
    assert network[1].num_batches_tracked == 0
    assert network[1].get_buffer("running_mean").tolist() == [0, 0, 0]


def test_one_sample_is_tried_before_anything_is_trained() -> None:
    statistics = nn.Sequential(nn.BatchNorm1d(6, track_running_stats=False), nn.Linear(6, 3))
    with pytest.raises(
        LimbeckError, match=r"the student cannot take one sample at once in eval mode \(Expected more than 1"
    ) as told:
        check_sizes(answering(statistics, X), X, "the student")
    assert isinstance(told.value.__cause__, ValueError)
    with pytest.raises(
        LimbeckError, match=r"cannot take one sample .*no logits.*a float32 tensor of shape \(3,\)"
    ):
        check_sizes(answering(Squeezing(), X), X, "the student")


def test_the_whole_example_is_tried_too() -> None:
    four = torch.randn(4, 6)
    with pytest.raises(
        LimbeckError, match=r"the teacher cannot take 4 samples .* are then of shape \(2, 6\)"
    ):
        check_sizes(answering(Even(), four), four, "the teacher")
