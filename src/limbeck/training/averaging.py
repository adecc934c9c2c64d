"""The exponential moving average of a network's weights along its training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from limbeck.shares import here


class Averaging:
    """Averages every parameter and every buffer of floats, among them the statistics of batch norms.

    The average begins as what the network is after the first step. Integers, such as the count of batches
    that a batch norm has seen, stay those of the network that is trained.

    Args:
        network: the network, on the device where it is trained.
        decay: the share of the old average in the new one, by step.
    Attributes:
        average: the averages, of which each process has its shares where the network is sharded.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        found = (*network.parameters(), *network.buffers())
        self._live = [tensor for tensor in found if tensor.is_floating_point()]
        self.average = [tensor.detach().clone() for tensor in self._live]
        self._mean = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        self._updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the weights after a step."""
        if self._updates:
            self._mean(_here(self.average), _here(self._live), self._updates)
        else:
            _copy(self.average, self._live)
        self._updates += 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """A context in which the network has the averages."""
        live = [tensor.clone() for tensor in _here(self._live)]
        self.settle()
        try:
            yield
        finally:
            _copy(self._live, live)

    def settle(self) -> None:
        """Gives the network the averages for good."""
        _copy(self._live, self.average)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"average": self.average, "updates": self._updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        _copy(self.average, state["average"])
        self._updates = state["updates"]


@torch.no_grad()
def _copy(to: Sequence[Tensor], given: Sequence[Tensor]) -> None:
    torch._foreach_copy_(_here(to), _here(given))


def _here(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [here(tensor) for tensor in tensors]


def averaged(averaging: Averaging | None) -> AbstractContextManager[None]:
    """A context in which the network has the averages of its weights, where there are any."""
    return nullcontext() if averaging is None else averaging.in_place()
