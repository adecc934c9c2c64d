"""How many outputs a network has, and whether they are as many as the data's task has."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from limbeck import evaluation
from limbeck.data import Loader, Source
from limbeck.data.preparation import Preparation
from limbeck.errors import LimbeckError
from limbeck.features import answering, call, check_sizes
from limbeck.outputs import apply
from limbeck.runs.network_names import key_of


def check_width(width: int, role: str, source: Source) -> None:
    """Refuses a network with another number of outputs than the data's task has."""
    if not source.task.embeds and not source.task.fits(width):
        raise LimbeckError(
            f"the {role} has {width} outputs, and {source.name} has {source.task.summary}; give a {role} "
            "with as many, or one of a run, whose outputs are matched with the data's by name"
        )


def width_of(
    network: nn.Module,
    role: str,
    source: Source,
    preparation: Preparation,
    features: Mapping[str, str | list[str]] | None = None,
) -> int:
    """How many outputs a network has.

    Args:
        network: a network of the run.
        role: what it is, for messages.
        source: the data.
        preparation: what it reads of a sample.
        features: module paths that override the features found.
    Raises:
        LimbeckError: for a network that cannot be called with the data, with one sample or with several, and
            for one whose images are of another size than the targets.
    """
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    example = apply(lambda tensor: tensor.to(device), source.example(preparation=preparation))
    task = source.task
    try:
        with evaluation.inference(network):
            call(network, example)
    except (LimbeckError, RuntimeError, TypeError, ValueError, IndexError, AssertionError) as error:
        shape = tuple(example.shape[1:]) if isinstance(example, Tensor) else sorted(example)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        size = preparation.size
        asked = f" ({key_of(role)}.size={size})" if size else ""
        raise LimbeckError(f"the {role} cannot take inputs of shape {shape}{asked}: {reason}") from None
    tap = answering(network, example, overrides=features, width=task.width, dense=task.dense)
    check_sizes(tap, example, f"the {role}")
    with evaluation.inference(network):
        if task.restores:
            one = Loader(source.train.select(torch.arange(1)), 1, views=source.views, device=device)
            batch = next(iter(one))
            outputs = tap(batch.inputs)
            task.rows(batch, outputs).logits(outputs.logits)
        return task.width_of(tap(example).logits)
