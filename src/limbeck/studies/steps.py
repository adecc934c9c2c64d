"""Equal numbers of optimizer steps where only some samples have labels."""

from __future__ import annotations

from torch import nn

from limbeck.config import RunConfig
from limbeck.data import Source
from limbeck.objective import parse
from limbeck.runs import networks
from limbeck.runs.alone import epoch_length
from limbeck.runs.batches import epoch_steps
from limbeck.runs.job_data import uses_unlabeled
from limbeck.training import Trainer
from limbeck.training.length import Length


def with_equal_steps(config: RunConfig, steps_of: str | None, source: Source) -> RunConfig:
    """The config of a cell that takes as many optimizer steps an epoch as another objective does.

    The other learns from all samples, and this one from those with labels, each of which it then sees the
    more often. Where all samples have labels, or the config says how long an epoch is, nothing is changed.

    Args:
        config: of the cell.
        steps_of: the other objective, in the notation; None for none.
        source: the data of the cell.
    """
    setup = config.training
    if steps_of is None or config.objective is None or setup.samples_per_epoch is not None:
        return config
    if not source.train.has_labels or all_labeled(source):
        return config
    student, trainer = _made(config, source)
    steps = epoch_steps(len(source.train), source, parse(steps_of), student, trainer, setup)
    length = epoch_length(steps, source, parse(config.objective), student, trainer, setup)
    return config.model_copy(update={"training": setup.model_copy(update={"samples_per_epoch": length})})


def all_labeled(source: Source) -> bool:
    """Whether each training sample has a label."""
    return source.train.has_labels and bool(source.task.labeled(source.train.targets).all())


def epochs_of(config: RunConfig, source: Source) -> int:
    """Epochs of a cell that begin; `training.max_steps` may leave it fewer than `training.epochs`.

    Args:
        config: of the cell, with as many steps as `with_equal_steps` gives it.
        source: the data of the cell.
    """
    setup = config.training
    if setup.max_steps is None:
        return setup.epochs
    objective = parse(config.objective or source.task.recipe(teacher=bool(config.taught_by)))
    split = source.train if uses_unlabeled(objective) else source.train.labeled()
    samples = setup.samples_per_epoch or len(split)
    steps = epoch_steps(samples, source, objective, *_made(config, source), setup)
    return Length.of(steps, setup.epochs, setup.max_steps).epochs


def _made(config: RunConfig, source: Source) -> tuple[nn.Module, Trainer]:
    """The student of a cell, and a trainer, by which a last batch may be too small."""
    setup = config.training
    trainer = Trainer(device=setup.device, accumulation=setup.accumulation, seed=config.seed, display=False)
    return networks.student(config.student, source, config.seed), trainer
