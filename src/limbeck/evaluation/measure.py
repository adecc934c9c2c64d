"""Measures a network on a split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from limbeck.errors import LimbeckError
from limbeck.evaluation.remembered import Remembered
from limbeck.features import Tap, by_word, call, find, logits_of
from limbeck.features.find import Names
from limbeck.outputs import Batch, Inputs, Outputs
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


Answer = Callable[[Inputs], Outputs]
"""What gives Outputs for inputs: a network, with where its logits are."""


def answer_of(task: Task, network: nn.Module, features: Names | None = None) -> Answer:
    """A network as what gives its logits for inputs, with the further outputs that the task reads.

    Args:
        task: what the network is for; it says how many outputs there are.
        network: any network.
        features: module paths that override the features found, by field; "logits" among them counts.
    """
    if task.fields or (features and "logits" in features):
        taps: list[Tap] = []

        def tapped(inputs: Inputs) -> Outputs:
            if not taps:
                points = find(network, inputs, overrides=features, width=task.width, dense=task.dense)
                taps.append(Tap(network, points, task.fields_of(points)))
            return taps[0](inputs)

        return tapped

    def answered(inputs: Inputs) -> Outputs:
        logits = logits_of(call(network, inputs), width=task.width, dense=task.dense)
        return by_word(Outputs(logits=logits), inputs, type(network).__name__)

    return answered


def measure(
    task: Task,
    network: nn.Module,
    batches: Iterable[Batch],
    *,
    quick: bool = False,
    features: Names | None = None,
    remember: bool = False,
) -> Meter:
    """Runs the network over all batches.

    Args:
        task: what the network is for.
        network: on the device of the batches; called in eval mode, its modes are restored.
        batches: at least one.
        quick: measure the primary metric only (see `Task.meter`).
        features: module paths that override the features found, by field.
        remember: whether what it answers is remembered, and not asked again (see `remembered`).
    Returns: a meter of the task that has taken in the network's outputs for all batches.
    Raises:
        LimbeckError: there is no batch, or the network returns no logits.
    """
    answer = answer_of(task, network, features)
    if remember:
        answer = Remembered(network, answer, f"{features}")
    return _measured(task.meter(quick=quick), network, answer, batches)


def _measured(meter: Meter, network: nn.Module, answer: Answer, batches: Iterable[Batch]) -> Meter:
    """The meter, with what the network answers for all batches."""
    empty = True
    with inference(network):
        for batch in batches:
            meter.update(answer(batch.inputs), batch)
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
    ours, theirs = answer_of(task, student), answer_of(task, teacher)
    with inference(student), inference(teacher):
        for batch in batches:
            comparison.update(ours(batch.inputs), theirs(batch.inputs), batch)
            empty = False
    if empty:
        raise LimbeckError("there is no batch to measure on; the split is empty")
    return comparison.compute()


def metrics(
    task: Task, network: nn.Module, batches: Iterable[Batch], features: Names | None = None
) -> dict[str, float]:
    """The task's metrics of a network on some batches, by name; for the arguments see `measure`.

    Raises:
        LimbeckError: there is no batch, the network returns no logits, or no sample has a target.
    """
    meter = task.meter().only_metrics()
    return _measured(meter, network, answer_of(task, network, features), batches).compute()
