"""Measures a network on a split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from limbeck.errors import LimbeckError
from limbeck.features import call, logits_of
from limbeck.outputs import Batch, Outputs
from limbeck.tasks import Agreement, Meter, Task


@contextmanager
def inference(network: nn.Module) -> Iterator[None]:
    """Puts the network in eval mode without gradients; gives each submodule its own mode back after."""
    training = {module: module.training for module in network.modules()}
    network.eval()
    try:
        # Not inference_mode: a tensor that a module keeps from it could never enter a later backward.
        with torch.no_grad():
            yield
    finally:
        for module, flag in training.items():
            module.training = flag


def measure(task: Task, network: nn.Module, batches: Iterable[Batch], *, quick: bool = False) -> Meter:
    """Runs the network over all batches.

    Args:
        task: what the network is for.
        network: on the device of the batches; called in eval mode, its modes are restored.
        batches: at least one.
        quick: measure the primary metric only (see `Task.meter`).
    Returns: a meter of the task that has taken in the network's outputs for all batches.
    Raises:
        LimbeckError: there is no batch, or the network returns no logits.
    """
    meter, empty = task.meter(quick=quick), True
    with inference(network):
        for batch in batches:
            meter.update(Outputs(logits=logits_of(call(network, batch.inputs))), batch)
            empty = False
    if empty:
        raise LimbeckError("there is no batch to measure on; the split is empty")
    return meter


def compare(task: Task, student: nn.Module, teacher: nn.Module, batches: Iterable[Batch]) -> Agreement:
    """How close a student's answers are to its teacher's.

    Args:
        task: what the networks are for.
        student: on the device of the batches; called in eval mode, its modes are restored.
        teacher: a network of the same kind.
        batches: at least one.
    Raises:
        LimbeckError: there is no batch, or a network returns no logits.
    """
    comparison, empty = task.comparison(), True
    with inference(student), inference(teacher):
        for batch in batches:
            ours, theirs = (
                Outputs(logits=logits_of(call(network, batch.inputs))) for network in (student, teacher)
            )
            comparison.update(ours, theirs, batch)
            empty = False
    if empty:
        raise LimbeckError("there is no batch to measure on; the split is empty")
    return comparison.compute()


def metrics(task: Task, network: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
    """The task's metrics of a network on some batches, by name; for the arguments see `measure`.

    Raises:
        LimbeckError: there is no batch, the network returns no logits, or no sample has a target.
    """
    return measure(task, network, batches).compute()
