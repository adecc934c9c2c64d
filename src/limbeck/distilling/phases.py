"""A phase of training, ready to be trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from limbeck.methods.declarations import Phase
from limbeck.methods.terms import Losses
from limbeck.outputs import Batch


class PhaseModule(nn.Module):
    """One phase as a module that turns a batch into losses; only the phase's modules are in training mode.

    Args:
        distiller: what the phase belongs to.
        phase: the phase.
        losses: a function that gives the losses of a batch.
        rest: a function that puts the student's parts that stay in eval mode in that again.
    """

    def __init__(
        self,
        distiller: nn.Module,
        phase: Phase,
        losses: Callable[[Batch], Losses],
        rest: Callable[[], None],
    ) -> None:
        super().__init__()
        self.distiller, self.phase, self.losses, self.rest = distiller, phase, losses, rest

    def forward(self, batch: Batch) -> Losses:
        """The losses of a batch."""
        return self.losses(batch)

    def train(self, mode: bool = True) -> PhaseModule:
        """Sets the mode of what the phase trains; all else is in eval mode."""
        self.distiller.eval()
        for module in self.phase.trains:
            module.train(mode)
        self.rest()
        return self


def of_teacher(phase: Phase, name: str | None) -> Phase:
    """The phase with the teacher that its method is given, where that has a name."""
    if name is None or not phase.reads.teacher or phase.reads.teachers:
        return phase
    return replace(phase, reads=replace(phase.reads, teachers=(name,)))


@contextmanager
def only_learns(distiller: nn.Module, phase: Phase) -> Iterator[torch.optim.Optimizer]:
    """A context in which nothing but what a phase trains learns; gives the phase's optimizer over that.

    Flags and modes are afterwards what they were before.
    """
    flags = [(parameter, parameter.requires_grad) for parameter in distiller.parameters()]
    modes = [(module, module.training) for module in distiller.modules()]
    learning = {id(parameter) for module in phase.trains for parameter in module.parameters()}
    for parameter, flag in flags:
        parameter.requires_grad_(flag and id(parameter) in learning)
    try:
        yield phase.optimizer([parameter for parameter, _ in flags if parameter.requires_grad])
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        for module, mode in modes:
            module.training = mode
