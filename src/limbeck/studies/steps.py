"""Equal numbers of optimizer steps where only some samples have labels."""

from __future__ import annotations

from limbeck import data as sources
from limbeck.config import RunConfig
from limbeck.data import Source
from limbeck.objective import parse
from limbeck.runs import language, networks
from limbeck.runs.alone import epoch_length
from limbeck.runs.job import epoch_steps
from limbeck.training import Trainer


def with_equal_steps(config: RunConfig, steps_of: str | None, source: Source) -> RunConfig:
    """The config of a cell that takes as many optimizer steps an epoch as another objective does.

    The other learns from all samples, and this one from those with labels, each of which it then sees the
    more often. Where all samples have labels, or the config says how long an epoch is, nothing is changed.

    Args:
        config: of the cell.
        steps_of: the other objective, in the notation; None for none.
        source: the data of the cell.
    """
    setup, task = config.training, source.task
    if steps_of is None or config.objective is None or setup.samples_per_epoch is not None:
        return config
    if not source.train.has_labels or task.labeled(source.train.targets).all():
        return config
    student = networks.student(config.student, source, config.seed)
    trainer = Trainer(device=setup.device, accumulation=setup.accumulation, seed=config.seed, display=False)
    steps = epoch_steps(len(source.train), source, parse(steps_of), student, trainer, setup)
    length = epoch_length(steps, source, parse(config.objective), student, trainer, setup)
    return config.model_copy(update={"training": setup.model_copy(update={"samples_per_epoch": length})})


def data_of(config: RunConfig) -> Source:
    """The data of a cell."""
    return sources.load(
        config.data.name,
        config.data.dir,
        tokens=lambda: language.tokens_of(config.student, *config.taught_by.values()),
    )
