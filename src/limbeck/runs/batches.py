"""How many samples a batch has at least, and how many steps an epoch."""

from __future__ import annotations

from torch import nn

from limbeck.config import TrainingConfig
from limbeck.data import Source
from limbeck.data.loader import whole_batch
from limbeck.errors import LimbeckError
from limbeck.methods import Method
from limbeck.methods.base import inner_first
from limbeck.training import Trainer


def smallest_batch(
    objective: Method, module: nn.Module, trainer: Trainer, setup: TrainingConfig
) -> tuple[int, str]:
    """The fewest samples that can be a batch, and why; a last batch of fewer is left out.

    Args:
        objective: what is minimized.
        module: the networks that are trained.
        trainer: the trainer of the run.
        setup: the run's training.
    Raises:
        LimbeckError: if every batch would be too small.
    """
    comparing = max(inner_first(objective), key=lambda method: method.min_samples)
    smallest = comparing.min_samples
    needed = smallest * setup.accumulation if smallest > 1 else 1  # of a batch, for each of its pieces
    if setup.batch_size < needed:
        pieces = (
            f"each of the {setup.accumulation} pieces of a batch" if setup.accumulation > 1 else "a batch"
        )
        raise LimbeckError(
            f"{comparing.name} compares samples and needs at least {smallest} in {pieces}, so "
            f"training.batch_size={setup.batch_size} should be {needed} or more"
        )
    if (normed := trainer.smallest_batch(module)) > needed:
        return normed, "batch norm needs two samples to train on"
    return needed, "the objective compares samples"


def epoch_steps(
    samples: int,
    source: Source,
    objective: Method,
    module: nn.Module,
    trainer: Trainer,
    setup: TrainingConfig,
) -> int:
    """Optimizer steps of an epoch; a last batch that is too small is left out.

    Args:
        samples: of the epoch.
        source: the data.
        objective: what is minimized; this and the next three are as in `smallest_batch`.
        module: the networks that are trained.
        trainer: the trainer of the run.
        setup: the run's training.
    """
    full, left = divmod(samples, whole_batch(setup.batch_size, source.train.together))
    needed, _ = smallest_batch(objective, module, trainer, setup)
    return full + int(left >= max(needed, trainer.accelerator.num_processes))
