"""A mean and a standard deviation that a network carries beside its weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from limbeck.errors import LimbeckError


@dataclass(frozen=True)
class MeanAndStd:
    """A mean and a standard deviation for each of several columns or channels."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def check(self, what: str, each: str) -> None:
        """Refuses different numbers of the two, infinite ones, and a standard deviation of 0 or below.

        Args:
            what: what the numbers are, for messages: "a normalization".
            each: for what there is one of each: "a channel", "for each output".
        """
        if not self.mean or len(self.mean) != len(self.std):
            raise LimbeckError(
                f"{what} needs one mean and one standard deviation {each}, not {len(self.mean)} and "
                f"{len(self.std)}"
            )
        if not all(math.isfinite(value) for value in (*self.mean, *self.std)) or min(self.std) <= 0:
            raise LimbeckError(
                f"{what} needs finite means and finite stds above 0, not {self.mean} and {self.std}"
            )

    def put_on(self, network: nn.Module, names: tuple[str, str]) -> None:
        """Registers both as non-persistent buffers, of the type and device of the network's weights."""
        floats = (parameter.detach() for parameter in network.parameters() if parameter.is_floating_point())
        like = next(floats, torch.empty(0))
        for name, values in zip(names, (self.mean, self.std), strict=True):
            network.register_buffer(name, like.new_tensor(values), persistent=False)
