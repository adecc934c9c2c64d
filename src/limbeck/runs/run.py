"""The main job: data, teacher, student and objective in; a run directory out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limbeck import data as sources
from limbeck import evaluation, models
from limbeck.config import FLAGS, RunConfig, make_config
from limbeck.data import Loader, Source, Split, views
from limbeck.distiller import Distiller
from limbeck.errors import LimbeckError
from limbeck.evaluation import Predictions, predict
from limbeck.features import call
from limbeck.files import write_text
from limbeck.methods import DataFacts, Method, Objective
from limbeck.methods.base import inner_first
from limbeck.objective import parse, resolved
from limbeck.outputs import Inputs, apply
from limbeck.report import run_report
from limbeck.runs import directory, networks
from limbeck.runs.directory import Run
from limbeck.seeds import seed_for
from limbeck.training import Stage, Trainer

EVALUATION_BATCH = 512


def distill(
    config: Path | str | RunConfig | None = None,
    *,
    student: str | nn.Module | None = None,
    teacher: str | Path | Run | nn.Module | None = None,
    data: str | Source | None = None,
    data_dir: Path | str | None = None,
    objective: str | Method | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    display: bool = True,
) -> Run:
    """Distils a student, from data to a run directory; what `limbeck distill` does.

    Args:
        config: a YAML file with the fields of `RunConfig`, or one ready made; what follows overrides it.
        student: a network's name, checkpoint or factory; or a network, which is trained in place.
        teacher: a run, its directory, or any of what a student may be.
        data: a data set's name, or a source made by `limbeck.data.from_tensors` or `from_dataset`.
        data_dir: where the data set's files are.
        objective: what is minimised, in the notation or as a method.
        epochs, batch_size, lr, seed: of the training.
        settings: any value of the config by dotted key, `{"training.clip": 1.0}`.
        out: the run directory; the next free one under `runs/` if None.
        resume: go on with the run in `out`.
        overwrite: replace the run in `out`.
        display: whether to show progress.
    Raises:
        LimbeckError: for whatever the run cannot be done with, before a file is written.
        DivergenceError: when a loss turns NaN or infinite.
    """
    given = {
        "student": student,
        "teacher": teacher.path if isinstance(teacher, Run) else teacher,
        "data": data,
        "data_dir": data_dir,
        "objective": objective,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "seed": seed,
    }
    path = _directory(out, "distill", resume=resume, overwrite=overwrite)
    made, objects = _settle(config, given, settings or {}, path, resume=resume)
    return _run(made, path, objects, resume=resume, display=display)


def train(
    config: Path | str | RunConfig | None = None,
    *,
    model: str | nn.Module | None = None,
    data: str | Source | None = None,
    data_dir: Path | str | None = None,
    objective: str | Method | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    display: bool = True,
) -> Run:
    """Trains one network on labels alone, to make a teacher or a baseline; what `limbeck train` does.

    Args:
        model: the network; as `student` in `distill`, where the other arguments are explained.
    """
    given = {
        "model": model,
        "data": data,
        "data_dir": data_dir,
        "objective": objective,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "seed": seed,
    }
    path = _directory(out, "train", resume=resume, overwrite=overwrite)
    made, objects = _settle(config, given, settings or {}, path, resume=resume)
    if made.teacher is not None:
        raise LimbeckError("train learns from labels alone; to learn from a teacher, use distill")
    return _run(made, path, objects, resume=resume, display=display)


def _directory(out: Path | str | None, prefix: str, *, resume: bool, overwrite: bool) -> Path:
    if resume and out is None:
        raise LimbeckError("--resume needs the directory of the run, --out DIR")
    path = Path(out) if out is not None else directory.free_directory(prefix)
    directory.check_claim(path, resume=resume, overwrite=overwrite)
    return path


def _settle(
    config: Path | str | RunConfig | None,
    given: Mapping[str, Any],
    settings: Mapping[str, Any],
    path: Path,
    *,
    resume: bool,
) -> tuple[RunConfig, dict[str, nn.Module | Source]]:
    """The config that a file and what overrides it come to; the student, teacher or data that are objects."""
    flags = {FLAGS[name]: _text(value) for name, value in given.items() if value is not None}
    file = path / "config.yaml" if resume and config is None else None
    if isinstance(config, RunConfig):
        flags = {**config.model_dump(mode="json"), **flags}
    elif config is not None:
        file = Path(config)
    made = make_config(file, {**flags, **settings})
    if resume:
        directory.same_config(path, made)
    objects = {
        "student" if name == "model" else name: value
        for name, value in given.items()
        if isinstance(value, (nn.Module, Source)) and not isinstance(value, Method)
    }
    return made, objects


@dataclass(frozen=True)
class Job:
    """Everything a run needs, made and checked, before anything is written."""

    config: RunConfig
    source: Source
    split: Split
    teacher: nn.Module | None
    distiller: Distiller


def prepare(config: RunConfig, objects: Mapping[str, Any] | None = None) -> Job:
    """Makes what the config names; raises LimbeckError for whatever cannot work.

    Args:
        config: of the run.
        objects: the "student", "teacher" or "data" that was handed over ready made.
    """
    objects = objects or {}
    _check_handed_over(config, objects)
    objective = parse(config.objective)
    source = objects["data"] if "data" in objects else sources.load(config.data.name, config.data.dir)
    if config.data.views is not None:
        source = replace(source, views=views.parse(config.data.views))
    if config.training.selection == "validation" and source.validation is None:
        raise LimbeckError(f"{source.name} has no validation split; use training.selection=last")
    split = source.train if uses_unlabelled(objective) else source.train.labelled()
    teacher = objects.get("teacher")
    student = objects.get("student")
    if student is None:
        student = networks.student(config.student, source, config.seed)
    if teacher is None and config.teacher is not None:
        teacher = networks.teacher(config.teacher, source)
    example = source.example()
    for role, network in (("student", student), ("teacher", teacher)):
        if network is not None:
            _check_takes(network, role, example)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(config.seed, "objective"))
        distiller = Distiller(
            student,
            teacher,
            objective,
            example=example,
            data=DataFacts(split.positions, f"{source.fingerprint()} {len(split)} {source.views}"),
            student_features=config.student.features,
            teacher_features=config.teacher.features if config.teacher else None,
        )
    return Job(config, source, split, teacher, distiller)


def uses_unlabelled(objective: Method) -> bool:
    """Whether some method in it learns from samples without a label too."""
    parts = [method for method in inner_first(objective) if not isinstance(method, Objective)]
    return any("targets" not in method.reads.batch for method in parts)


def _run(config: RunConfig, path: Path, objects: Mapping[str, Any], *, resume: bool, display: bool) -> Run:
    run = Run(path)
    if resume and run.finished:
        return run
    job = prepare(config, objects)
    setup = config.training
    trainer = Trainer(
        device=setup.device,
        precision=setup.precision,
        accumulation=setup.accumulation,
        clip=setup.clip,
        seed=config.seed,
        directory=path,
        checkpoint_every=setup.checkpoint_every,
        trackers=setup.trackers,
        display=display,
    )
    stages = _stages(job, trainer)
    if trainer.main and not resume:
        directory.claim(path, config)
    trainer.accelerator.wait_for_everyone()
    trainer.fit(job.distiller, stages, resume=resume)
    if trainer.main:
        _conclude(run, job, trainer.device, objects)
    trainer.accelerator.wait_for_everyone()
    return run


def _stages(job: Job, trainer: Trainer) -> list[Stage]:
    setup, distiller = job.config.training, job.distiller
    needed = max(method.min_samples for method in inner_first(distiller.objective))

    def batches(batch_size: int | None, seed: int | None) -> Callable[[int], Iterable[object]]:
        size = batch_size or setup.batch_size
        left = len(job.split) % size
        if 0 < left < needed:
            trainer.display.note(f"a last batch of {left} is left out: the objective compares samples")
        view_seed = job.config.seed if setup.view_seed is None else setup.view_seed
        loader = Loader(
            job.split,
            size,
            views=job.source.views,
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

    @contextmanager
    def opened() -> Iterator[tuple[nn.Module, torch.optim.Optimizer]]:
        yield distiller, distiller.optimizer(setup.optimizer)

    training = Stage(
        name="training",
        open=opened,
        batches=batches(None, None),
        epochs=setup.epochs,
        schedule=setup.schedule,
        validate=partial(_validate, job, trainer.device) if job.source.validation else None,
        keep_best=setup.selection == "validation",
    )
    phases = distiller.phase_stages(lambda phase: batches(phase.batch_size, phase.seed))
    return [*phases, training]


def answers(network: nn.Module, split: Split, device: torch.device) -> Predictions:
    """The network's answers for a split, each sample once and as it is."""
    return predict(network.to(device), Loader(split, EVALUATION_BATCH, shuffle=False, device=device))


def _validate(job: Job, device: torch.device) -> dict[str, float]:
    assert job.source.validation is not None
    return evaluation.metrics(answers(job.distiller.deploy(), job.source.validation, device))


def _conclude(run: Run, job: Job, device: torch.device, objects: Mapping[str, Any]) -> None:
    """Measures the student, on the test split for the first time, and writes weights, result and report."""
    config, source = job.config, job.source
    student = job.distiller.deploy()
    test = source.test and answers(student, source.test, device)
    metrics = {
        "test": test and evaluation.metrics(test),
        "validation": source.validation and evaluation.metrics(answers(student, source.validation, device)),
    }
    teacher, agreement = None, None
    if job.teacher is not None and config.teacher is not None:
        theirs = source.test and answers(job.teacher, source.test, device)
        teacher = {
            "model": config.teacher.model,
            "parameters": models.count_parameters(job.teacher),
            "top1": theirs and evaluation.metrics(theirs)["top1"],
        }
        agreement = test and theirs and evaluation.agreement(test, theirs)
    normalisation = models.normalisation_of(student)
    example = source.example(1)
    card = {
        "model": None if "student" in objects else _buildable(config),
        "class_names": list(source.class_names),
        "input_shape": list(example.shape[1:]) if isinstance(example, torch.Tensor) else None,
        "mean": normalisation and normalisation.mean,
        "std": normalisation and normalisation.std,
    }
    models.save(student, run.path / "student.safetensors", {"limbeck": json.dumps(card)})
    history = run.history
    result = {
        "objective": str(job.distiller.objective),
        "arguments": resolved(job.distiller.objective),
        "seed": config.seed,
        "selection": config.training.selection,
        "student": {
            "model": config.student.model,
            "parameters": models.count_parameters(student),
            "top1": metrics["test"] and metrics["test"]["top1"],
        },
        "teacher": teacher,
        "metrics": metrics,
        "agreement": agreement,
        "seconds": round(sum(line["seconds"] for line in history), 3),
        "data": {
            "name": source.name,
            "fingerprint": source.fingerprint(),
            "train": len(job.split),
            "labelled": int(job.split.class_counts(source.num_classes).sum()),
            "validation": len(source.validation) if source.validation else 0,
            "test": len(source.test) if source.test else 0,
            "classes": source.num_classes,
        },
    }
    write_text(run.path / "report.html", run_report(result, history))
    directory.write_json(run.path / "result.json", result)  # last: it marks the run as finished


def _buildable(config: RunConfig) -> str:
    """The student's name; where it started from another run's weights, that run's."""
    path = Path(config.student.model)
    if not networks.is_path(config.student.model):
        return config.student.model
    card = directory.read_card(path / "student.safetensors" if path.is_dir() else path)
    assert card is not None, "networks.student has read it"
    return str(card["model"])


def _text(value: Any) -> Any:
    """A setting as the config writes it; an object by what it is."""
    if isinstance(value, (Method, Path)):
        return str(value)
    if isinstance(value, nn.Module):
        return f"<{type(value).__name__}>"
    return f"<{value.name}>" if isinstance(value, Source) else value


def _check_handed_over(config: RunConfig, objects: Mapping[str, Any]) -> None:
    """Refuses a record of objects without the objects."""
    named = {"student": config.student.model, "data": config.data.name}
    named |= {"teacher": config.teacher.model} if config.teacher else {}
    for role, name in named.items():
        if name.startswith("<") and role not in objects:
            raise LimbeckError(
                f"the {role} {name} was handed over as an object; hand it over again, {role}=... in Python"
            )


def _check_takes(network: nn.Module, role: str, example: Inputs) -> None:
    """Refuses a network that cannot be called with the data."""
    with evaluation.inference(network):
        try:
            device = next((p.device for p in network.parameters()), torch.device("cpu"))
            call(network, apply(lambda tensor: tensor.to(device), example))
        except (RuntimeError, TypeError, IndexError) as error:
            shape = tuple(example.shape[1:]) if isinstance(example, torch.Tensor) else sorted(example)
            reason = str(error).strip().splitlines()[0]
            raise LimbeckError(f"the {role} cannot take inputs of shape {shape}: {reason}") from None
