"""The main job: data, teacher, student and objective in; a run directory out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import nn

from limbeck.config import FLAGS, RunConfig, make_config
from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.methods import Method
from limbeck.runs import directory, networks
from limbeck.runs.directory import Report, Run
from limbeck.runs.finish import conclude
from limbeck.runs.job import loops, prepare
from limbeck.training import Trainer


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
    views: int | None = None,
    cache_teacher: str | None = None,
    compile: bool | Literal["auto"] | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    display: bool = True,
    report: Report | None = None,
) -> Run:
    """Distills a student, from data to a run directory; what `limbeck distill` does.

    Args:
        config: a YAML file with the fields of `RunConfig`, or one ready made; what follows overrides it.
        student: a network's name, checkpoint or factory; or a network, which is trained in place.
        teacher: a run, its directory, or any of what a student may be.
        data: a data set's name, or a source made by `limbeck.data.from_tensors` or `from_dataset`.
        data_dir: where the data set's files are.
        objective: what is minimized, in the notation or as a method.
        epochs, batch_size, lr, seed: of the training.
        views: of each sample, how many of the policy's views are drawn among; the fewer, the sooner a cached
            teacher knows them all.
        cache_teacher: "logits", "embedding" or "both": what of the teacher's answers is kept in files, and
            read back by this run and all others.
        compile: whether the networks run compiled; "auto" finds out whether that saves time.
        settings: any value of the config by dotted key, `{"training.clip": 1.0}`.
        out: the run directory; the next free one under `runs/` if None.
        resume: go on with the run in `out`.
        overwrite: replace the run in `out`.
        display: whether to show progress.
        report: a function that writes the run's page, as `limbeck.distill` gives one by default; no page is
            written if None.
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
        "views": views,
        "cache_teacher": cache_teacher,
        "compile": compile,
        "seed": seed,
    }
    path = _directory(out, "distill", resume=resume, overwrite=overwrite)
    made, objects = _settle(config, given, settings or {}, path, resume=resume)
    if not made.taught_by and made.objective in (None, "ce"):
        raise LimbeckError("distill needs a teacher (--teacher); to learn from labels alone, use train")
    return _run(made, path, objects, resume=resume, display=display, report=report)


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
    views: int | None = None,
    compile: bool | Literal["auto"] | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    display: bool = True,
    report: Report | None = None,
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
        "views": views,
        "compile": compile,
        "seed": seed,
    }
    path = _directory(out, "train", resume=resume, overwrite=overwrite)
    made, objects = _settle(config, given, settings or {}, path, resume=resume)
    if made.taught_by:
        raise LimbeckError("train learns from labels alone; to learn from a teacher, use distill")
    return _run(made, path, objects, resume=resume, display=display, report=report)


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
    for role, network in {"student": made.student, **made.taught_by}.items():
        read = [Path(network.model)] if networks.is_path(network.model) else []
        read += [] if network.weights is None else [network.weights]
        if any(place.resolve().is_relative_to(path.resolve()) for place in read):
            raise LimbeckError(
                f"the {role} is in {str(path)!r}, which the run would replace; choose another --out"
            )
    objects = {
        "student" if name == "model" else name: value
        for name, value in given.items()
        if isinstance(value, (nn.Module, Source))
    }
    return made, objects


def _run(
    config: RunConfig,
    path: Path,
    objects: Mapping[str, Any],
    *,
    resume: bool,
    display: bool,
    report: Report | None,
) -> Run:
    run = Run(path)
    if resume and run.finished:
        return run
    job = prepare(config, objects)
    known = run.environment.get("teachers", {}) if resume else {}
    for name, weights in job.teacher_weights.items():
        if known.get(name, weights) != weights:
            raise LimbeckError(
                f"the weights of the teacher {'' if name == 'teacher' else f'{name!r} '}have changed "
                f"since the run in {str(path)!r} began; put the old ones back, or start another run"
            )
    setup = config.training
    precision = setup.precision
    if resume and precision == "auto":
        precision = run.environment.get("precision", "auto")  # old ones lack it
    trainer = Trainer(
        device=setup.device,
        precision=precision,
        memory_format=setup.memory_format,
        compile=setup.compile,
        accumulation=setup.accumulation,
        clip=setup.clip,
        seed=config.seed,
        directory=path,
        checkpoint_every=setup.checkpoint_every,
        trackers=setup.trackers,
        display=display,
    )
    to_do = loops(job, trainer)
    if trainer.main:
        if resume:
            directory.sweep(path)
        else:
            directory.claim(path, job.config, precision=trainer.precision, teachers=dict(job.teacher_weights))
    trainer.accelerator.wait_for_everyone()
    trainer.fit(job.distiller, to_do, resume=resume)
    if trainer.main:
        conclude(run, job, trainer, objects, report)
    trainer.accelerator.wait_for_everyone()
    return run


def _text(value: Any) -> Any:
    """A setting as the config writes it; an object by what it is."""
    if isinstance(value, (Method, Path)):
        return str(value)
    if isinstance(value, nn.Module):
        return f"<{type(value).__name__}>"
    return f"<{value.name}>" if isinstance(value, Source) else value
