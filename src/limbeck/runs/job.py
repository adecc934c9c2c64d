"""Everything a run needs, made and checked before a file is written; and the loops it then goes through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn

from limbeck import checks, evaluation
from limbeck import data as sources
from limbeck.config import RunConfig, TeacherConfig, TrainingConfig
from limbeck.data import Loader, Source, Split, views
from limbeck.data.loader import checked_number, whole_batch
from limbeck.data.preparation import Preparation
from limbeck.distiller import Distiller
from limbeck.errors import LimbeckError
from limbeck.features import answering, call, check_sizes
from limbeck.methods import DataFacts, Method, Objective
from limbeck.methods.base import inner_first
from limbeck.methods.parts.grafts import GraftedStudent
from limbeck.models import count_parameters, fingerprint
from limbeck.objective import parse
from limbeck.outputs import Batch, apply
from limbeck.runs import (
    answer_files,
    caching,
    language,
    networks,
    optimizers,
    pair_teachers,
    places,
    trust,
)
from limbeck.runs.directory import Run
from limbeck.runs.lineage import recorded
from limbeck.runs.recipe import origin, run_of
from limbeck.runs.schedules import schedule_of
from limbeck.seeds import seed_for
from limbeck.tasks import Language
from limbeck.training import Loop, Trainer, phase_loops
from limbeck.training.averaging import Averaging
from limbeck.training.groups import freeze, grouped
from limbeck.training.length import Length
from limbeck.training.patience import Patience

EVALUATION_BATCH = 512

Watch: TypeAlias = "Callable[[int, Mapping[str, float]], None]"
"""Is told how many epochs are over, and the figures of the validation split; what it raises ends the run."""


@dataclass(frozen=True)
class Job:
    """What a run is made of.

    Attributes:
        config: what was asked for, with the objective that is minimized.
        source: the data.
        split: the training samples that are learned from.
        distiller: student, teachers and objective.
        teacher_weights: a fingerprint of each teacher as the run began, by name.
        taught_by: what the result says of each teacher, as it was then.
        notes: sentences on what was assumed of data and networks, to be shown as the run begins.
        asked: a sentence on each teacher's worth, to be shown as well; so is the next.
        distrusted: what is wrong with teachers that the config trusts all the same.
        told: the data in the tokens of each teacher that reads others than the student, by name.
    """

    config: RunConfig
    source: Source
    split: Split
    distiller: Distiller
    teacher_weights: Mapping[str, str]
    taught_by: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    distrusted: tuple[str, ...] = ()
    told: Mapping[str, Source] = field(default_factory=dict)

    @property
    def first(self) -> str | None:
        """The name of the teacher, or of the first of several, beside which the student is measured."""
        return next(iter(self.distiller.teachers), None)


def prepare(config: RunConfig, objects: Mapping[str, Any] | None = None, begun: Run | None = None) -> Job:
    """Makes what the config names; raises LimbeckError for whatever cannot work.

    Args:
        config: of the run.
        objects: the "student", "teacher", "data" or "objective" that was handed over ready made.
        begun: the run that is resumed, which knows where its networks lay; None for a new one.
    """
    objects = objects or {}
    models = {name: each.model for name, each in config.taught_by.items()}
    if begun is not None:
        config = places.relocated(config, begun)
    _check_handed_over(config, objects)
    if "data" in objects:
        source: Source = objects["data"]
    else:
        source = sources.load(
            config.data.name,
            config.data.dir,
            tokens=lambda: language.tokens_of(config.student, *config.taught_by.values()),
        )
    source = with_views(source, config)
    files = answer_files.files_of(config, source)
    if config.objective is None:
        recipe = answer_files.recipe(source, config, files.values())
        if any(pair_teachers.scores_pairs(each, source) for each in config.taught_by.values()):
            recipe = pair_teachers.RECIPE
        config = config.model_copy(update={"objective": recipe})
    objective = parse(objects.get("objective", config.objective))
    _check_validation(config.training, source)
    pairs = pair_teachers.pair_teachers(config, source, objective)
    given = {**files, **pairs}
    taught_by = {name: each for name, each in config.taught_by.items() if name not in given}
    for each in taught_by.values():
        networks.check_labels(each, source)
    split = source.train if uses_unlabeled(objective) else source.train.labeled()
    _check_labels(objective, split, source)
    student = objects.get("student")
    if student is None:
        with networks.shown_beside(next(iter(taught_by.items()), None), source):
            student = networks.student(config.student, source, config.seed)
    if frozen := config.training.freeze:
        if config.student.lora is not None:
            raise LimbeckError(
                "with student.lora the adapters alone learn, and all else is frozen; leave out "
                "training.freeze (--freeze)"
            )
        freeze(student, frozen)
    checks.trained(student, objective)
    task = source.task
    told = {
        name: language.as_read(
            networks.preparation(each, task),
            source,
            networks.called(name),
            aligned=language.aligns(objective, name, next(iter(models))),
        )
        if isinstance(task, Language)
        else source
        for name, each in taught_by.items()
    }
    with networks.shown_beside(("student", config.student), source):
        teachers = _teachers(taught_by, told, objects)
    examples = {"student": source.example(preparation=networks.student_preparation(config.student, task))}
    examples |= {
        name: source.example(preparation=networks.preparation(each, task)) for name, each in taught_by.items()
    }
    named = {"student": config.student, **taught_by}
    said: list[str | None] = []
    for role, network in {"student": student, **teachers}.items():
        whose, reads = networks.called(role), networks.preparation(named[role], task)
        if isinstance(task, Language) and role == "student":
            language.as_read(reads, source, whose)
        own = told.get(role, source)
        if own is not source:
            said += [language.aligned_note(reads, source, whose)]
        if isinstance(task, Language):
            language.check_vocabulary(network, own, whose)
        width = width_of(network, role, own, reads, named[role].features)
        check_width(width, role, own)
        if isinstance(task, Language):
            language.check_causal(network, language.on_device(examples[role], network), whose, width)
            said += [language.head_note(width, own, whose)]
    asked: tuple[str, ...] = ()
    if begun is None:
        asked, distrusted = trust.ask(teachers, files, config, source, told)
    else:
        distrusted = tuple(begun.environment.get("distrusted", ()))
    answers = {name: answer_files.record(file, source) for name, file in files.items()}
    with torch.random.fork_rng(devices=[]), caching.untold():
        torch.manual_seed(seed_for(config.seed, "objective"))
        distiller = Distiller(
            student,
            {
                name: given[name]
                if name in given
                else caching.asked(teachers[name], each, config, source, again="teacher" not in objects)
                for name, each in config.taught_by.items()
            },
            objective,
            example=examples.pop("student"),
            teacher_example=examples,
            data=DataFacts(
                size=split.positions,
                fingerprint=f"{source.fingerprint()} {len(split)} {source.views} {config.training.views}",
                class_counts=source.task.counts(split.targets),
                facts=source.facts,
                targets=split.targets_by_position,
            ),
            task=source.task,
            related=config.related,
            seed=config.seed,
            student_features=config.student.features,
        )
    known = {
        name: {
            "model": models[name],
            **origin(each),
            "labels": each.labels,
            "parameters": count_parameters(teachers[name]) if name in teachers else None,
            "run": (run := run_of(each)) and recorded(run),
            "checkpoints": _checkpoints(each),
            "answers": answers.get(name),
        }
        for name, each in config.taught_by.items()
    }
    weights = {
        name: files[name].digest
        if name in files
        else pairs[name].digest
        if name in pairs
        else teacher.schedule or fingerprint(teachers[name])
        for name, teacher in distiller.teachers.items()
    }
    notes = (
        *source.notes,
        *filter(None, said),
        *answer_files.notes(files),
        *(pair_teachers.note(each, name) for name, each in pairs.items()),
        *filter(None, [optimizers.note(config, objects.get("student"))]),
        *_notes(config, {"student": source, **told}, {"student": student, **teachers}),
    )
    others = {name: each for name, each in told.items() if each is not source}
    return Job(config, source, split, distiller, weights, known, notes, asked, distrusted, others)


def _checkpoints(teacher: TeacherConfig) -> int | None:
    schedule = schedule_of(teacher.model)
    return None if schedule is None else len(schedule.files)


def _teachers(
    taught_by: Mapping[str, TeacherConfig], told: Mapping[str, Source], objects: Mapping[str, Any]
) -> dict[str, nn.Module]:
    """The networks of the teachers by name, those that were handed over and those that the config names.

    Args:
        taught_by: what the config says of them.
        told: the data as each of them reads it.
        objects: what was handed over.
    """
    given = objects.get("teacher")
    by_name = given if isinstance(given, Mapping) else {} if given is None else {"teacher": given}
    return {
        name: networks.with_logits(by_name[name], each, told[name])
        if name in by_name
        else networks.teacher(each, told[name])
        for name, each in taught_by.items()
    }


def with_views(source: Source, config: RunConfig) -> Source:
    """The source with the policy that the config says; refuses to draw among more views than that has."""
    if config.data.views is not None:
        source = replace(source, views=views.parse(config.data.views))
    checked_number(config.training.views, source.views)
    return source


def _check_validation(setup: TrainingConfig, source: Source) -> None:
    """Refuses to choose epochs by a validation split that is not there."""
    if source.validation is not None:
        return
    if setup.selection == "validation":
        raise LimbeckError(f"{source.name} has no validation split; use training.selection=last")
    if setup.early_stopping is not None:
        raise LimbeckError(
            f"training is stopped early by the validation split, and {source.name} has none; leave out "
            "training.early_stopping (--early-stopping)"
        )


def _notes(config: RunConfig, told: Mapping[str, Source], given: Mapping[str, nn.Module]) -> tuple[str, ...]:
    """What was assumed of the inputs and outputs of the networks, and of what the student has seen."""
    named, source = {"student": config.student, **config.taught_by}, told["student"]
    said = [
        note for role, each in given.items() for note in networks.notes(named[role], each, told[role], role)
    ]
    if config.training.selection == "validation" and networks.may_have_seen(config.student, source):
        said.append(
            f"the student starts from {config.student.weights or config.student.model}, which may have been "
            "trained on the validation split; the epoch that is selected by it may be a wrong one"
        )
    return tuple(said)


def uses_unlabeled(objective: Method) -> bool:
    """Whether some method in it learns from samples without a label too."""
    parts = [
        method
        for method in inner_first(objective)
        if not isinstance(method, Objective) and not method.exchanges  # what it wraps learns in its place
    ]
    return any(method.unlabeled or "targets" not in method.reads.batch for method in parts)


def _check_labels(objective: Method, split: Split, source: Source) -> None:
    """Refuses a method that learns from labels, or from negatives, where there are none."""
    for method in inner_first(objective):
        if method.min_together > split.together:
            raise LimbeckError(
                f"{method.name} compares the candidates of a query, and each query of {source.name} is "
                "followed by its relevant document alone; give data with negatives=1 or more, or use "
                "listwise, which compares the documents of the batch"
            )
        if "targets" in method.reads_in_training.batch and not split.has_labels:
            raise LimbeckError(
                f"{method.name} learns from labels, and no training sample of {source.name} has one; leave "
                "it out of the objective, such as kd alone"
            )


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
            patience=None if stopping is None else Patience(stopping.patience, stopping.min_delta),
        )
        distiller = job.distiller
        self._make = grouped(
            setup.optimizer, distiller.student, distiller.student_points, setup.rates, setup.layer_decay
        )
        self._job, self._batches, self._device, self._kept = job, batches, device, kept
        self._watch, self._figures = watch, dict[str, float]()
        # Moved here and held, so that it is not moved again after every epoch.
        self._validation = job.source.validation and job.source.validation.to(device)

    @contextmanager
    def open(self) -> Iterator[tuple[nn.Module, torch.optim.Optimizer]]:
        """The distiller, and the config's optimizer over all that learns."""
        distiller = self._job.distiller
        yield distiller, distiller.optimizer(self._make)

    def batches(self, epoch: int) -> Iterable[object]:
        """The batches of one epoch."""
        return self._batches(epoch)

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
            preparation=networks.student_preparation(job.config.student, job.source.task),
            samples_per_epoch=samples,
            teacher_preparations={
                name: networks.preparation(each, job.source.task)
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


def measured(job: Job, network: nn.Module, split: Split, device: torch.device) -> dict[str, float]:
    """The task's metrics of a run's student on a split, each sample once and as it is."""
    config = job.config.student
    reads = networks.student_preparation(config, job.source.task)
    loader = Loader(split, EVALUATION_BATCH, shuffle=False, device=device, preparation=reads)
    features = {} if isinstance(network, GraftedStudent) else config.features
    return evaluation.metrics(job.source.task, network.to(device), loader, features)


def _check_made_views(job: Job) -> None:
    """Refuses views that a method makes of the student's inputs, where a teacher reads others."""
    objective = job.distiller.objective
    made = (
        *objective.all_reads.makes_for_student,
        *(method.name for method in inner_first(objective) if method.exchanges),
    )
    own = networks.student_preparation(job.config.student, job.source.task)
    for name, each in job.config.taught_by.items() if made else ():
        if (theirs := networks.preparation(each, job.source.task)) != own:
            raise LimbeckError(
                f"further views ({', '.join(made)}) are made of what the student reads, and {name} reads "
                f"another preparation ({theirs}); give both networks one size"
            )


def _check_handed_over(config: RunConfig, objects: Mapping[str, Any]) -> None:
    """Refuses a record of objects without the objects."""
    named = {"student": config.student.model, "data": config.data.name}
    named |= {name: each.model for name, each in config.taught_by.items()}
    given = objects.get("teacher")
    there = {*objects, *(given if isinstance(given, Mapping) else ())}
    for role, name in named.items():
        if name.startswith("<") and role not in there:
            raise LimbeckError(
                f"the {role} {name} was handed over as an object; hand it over again, {role}=... in Python"
            )


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
        asked = f" ({networks.key_of(role)}.size={size})" if size else ""
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
