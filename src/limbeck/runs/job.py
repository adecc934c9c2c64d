"""Everything a run needs, made and checked before a file is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from limbeck import checks
from limbeck.config import RunConfig, TeacherConfig
from limbeck.data import Source, Split
from limbeck.distiller import Distiller
from limbeck.methods import DataFacts, Method
from limbeck.methods.base import inner_first
from limbeck.models import count_parameters, fingerprint
from limbeck.objective import parse
from limbeck.runs import answer_files, caching, optimizers, pair_teachers, places, trust
from limbeck.runs.answer_files import AnswerFile
from limbeck.runs.directory import Run
from limbeck.runs.job_data import check_learnable, check_validation, data_of, uses_unlabeled, with_views
from limbeck.runs.lineage import recorded
from limbeck.runs.live_networks import Live, check_handed_over, live
from limbeck.runs.live_networks import notes as live_notes
from limbeck.runs.network_checks import check_labels
from limbeck.runs.recipe import origin, run_of
from limbeck.runs.schedules import schedule_of
from limbeck.seeds import seed_for
from limbeck.teachers.pairs import PairTeacher


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
    def measured_beside(self) -> str | None:
        """The name of the teacher beside which the student is measured: the first that is asked in training.

        Of teachers one after the other that is the last one, as the others are asked in phases.
        """
        asked, _ = self.distiller.asked[-1]
        names = [*self.distiller.teachers]
        return next((name for name in names if asked.get(name)), names[0] if names else None)


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
    check_handed_over(config, objects)
    source = with_views(objects["data"] if "data" in objects else data_of(config), config)
    files = answer_files.files_of(config, source)
    if config.objective is None:
        recipe = answer_files.recipe(source, config, files.values())
        if any(pair_teachers.scores_pairs(each, source) for each in config.taught_by.values()):
            recipe = pair_teachers.RECIPE
        config = config.model_copy(update={"objective": recipe})
    objective = parse(objects.get("objective", config.objective))
    checks.serves(objective, source.task)
    check_validation(config.training, source)
    pairs = pair_teachers.pair_teachers(config, source, objective)
    given = {**files, **pairs}
    taught_by = {name: each for name, each in config.taught_by.items() if name not in given}
    for each in taught_by.values():
        check_labels(each, source)
    split = source.train if uses_unlabeled(objective) else source.train.labeled()
    check_learnable(objective, split, source, pairs=bool(pairs))
    if split.weights is not None:
        checks.can_weigh(objective, source.task)
    made = live(config, taught_by, objects, source, objective)
    asked: tuple[str, ...] = ()
    if begun is None:
        asked, distrusted = trust.ask(made.teachers, files, config, source, made.told)
    else:
        distrusted = tuple(begun.environment.get("distrusted", ()))
    distiller = _distiller(config, made, given, objective, source, split, again="teacher" not in objects)
    answers = {name: answer_files.record(file, source) for name, file in files.items()}
    known = {
        name: {
            "model": models[name],
            **origin(each),
            "labels": each.labels,
            "parameters": count_parameters(made.teachers[name]) if name in made.teachers else None,
            "run": (run := run_of(each)) and recorded(run),
            "checkpoints": _checkpoints(each),
            "answers": answers.get(name),
        }
        for name, each in config.taught_by.items()
    }
    weights = {
        name: given[name].digest if name in given else teacher.schedule or fingerprint(made.teachers[name])
        for name, teacher in distiller.teachers.items()
    }
    notes = (
        *source.notes,
        *filter(None, [*made.said, _weighing(objective, split)]),
        *answer_files.notes(files),
        *(pair_teachers.note(each, name) for name, each in pairs.items()),
        *filter(None, [optimizers.note(config, objects.get("student"))]),
        *live_notes(config, made, source),
    )
    others = {name: each for name, each in made.told.items() if each is not source}
    return Job(config, source, split, distiller, weights, known, notes, asked, distrusted, others)


def _distiller(
    config: RunConfig,
    made: Live,
    given: Mapping[str, AnswerFile | PairTeacher],
    objective: Method,
    source: Source,
    split: Split,
    *,
    again: bool,
) -> Distiller:
    """The distiller, whose parts are initialized by the seed of the run.

    Args:
        config: of the run.
        made: its networks.
        given: its teachers that are no networks of the distiller's, by name.
        objective: what is minimized.
        source: the data.
        split: the training samples that are learned from.
        again: whether its teachers can be made again from their names.
    """
    others = {name: example for name, example in made.examples.items() if name != "student"}
    with torch.random.fork_rng(devices=[]), caching.untold():
        torch.manual_seed(seed_for(config.seed, "objective"))
        return Distiller(
            made.student,
            {
                name: given[name]
                if name in given
                else caching.asked(made.teachers[name], each, config, source, again=again)
                for name, each in config.taught_by.items()
            },
            objective,
            example=made.examples["student"],
            teacher_example=others,
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
