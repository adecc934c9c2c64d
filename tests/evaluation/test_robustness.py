from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.evaluation import robustness
from limbeck.evaluation.contenders import Contender
from limbeck.outputs import Batch
from limbeck.tasks import Classification

TASK = Classification(("dark", "bright"))


class Bright(nn.Module):
    """Class 1 for images whose mean is above one half."""

    def __init__(self) -> None:
        super().__init__()
        self.modes: set[bool] = set()

    def forward(self, images: Tensor) -> Tensor:
        self.modes.add(self.training)
        mean = images.mean((1, 2, 3))
        return torch.stack([0.5 - mean, mean - 0.5], 1)


class Zero(nn.Module):
    """Class 0, always."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.tensor([[1.0, 0.0]]).expand(len(images), 2)


def lighter(images: Tensor, severity: int, index: Tensor) -> Tensor:
    return images + 0.1 * severity


def batches(targets: list[int]) -> list[Batch]:
    # means 0.05, 0.15 ... 0.75
    images = (0.05 + 0.1 * torch.arange(8.0))[:, None, None, None].expand(-1, 1, 2, 2)
    labels = torch.tensor(targets)
    return [Batch(images[part], labels[part], torch.arange(8)[part]) for part in (slice(0, 5), slice(5, 8))]


def test_accuracy_at_each_severity_for_each_network() -> None:
    network = Bright()
    first, second = robustness(
        TASK,
        [Contender(network, "bright"), Contender(Zero(), "zero")],
        batches([0, 0, 0, 0, 0, 1, 1, 1]),
        {"light": lighter},
    )
    assert first.noisy == {"light": (7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8)}
    assert second.noisy == {"light": (5 / 8,) * 5}
    assert (first.noiseless, second.noiseless) == (1, 5 / 8)
    assert network.modes == {False}
    assert network.training


def test_samples_without_a_label_do_not_count() -> None:
    (found,) = robustness(
        TASK, [Contender(Bright(), "bright")], batches([0, 0, 0, 0, 0, -100, -100, -100]), {"light": lighter}
    )
    assert found.noisy["light"] == (4 / 5, 3 / 5, 2 / 5, 1 / 5, 0)
    with pytest.raises(LimbeckError, match="none of the 8 samples has a label"):
        robustness(TASK, [Contender(Bright(), "bright")], batches([-100] * 8), {"light": lighter})


def test_what_it_cannot_corrupt_is_refused() -> None:
    with pytest.raises(LimbeckError, match="with the targets and the index"):
        robustness(
            TASK,
            [Contender(Bright(), "bright")],
            [Batch(torch.zeros(2, 1, 2, 2), torch.zeros(2).long())],
            {"light": lighter},
        )
