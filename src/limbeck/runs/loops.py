"""The loops that a run goes through: the phases that its objective asks for, and the training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import AbstractContextManager, contextmanager
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn

from limbeck import evaluation
from limbeck.config import TrainingConfig
from limbeck.data import Loader, Split
from limbeck.data.loader import whole_batch
from limbeck.errors import LimbeckError
from limbeck.methods.base import inner_first
from limbeck.methods.parts.grafts import GraftedStudent
from limbeck.optimization import MakeOptimizer
from limbeck.outputs import Batch
from limbeck.runs import caching, preparations
from limbeck.runs.batches import smallest_batch
from limbeck.runs.job import Job
from limbeck.seeds import seed_for
from limbeck.training import Loop, Trainer, phase_loops
from limbeck.training.averaging import Averaging
from limbeck.training.groups import grouped
from limbeck.training.length import Length
from limbeck.training.patience import Patience

EVALUATION_BATCH = 512

Watch: TypeAlias = "Callable[[int, Mapping[str, float]], None]"
"""Is told how many epochs are over, and the figures of the validation split; what it raises ends the run."""


class TrainingLoop(Loop):
    """The training of a run's student.

    Args:
        job: the run.
        batches: the batches of the training split by epoch.
        device: where the student is measured on the validation split.
        kept: a function that keeps the student's weights, given the number of epochs that are over.
        watch: a function that is told how many epochs are over, and the figures of the validation split.
    """

    def __init__(
        self,
        job: Job,
        batches: Callable[[int], Iterable[object]],
        device: torch.device,
        kept: Callable[[int], object],
        watch: Watch | None = None,
    ) -> None:
        setup = job.config.training
        stopping = setup.early_stopping
        super().__init__(
            "training",
            setup.epochs,
            setup.schedule,
            metric=job.source.task.primary,
            keep_best=setup.selection == "validation",
            max_steps=setup.max_steps,
            patience=None
            if stopping is None
            else Patience(stopping.patience, stopping.min_delta, _settled(job)),
        )
        self._make(job)  # which refuses what cannot be, before anything is written
        self._job, self._batches, self._device, self._kept = job, batches, device, kept
        self._watch, self._figures = watch, dict[str, float]()
        # Moved here and held, so that it is not moved again after every epoch.
        self._validation = job.source.validation and job.source.validation.to(device)

    @contextmanager
    def open(self) -> Iterator[tuple[nn.Module, torch.optim.Optimizer]]:
        """The distiller, and the config's optimizer over all that learns."""
        distiller = self._job.distiller
        yield distiller, distiller.optimizer(self._make(self._job))  # of the student as it is by now

    @staticmethod
    def _make(job: Job) -> MakeOptimizer:
        setup, distiller = job.config.training, job.distiller
        return grouped(
            setup.optimizer, distiller.student, distiller.student_points, setup.rates, setup.layer_decay
        )

    def batches(self, epoch: int) -> Iterable[object]:
        """The batches of one epoch."""
        return self._batches(epoch)

    def collected(self, batch: Batch) -> Batch:
        """What the methods make of it, where samples differ in their rows."""
        distiller = self._job.distiller
        return batch if distiller.task.even else distiller.collected(batch)

    def rows(self, batch: Batch) -> Tensor | int | None:
        """The valid rows, where the task says that samples differ in them."""
        task = self._job.distiller.task
        return None if task.even else task.count(batch)

    def answered(self, batch: Batch) -> Mapping[str, Tensor]:
        """What the teachers with gaps answer of it."""
        return self._job.distiller.teachers.answered(batch)

    def validate(self) -> Mapping[str, float] | None:
        """The student's metrics on the validation split."""
        if self._validation is None:
            return None
        job = self._job
        self._figures = measured(job, job.distiller.deploy(), self._validation, self._device)
        return self._figures

    def averaging(self) -> Averaging | None:
        """That of what is shipped, where the config asks for one."""
        decay = self._job.config.training.ema
        return None if decay is None else Averaging(self._job.distiller.deploy(), decay)

    def keep(self, epoch: int, last: bool) -> None:
        """Keeps the weights of every so many epochs, and of the last."""
        every = self._job.config.training.keep_every
        if every is not None and (epoch % every == 0 or last):
            self._kept(epoch)

    def tell(self, epoch: int) -> None:
        """Tells who watches, with the figures of the validation split."""
        if self._watch is not None:
            self._watch(epoch, self._figures)

    def counts(self) -> Mapping[str, int]:
        """The samples that the teachers' networks were shown."""
        return {"teacher_forwards": self._job.distiller.teachers.take_shown()}

    def compiled(self) -> AbstractContextManager[None]:
        """Student and teacher compiled."""
        return self._job.distiller.compiled()


def loops(
    job: Job, trainer: Trainer, kept: Callable[[int], object], watch: Watch | None = None
) -> list[Loop]:
    """The phases that the objective asks for, and the training.

    Args:
        job: the run.
        trainer: the trainer that is to run them.
        kept: see `TrainingLoop`; so is the next.
        watch: who is told of each epoch.
    """
    for note in (*job.notes, *job.asked, *job.distrusted):
        trainer.display.note(note)
    setup, distiller = job.config.training, job.distiller
    needed, reason = smallest_batch(distiller.objective, distiller, trainer, setup)

    _check_made_views(job)
    _check_sharding(setup)
    trainer.check(distiller)

    def batches(
        batch_size: int | None, seed: int | None, samples: int | None = None
    ) -> Callable[[int], Iterable[object]]:
        size = whole_batch(batch_size or setup.batch_size, job.split.together)
        left = (samples or len(job.split)) % size
        if 0 < left < needed:
            trainer.display.note(f"a last batch of {left} is left out: {reason}")
        view_seed = job.config.seed if setup.view_seed is None else setup.view_seed
        loader = Loader(
            job.split,
            size,
            views=job.source.views,
            views_per_sample=setup.views,
            seed=seed_for(job.config.seed if seed is None else seed, "order"),
            view_seed=view_seed if seed is None else seed,
            drop_last=0 < left < needed,
            device=trainer.device,
            rank=trainer.accelerator.process_index,
            world=trainer.accelerator.num_processes,
            extra_views=distiller.reads.views,
            preparation=preparations.student_preparation(job.config.student, job.source.task),
            samples_per_epoch=samples,
            teacher_preparations={
                name: preparations.preparation(each, job.source.task)
                for name, each in job.config.taught_by.items()
                if distiller.teachers[name].gives is None
            },
        )

        def epoch(number: int) -> Iterable[object]:
            loader.set_epoch(number)
            return loader

        return epoch

    learned = batches(None, None, setup.samples_per_epoch)
    training = TrainingLoop(job, learned, trainer.device, kept, watch)
    for note in _bounds(setup, len(cast(Sized, learned(0)))):
        trainer.display.note(note)
    for name, each in job.config.taught_by.items():
        if each.cached and not distiller.teachers[name].pairs:
            trainer.display.note(caching.note(distiller, name, each))
    phases = phase_loops(distiller, lambda phase: batches(phase.batch_size, phase.seed))
    return [*phases, training]


def _settled(job: Job) -> int:
    """The epoch after which the average of the weights has forgotten the first steps; 0 without one."""
    setup = job.config.training
    if setup.ema is None:
        return 0
    per_epoch = -(-(setup.samples_per_epoch or len(job.split)) // setup.batch_size)
    return math.ceil(1 / (1 - setup.ema) / per_epoch)


def _bounds(setup: TrainingConfig, per_epoch: int) -> Iterator[str]:
    """Sentences on a bound that binds nothing, and on an average over more steps than there are."""
    whole = Length.of(per_epoch, setup.epochs)
    length = Length.of(per_epoch, setup.epochs, setup.max_steps)
    if setup.max_steps is not None and setup.max_steps > whole.total:
        yield (
            f"training ends after {whole.total:,} steps, with its {setup.epochs} epochs (--epochs), before "
            f"max_steps={setup.max_steps}"
        )
    if setup.ema is not None and (over := round(1 / (1 - setup.ema))) > length.total:
        yield (
            f"ema={setup.ema:g} averages over about {over:,} steps, and training has {length.total:,}, so "
            "its first steps count for much of what is shipped; a lower decay forgets them"
        )


def measured(job: Job, network: nn.Module, split: Split, device: torch.device) -> dict[str, float]:
    """The task's metrics of a run's student on a split, each sample once and as it is."""
    config = job.config.student
    reads = preparations.student_preparation(config, job.source.task)
    loader = Loader(split, EVALUATION_BATCH, shuffle=False, device=device, preparation=reads)
    features = {} if isinstance(network, GraftedStudent) else config.features
    return evaluation.metrics(job.source.task, network.to(device), loader, features)


def _check_sharding(setup: TrainingConfig) -> None:
    """Refuses settings that were not tried with a sharded student."""
    if setup.sharding == "none":
        return
    if setup.keep_every is not None:
        raise LimbeckError(
            "training.keep_every was not tried with a sharded student; leave it out, or training.sharding"
        )
    if setup.optimizer.name in ("lion", "muon"):
        raise LimbeckError(
            f"{setup.optimizer.name} was not tried with a sharded student; use adamw, or leave out "
            "training.sharding"
        )


def _check_made_views(job: Job) -> None:
    """Refuses views that a method makes of the student's inputs, where a teacher reads others."""
    objective = job.distiller.objective
    made = (
        *objective.all_reads.makes_for_student,
        *(method.name for method in inner_first(objective) if method.exchanges),
    )
    own = preparations.student_preparation(job.config.student, job.source.task)
    for name, each in job.config.taught_by.items() if made else ():
        if (theirs := preparations.preparation(each, job.source.task)) != own:
            raise LimbeckError(
                f"further views ({', '.join(made)}) are made of what the student reads, and {name} reads "
                f"another preparation ({theirs}); give both networks one size"
            )
