"""A live network as the teacher."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from limbeck.features import Tap, find
from limbeck.outputs import Batch, Inputs, Outputs
from limbeck.teachers.base import Teacher


class LiveTeacher(Teacher):
    """A network in eval mode and without gradients; its weights, buffers, mode and flags stay as they are.

    Args:
        network: is put in eval mode here, once.
        features: module paths that override what is found, by field of the Outputs.
    """

    def __init__(self, network: nn.Module, features: Mapping[str, str | Sequence[str]] | None = None) -> None:
        self._network = network.eval()
        self._features = features
        self._tap: Tap | None = None

    @property
    def network(self) -> nn.Module:
        """The network."""
        return self._network

    def open(self, example: Inputs, fields: Sequence[str]) -> None:
        """Finds the features in the network."""
        self.points = find(self.network, example, overrides=self._features)
        self._tap = Tap(self.network, self.points, fields)

    def __call__(self, batch: Batch) -> Outputs:
        """One forward of the network."""
        assert self._tap is not None, "open() comes first"
        if self.network.training:  # somebody called train() on it since
            self.network.eval()
        with torch.no_grad():
            return self._tap(self.inputs_of(batch))

    def compiled(self) -> AbstractContextManager[None]:
        """A context in which the network runs compiled."""
        assert self._tap is not None, "open() comes first"
        return self._tap.compiled()

    def apply(self, function: Callable[[Tensor], Tensor]) -> None:
        """Moves the network."""
        self.network._apply(function)  # type: ignore[no-untyped-call]
