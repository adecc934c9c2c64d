"""Everything a run needs, made and checked before a file is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

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
from limbeck.models import count_parameters, fingerprint
from limbeck.objective import parse
from limbeck.outputs import apply
from limbeck.runs import (
    answer_files,
    caching,
    language,
    network_notes,
    networks,
    optimizers,
    pair_teachers,
    places,
    preparations,
    trust,
)
from limbeck.runs.directory import Run
from limbeck.runs.lineage import recorded
from limbeck.runs.network_checks import check_labels, shown_beside
from limbeck.runs.network_names import called, key_of, may_have_seen
from limbeck.runs.recipe import origin, run_of
from limbeck.runs.schedules import schedule_of
from limbeck.seeds import seed_for
from limbeck.tasks import Language
from limbeck.training import Trainer
from limbeck.training.groups import freeze


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
    source = with_views(objects["data"] if "data" in objects else data_of(config), config)
    files = answer_files.files_of(config, source)
    if config.objective is None:
        recipe = answer_files.recipe(source, config, files.values())
        if any(pair_teachers.scores_pairs(each, source) for each in config.taught_by.values()):
            recipe = pair_teachers.RECIPE
        config = config.model_copy(update={"objective": recipe})
    objective = parse(objects.get("objective", config.objective))
    checks.serves(objective, source.task)
    _check_validation(config.training, source)
    pairs = pair_teachers.pair_teachers(config, source, objective)
    given = {**files, **pairs}
    taught_by = {name: each for name, each in config.taught_by.items() if name not in given}
    for each in taught_by.values():
        check_labels(each, source)
    split = source.train if uses_unlabeled(objective) else source.train.labeled()
    _check_labels(objective, split, source, pairs=bool(pairs))
    if split.weights is not None:
        checks.can_weigh(objective, source.task)
    student = objects.get("student")
    if student is None:
        with shown_beside(next(iter(taught_by.items()), None), source):
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
            preparations.preparation(each, task),
            source,
            called(name),
            aligned=language.aligns(objective, name, next(iter(models))),
        )
        if isinstance(task, Language)
        else source
        for name, each in taught_by.items()
    }
    with shown_beside(("student", config.student), source):
        teachers = _teachers(taught_by, told, objects)
    examples = {"student": source.example(preparation=preparations.student_preparation(config.student, task))}
    examples |= {
        name: source.example(preparation=preparations.preparation(each, task))
        for name, each in taught_by.items()
    }
    named = {"student": config.student, **taught_by}
    said: list[str | None] = []
    for role, network in {"student": student, **teachers}.items():
        whose, reads = called(role), preparations.preparation(named[role], task)
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
        *filter(None, [*said, _weighing(objective, split)]),
        *answer_files.notes(files),
        *(pair_teachers.note(each, name) for name, each in pairs.items()),
        *filter(None, [optimizers.note(config, objects.get("student"))]),
        *_notes(config, {"student": source, **told}, {"student": student, **teachers}),
    )
    others = {name: each for name, each in told.items() if each is not source}
    return Job(config, source, split, distiller, weights, known, notes, asked, distrusted, others)


def _weighing(objective: Method, split: Split) -> str | None:
    """What the weights of training samples count in; None without weights."""
    if split.range_of_weights is None:
        return None
    low, high = split.range_of_weights
    said = f"training samples have weights from {low:g} to {high:g}"
    terms = [method.name for method in inner_first(objective) if method.weighs]
    if not terms:
        return f"{said}, and the objective has no term that they count in, such as ce"
    return f"{said}, which count in {' and '.join(terms)} and in no figure that is measured"


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


def data_of(config: RunConfig) -> Source:
    """The data set that a config names."""
    return sources.load(
        config.data.name,
        config.data.dir,
        tokens=lambda: language.tokens_of(config.student, *config.taught_by.values()),
    )


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
        note
        for role, each in given.items()
        for note in network_notes.notes(named[role], each, told[role], role)
    ]
    if config.training.selection == "validation" and may_have_seen(config.student, source):
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


def _check_labels(objective: Method, split: Split, source: Source, *, pairs: bool) -> None:
    """Refuses a method that learns from labels, or from negatives, where there are none.

    `pairs` is whether a teacher scores pairs, and cannot compare the documents of a batch.
    """
    instead = "" if pairs else ", or use listwise, which compares the documents of the batch"
    for method in inner_first(objective):
        if method.min_together > split.together:
            raise LimbeckError(
                f"{method.name} compares the candidates of a query, and each query of {source.name} is "
                "followed by its relevant document alone; give data with negatives=1 or more, which "
                f"`limbeck mine` finds{instead}"
            )
        if "targets" in method.reads_in_training.batch and not split.has_labels:
            raise LimbeckError(
                f"{method.name} learns from labels, and no training sample of {source.name} has one; leave "
                "it out of the objective, such as kd alone"
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
    for role, each in {"student": config.student, **config.taught_by}.items():
        keys = [key for key in ("weights", "normalize", "lora") if getattr(each, key, None) is not None]
        if keys and role in there and each.model.startswith("<"):
            raise LimbeckError(
                f"{key_of(role)}.{keys[0]} is for a network that limbeck makes, and the "
                f"{role} {each.model} was handed over as an object; do it to that beforehand "
                "(limbeck.models.normalize_inputs, load_into, lora.adapt)"
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
