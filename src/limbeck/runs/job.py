"""Everything a run needs, made and checked before a file is written; and the loops it then goes through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from limbeck import data as sources
from limbeck import evaluation
from limbeck.config import RunConfig
from limbeck.data import Loader, Source, Split, views
from limbeck.data.loader import checked_number
from limbeck.distiller import Distiller
from limbeck.errors import LimbeckError
from limbeck.features import call, logits_of
from limbeck.methods import DataFacts, Method, Objective
from limbeck.methods.base import inner_first
from limbeck.models import count_parameters, fingerprint
from limbeck.objective import parse
from limbeck.outputs import Batch, Inputs, apply
from limbeck.runs import caching, networks
from limbeck.runs.recipe import origin
from limbeck.seeds import seed_for
from limbeck.tasks import Task
from limbeck.training import Loop, Trainer, phase_loops

EVALUATION_BATCH = 512


@dataclass(frozen=True)
class Job:
    """What a run is made of.

    Attributes:
        teacher_weights: fingerprint of the teacher as the run began; None if there is none.
        taught_by: what the result says of it, as it was then.
        notes: sentences on what was assumed of the networks, to be shown as the run begins.
    """

    config: RunConfig
    source: Source
    split: Split
    distiller: Distiller
    teacher_weights: str | None
    taught_by: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def teacher(self) -> nn.Module | None:
        """The teacher's network; one that was let go of is made again."""
        return None if self.distiller.teacher is None else self.distiller.teacher.network


def prepare(config: RunConfig, objects: Mapping[str, Any] | None = None) -> Job:
    """Makes what the config names; raises LimbeckError for whatever cannot work.

    Args:
        config: of the run.
        objects: the "student", "teacher", "data" or "objective" that was handed over ready made.
    """
    objects = objects or {}
    _check_handed_over(config, objects)
    objective = parse(objects.get("objective", config.objective))
    source = objects["data"] if "data" in objects else sources.load(config.data.name, config.data.dir)
    source = with_views(source, config)
    if config.training.selection == "validation" and source.validation is None:
        raise LimbeckError(f"{source.name} has no validation split; use training.selection=last")
    if config.teacher is not None:
        networks.check_labels(config.teacher, source)
    split = source.train if uses_unlabeled(objective) else source.train.labeled()
    teacher = objects.get("teacher")
    student = objects.get("student")
    if student is None:
        student = networks.student(config.student, source, config.seed)
    if teacher is None and config.teacher is not None:
        teacher = networks.teacher(config.teacher, source)
    example = source.example()
    given = {"student": student, "teacher": teacher}
    notes = _notes(config, source, given)
    classes = {
        role: classes_of(network, role, example) for role, network in given.items() if network is not None
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(config.seed, "objective"))
        distiller = Distiller(
            student,
            teacher and caching.asked(teacher, config, source, again="teacher" not in objects),
            objective,
            example=example,
            data=DataFacts(
                size=split.positions,
                fingerprint=f"{source.fingerprint()} {len(split)} {source.views} {config.training.views}",
                class_counts=source.task.counts(split.targets),
                targets=split.targets_by_position,
            ),
            student_features=config.student.features,
        )
    for role, count in classes.items():
        if count < source.task.width:
            raise LimbeckError(
                f"the {role} tells {count} classes apart, and {source.name} has {source.task.width}"
            )
    if teacher is None or config.teacher is None:
        return Job(config, source, split, distiller, None, {}, notes)
    taught_by = {
        "model": config.teacher.model,
        **origin(config.teacher),
        "labels": config.teacher.labels,
        "parameters": count_parameters(teacher),
    }
    return Job(config, source, split, distiller, fingerprint(teacher), taught_by, notes)


def with_views(source: Source, config: RunConfig) -> Source:
    """The source with the policy that the config says; refuses to draw among more views than that has."""
    if config.data.views is not None:
        source = replace(source, views=views.parse(config.data.views))
    checked_number(config.training.views, source.views)
    return source


def _notes(config: RunConfig, source: Source, given: Mapping[str, nn.Module | None]) -> tuple[str, ...]:
    """What was assumed of the inputs of the networks."""
    named = {"student": config.student, "teacher": config.teacher}
    said = [
        networks.normalization_note(each, network, source, role)
        for role, network in given.items()
        if network is not None and (each := named[role]) is not None
    ]
    return tuple(note for note in said if note)


def uses_unlabeled(objective: Method) -> bool:
    """Whether some method in it learns from samples without a label too."""
    parts = [method for method in inner_first(objective) if not isinstance(method, Objective)]
    return any("targets" not in method.reads.batch for method in parts)


class TrainingLoop(Loop):
    """The training of a run's student.

    Args:
        job: the run.
        batches: the batches of the training split by epoch.
        device: where the student is measured on the validation split.
    """

    def __init__(self, job: Job, batches: Callable[[int], Iterable[object]], device: torch.device) -> None:
        setup = job.config.training
        super().__init__(
            "training",
            setup.epochs,
            setup.schedule,
            metric=job.source.task.primary,
            keep_best=setup.selection == "validation",
        )
        self._job, self._batches, self._device = job, batches, device
        # Moved here and held, so that it is not moved again after every epoch.
        self._validation = job.source.validation and job.source.validation.to(device)

    @contextmanager
    def open(self) -> Iterator[tuple[nn.Module, torch.optim.Optimizer]]:
        """The distiller, and the config's optimizer over all that learns."""
        distiller = self._job.distiller
        yield distiller, distiller.optimizer(self._job.config.training.optimizer)

    def batches(self, epoch: int) -> Iterable[object]:
        """The batches of one epoch."""
        return self._batches(epoch)

    def rows(self, batch: Batch) -> Tensor | int | None:
        """The valid rows, where the task says that samples differ in them."""
        task = self._job.source.task
        return None if task.even else task.count(batch)

    def validate(self) -> Mapping[str, float] | None:
        """The student's metrics on the validation split."""
        if self._validation is None:
            return None
        job = self._job
        return measured(job.source.task, job.distiller.deploy(), self._validation, self._device)

    def compiled(self) -> AbstractContextManager[None]:
        """Student and teacher compiled."""
        return self._job.distiller.compiled()


def loops(job: Job, trainer: Trainer) -> list[Loop]:
    """The phases that the objective asks for, and the training."""
    for note in job.notes:
        trainer.display.note(note)
    setup, distiller = job.config.training, job.distiller
    comparing = max(inner_first(distiller.objective), key=lambda method: method.min_samples)
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
    reason = "the objective compares samples"
    if trainer.smallest_batch(distiller) > needed:
        needed, reason = trainer.smallest_batch(distiller), "batch norm needs two samples to train on"

    def batches(batch_size: int | None, seed: int | None) -> Callable[[int], Iterable[object]]:
        size = batch_size or setup.batch_size
        left = len(job.split) % size
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
        )

        def epoch(number: int) -> Iterable[object]:
            loader.set_epoch(number)
            return loader

        return epoch

    training = TrainingLoop(job, batches(None, None), trainer.device)
    if job.config.teacher is not None and job.config.teacher.cached:
        trainer.display.note(caching.note(distiller, job.config.teacher))
    phases = phase_loops(distiller, lambda phase: batches(phase.batch_size, phase.seed))
    return [*phases, training]


def measured(task: Task, network: nn.Module, split: Split, device: torch.device) -> dict[str, float]:
    """The task's metrics of a network on a split, each sample once and as it is."""
    loader = Loader(split, EVALUATION_BATCH, shuffle=False, device=device)
    return evaluation.metrics(task, network.to(device), loader)


def _check_handed_over(config: RunConfig, objects: Mapping[str, Any]) -> None:
    """Refuses a record of objects without the objects."""
    named = {"student": config.student.model, "data": config.data.name}
    named |= {"teacher": config.teacher.model} if config.teacher else {}
    for role, name in named.items():
        if name.startswith("<") and role not in objects:
            raise LimbeckError(
                f"the {role} {name} was handed over as an object; hand it over again, {role}=... in Python"
            )


def classes_of(network: nn.Module, role: str, example: Inputs) -> int:
    """How many classes the network tells apart; refuses one that cannot be called with the data."""
    with evaluation.inference(network):
        try:
            device = next((p.device for p in network.parameters()), torch.device("cpu"))
            outputs = call(network, apply(lambda tensor: tensor.to(device), example))
        except (RuntimeError, TypeError, ValueError, IndexError, AssertionError) as error:
            shape = tuple(example.shape[1:]) if isinstance(example, torch.Tensor) else sorted(example)
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise LimbeckError(f"the {role} cannot take inputs of shape {shape}: {reason}") from None
    return logits_of(outputs).shape[-1]
