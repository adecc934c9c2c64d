from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from limbeck.features import FeaturePoints, Point, Tap
from limbeck.features.attention import attending, attends


class Config(SimpleNamespace):
    """What a network of Hugging Face is told, as far as attention goes."""

    def __init__(self, implementation: str) -> None:
        super().__init__(_attn_implementation=implementation, output_attentions=False)


class Asked(nn.Module):
    """A network that returns attention maps if its config says so, and one inside with another config."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.fails = fails
        self.config, self.inner = Config("sdpa"), nn.Linear(2, 3)
        self.inner.config = Config("flex")  # type: ignore[assignment]

    def forward(self, x: Tensor) -> dict[str, Tensor | tuple[Tensor, ...] | None]:
        if self.fails:
            raise ValueError("as it happens")
        asked = told(self) == [("eager", True)] * 2
        return {"logits": self.inner(x), "attentions": (x, 2 * x) if asked else None}


def told(network: Asked) -> list[tuple[str, bool]]:
    configs: list[Any] = [network.config, network.inner.config]
    return [(each._attn_implementation, each.output_attentions) for each in configs]


BEFORE = [("sdpa", False), ("flex", False)]


def test_a_tap_asks_for_the_maps_and_leaves_the_network_as_it_was() -> None:
    network, x = Asked(), torch.rand(4, 2)
    points = FeaturePoints(logits=Point("", item="logits"))
    maps = Tap(network, points, ["attentions"])(x)["attentions"]
    assert [torch.equal(each, times * x) for each, times in zip(maps, (1, 2), strict=True)] == [True, True]
    assert told(network) == BEFORE
    assert "attentions" not in Tap(network, points, [])(x)


def test_the_network_is_as_it_was_after_an_error_too() -> None:
    network = Asked(fails=True)
    with pytest.raises(ValueError, match="as it happens"), attending(network):
        network(torch.rand(4, 2))
    assert told(network) == BEFORE


def test_what_has_no_such_config_is_not_asked() -> None:
    assert attends(Asked())
    assert not attends(nn.Linear(2, 3))
