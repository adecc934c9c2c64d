"""The contract of a teacher."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor, nn

from limbeck.features import FeaturePoints
from limbeck.outputs import Batch, Inputs, Outputs
from limbeck.sides import Side


class Teacher(ABC):
    """Anything that answers a batch with outputs and learns nothing.

    It is a live network, a cache, an ensemble, or a file of answers.

    It is no nn.Module, so that no optimizer, `train()`, `state_dict` or distributed wrapper of the student's
    side ever reaches it.
    """

    name: str = "teacher"
    """What a distiller with several teachers calls it, and the name of what it reads in a batch."""
    width: int | None = None
    """How many outputs the task has, where it is known; set before `open`."""
    dense: bool = False
    """Whether the task has a decision at each position; set before `open`."""
    sides: tuple[Side, ...] = ()
    """What is needed of fields in place of these, which a cache may keep; set before `open`."""
    points: FeaturePoints | None = None
    """Where the live network's features are, once it is open."""
    keeps: tuple[str, ...] = ()
    """The fields that may come from a cache, where they are rounded to float16."""
    cached: tuple[str, ...] = ()
    """Those that do, as the teacher is opened."""
    gives: tuple[str, ...] | None = None
    """The fields that it has; None for whatever is found in its network."""
    gaps: int = 0
    """The training samples that it has no answer for; the logits that it gives for them mean nothing."""
    partial: bool = False
    """Whether some answers do not tell all classes apart, or give one no probability at all."""
    projects: bool = False
    """Whether it gives, once it is open, a `projection` where it is asked for one instead of logits."""
    top: int | None = None
    """How many classes of a row its answers tell apart, as it is opened; None where it is all of them."""
    schedule: str = ""
    """A digest of the checkpoints that answer in turn; empty for a teacher that always answers the same."""

    @property
    def network(self) -> nn.Module | None:
        """The live network, where there is one; to be read only."""
        return None

    @property
    def shown(self) -> int:
        """How many samples the networks were shown so far."""
        return 0

    @abstractmethod
    def open(self, example: Inputs, fields: Sequence[str]) -> None:
        """Gets ready to give these fields; called before the first batch, and again when there are more."""

    @abstractmethod
    def __call__(self, batch: Batch) -> Outputs:
        """The outputs for a batch, without a graph."""

    def sample(self, inputs: Inputs) -> Outputs:
        """Outputs as it gives them, for a few inputs, whose shapes are looked at before training."""
        return self(Batch(inputs))

    def answered(self, batch: Batch) -> Tensor | None:
        """(B,) bool, the samples of a batch that it has an answer for; None for a teacher without gaps."""
        return None

    def inputs_of(self, batch: Batch) -> Inputs:
        """What this teacher reads of a batch: inputs in its own preparation, or those of the student."""
        return batch.teacher_inputs.get(self.name, batch.inputs)

    def release(self) -> None:  # noqa: B027 (most teachers need all they hold)
        """Unloads what can be loaded again; called once every method has looked into the network."""

    def compiled(self) -> AbstractContextManager[None]:
        """A context in which what the teacher computes is compiled, if it computes anything."""
        return nullcontext()

    def apply(  # noqa: B027 (a teacher without tensors has nothing to move)
        self, function: Callable[[Tensor], Tensor]
    ) -> None:
        """Moves what the teacher holds where the student goes (another device or precision)."""
