"""The exponential moving average of a network's weights along its training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Averaging:
    """Averages every parameter and every buffer of floats, among them the statistics of batch norms.

    The average begins as what the network is after the first step. Integers, such as the count of batches
    that a batch norm has seen, stay those of the network that is trained.

    Args:
        network: the network, on the device where it is trained.
        decay: the share of the old average in the new one, by step.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        found = (*network.parameters(), *network.buffers())
        self._live = [tensor.detach() for tensor in found if tensor.is_floating_point()]
        self._average = [tensor.clone() for tensor in self._live]
        self._mean = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        self._updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the weights after a step."""
        if self._updates:
            self._mean(self._average, self._live, self._updates)
        else:
            torch._foreach_copy_(self._average, self._live)
        self._updates += 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """A context in which the network has the averages."""
        live = [tensor.clone() for tensor in self._live]
        self.settle()
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self._live, live)

    @torch.no_grad()
    def settle(self) -> None:
        """Gives the network the averages for good."""
        torch._foreach_copy_(self._live, self._average)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"average": self._average, "updates": self._updates}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        torch._foreach_copy_(self._average, state["average"])
        self._updates = state["updates"]
