"""The contract of a teacher."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from limbeck.features import FeaturePoints
from limbeck.outputs import Batch, Inputs, Outputs


class Teacher(ABC):
    """Anything that answers a batch with outputs and never changes: a live network, a cache, an ensemble.

    It is no nn.Module, so that no optimiser, `train()`, `state_dict` or distributed wrapper of the student's
    side ever reaches it.
    """

    network: nn.Module | None = None
    """The live network, where there is one; to be read only."""
    points: FeaturePoints | None = None
    """Where the live network's features are, once it is open."""

    @abstractmethod
    def open(self, example: Inputs, fields: Sequence[str]) -> None:
        """Gets ready to give these fields; called before the first batch, and again when there are more."""

    @abstractmethod
    def __call__(self, batch: Batch) -> Outputs:
        """The outputs for a batch, without a graph."""

    def apply(  # noqa: B027 (a teacher without tensors has nothing to move)
        self, function: Callable[[Tensor], Tensor]
    ) -> None:
        """Moves what the teacher holds where the student goes (another device or precision)."""
