"""A network's answers for whole splits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.features import call, logits_of
from limbeck.outputs import UNLABELED, Batch


@dataclass(frozen=True)
class Predictions:
    """The answers of one network for N samples, in the order they came.

    Attributes:
        logits: (N, C) float32 on the CPU.
        targets: (N,) int64 on the CPU, `UNLABELED` where a sample has no label; None if none has.
    """

    logits: Tensor
    targets: Tensor | None

    def __len__(self) -> int:
        return len(self.logits)

    def labeled(self) -> tuple[Tensor, Tensor]:
        """Logits (M, C) and targets (M,) of the samples that have a label.

        Raises:
            LimbeckError: no sample has one, or a label is no class of the network.
        """
        if self.targets is None or not (rows := self.targets != UNLABELED).any():
            raise LimbeckError(f"none of the {len(self)} samples has a label, and accuracy needs labels")
        logits, targets = self.logits[rows], self.targets[rows]
        classes = logits.shape[1]
        if (wrong := targets[(targets < 0) | (targets >= classes)]).numel():
            raise LimbeckError(f"target {int(wrong[0])} is no class of a network with {classes} logits")
        return logits, targets


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


def predict(network: nn.Module, batches: Iterable[Batch]) -> Predictions:
    """Runs the network over all batches.

    Args:
        network: on the device of the batches; called in eval mode, its modes are restored.
        batches: at least one.
    Raises:
        LimbeckError: there is no batch, or the network returns no logits.
    """
    logits: list[Tensor] = []
    targets: list[Tensor] = []
    labeled = False
    with inference(network):
        for batch in batches:
            logits.append(logits_of(call(network, batch.inputs)).float().cpu())
            labeled |= batch.targets is not None
            targets.append(
                torch.full((len(batch),), UNLABELED) if batch.targets is None else batch.targets.cpu()
            )
    if not logits:
        raise LimbeckError("there is no batch to predict; the split is empty")
    return Predictions(torch.cat(logits), torch.cat(targets) if labeled else None)
