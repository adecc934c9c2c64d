"""How a loop computes, chosen on its first batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from torch import nn

from limbeck.outputs import Batch
from limbeck.training.choices import Choices, Precision
from limbeck.training.loop import Loop
from limbeck.training.trials import Trials


@dataclass(frozen=True)
class Choosing:
    """Makes the choices of a loop that its first batch decides.

    Attributes:
        asked: the settings, by name, which "auto" may be.
        precision: in which the networks run.
        taken: the settings that have a checkpoint's choice, where "auto" was asked.
        loop: the loop.
        module: its module.
        left: steps to go.
        compiled: what is compiled stays so until this closes.
        note: says what was not to be had.
        average: of a number over all processes, which must choose alike.
        made: is told the choices.
    """

    asked: Mapping[str, Any]
    precision: Precision
    taken: Collection[str]
    loop: Loop
    module: nn.Module
    left: int
    compiled: ExitStack
    note: Callable[[str], None]
    average: Callable[[float], float]
    made: Callable[[Choices], None]

    def __call__(self, batch: Batch, pieces: int) -> Choices:
        """The choices.

        Args:
            batch: the first piece of a step.
            pieces: the number of pieces in a step.
        """
        trials = Trials(self.module, batch, self.note, self.average, self.taken)
        choices = trials.memory_format(Choices(self.precision), self.asked["memory_format"])
        if (compiled := self.loop.compiled()) is not None:
            choices = trials.compile(
                choices, self.asked["compile"], compiled, self.compiled, self.left * pieces
            )
        self.made(choices)
        self.loop.counts()  # what was only tried counts as nothing, with or without a checkpoint
        return choices
