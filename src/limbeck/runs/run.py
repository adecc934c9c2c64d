"""The main job: data, teacher, student and objective in; a run directory out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import nn

from limbeck.config import RunConfig
from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.methods import Method
from limbeck.methods.sftn import friendly_to as friendly
from limbeck.models.factory import names_factory, trust
from limbeck.runs import directory
from limbeck.runs.arguments import RunArguments, TeacherLike, check_taught
from limbeck.runs.beside import BaselineLike, Beside, wanted
from limbeck.runs.directory import OverSeeds, Report, Resume, Run
from limbeck.runs.loops import Watch
from limbeck.runs.making import Making
from limbeck.runs.network_names import called, is_path, read_by
from limbeck.training import DivergenceError


def distill(
    config: Path | str | RunConfig | None = None,
    *,
    student: str | nn.Module | None = None,
    teacher: TeacherLike | Mapping[str, TeacherLike] | None = None,
    data: str | Source | None = None,
    data_dir: Path | str | None = None,
    task: str | None = None,
    objective: str | Method | None = None,
    epochs: int | None = None,
    max_steps: int | None = None,
    early_stopping: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    ema: float | None = None,
    freeze: Sequence[str] | None = None,
    layer_decay: float | None = None,
    device: str | None = None,
    precision: str | None = None,
    views: int | None = None,
    cache_teacher: str | None = None,
    cache_budget: str | None = None,
    compile: bool | Literal["auto"] | None = None,
    seed: int | None = None,
    save_every: int | str | None = None,
    skip_bad_steps: int | None = None,
    settings: Mapping[str, Any] | None = None,
    out: Path | str | None = None,
    resume: Resume = False,
    overwrite: bool = False,
    display: bool = True,
    baseline: BaselineLike | None = None,
    report: Report | None = None,
    over_seeds: OverSeeds | None = None,
    watch: Watch | None = None,
) -> Run:
    """Distills a student, from data to a run directory; what `limbeck distill` does.

    Args:
        config: YAML file with the fields of `RunConfig`, or a config; every other argument overrides it.
        student: name of a network, checkpoint or factory; or a network, which is trained in place.
        teacher: run, its directory, or whatever a student may be; `ensemble("runs/a", "runs/b")` for several
            as one, `checkpoints("runs/a")` for one that grows with its student, `answers.jsonl` (or .csv,
            .parquet) for answers about training samples. A mapping of two teachers or more by name is for
            objectives that name their teachers.
        data: name of a data set, or a source made by `limbeck.data.from_tensors` or `from_dataset`.
        data_dir: directory of the data set's files.
        task: what the data is for, where its text does not say; for "language", `data` may be a file.
        objective: what is minimized, in the notation or as a method; the recipe of the data's task if None.
        epochs: number of epochs.
        max_steps: optimizer steps after which training ends, where that is before its last epoch does.
        early_stopping: number of epochs without an improvement on the validation split after which training
            ends.
        batch_size: samples per optimizer step.
        lr: learning rate.
        ema: decay of an average of the student's weights by step, which is what is then measured and kept.
        freeze: names of the student's parameters that stay as they are, such as "layer1.*".
        layer_decay: factor on the learning rate for every stage that a parameter is below the head.
        device: "auto", "cpu", "cuda", or "cuda:1" for one of several.
        precision: "auto", "fp32", "bf16", or "fp16" on CUDA.
        views: number of the policy's views of each sample to draw among; the fewer, the sooner a cached
            teacher has answered all of them.
        cache_teacher: outputs of the teacher that are kept in files and read back by this run and all
            others: "logits", "embedding", "both", or "all" for whatever the objective reads, maps too. With
            several teachers it holds for each.
        cache_budget: most that the files of each teacher's cache may take of the disk, such as "20GB"; what
            finds no room is asked live, which a sentence says.
        compile: whether the networks run compiled; "auto" compiles them if that saves time.
        seed: random seed.
        save_every: steps (500) or time ("10min") between checkpoints within an epoch.
        skip_bad_steps: how many steps with a loss that is NaN or infinite are passed over; 0 if left out.
        settings: any values of the config by dotted key, `{"training.clip": 1.0}`.
        out: run directory; the next free one under `runs/` if None.
        resume: continues the run in `out`; "auto" does so where one has been begun, and begins one elsewhere.
        overwrite: replaces the run in `out`.
        display: whether to show progress.
        baseline: what the student is shown beside. "auto" is the same student trained by the task's own
            objective in as many steps: a finished run in the same directory with the same settings, or else
            a run that is made in `OUT-alone`. A run of the student alone is taken as it is; "none" and None
            are nothing, and for a run that is resumed None is what it began with.
        report: a function that writes the run's page, as `limbeck.distill` gives one by default; no page is
            written if None.
        over_seeds: a function by which the difference to the student alone rests on the runs of other seeds
            too, as `limbeck.distill` gives one by default; on the run's own seed if None.
        watch: a function that is told after each epoch of the student's training how many are over, and the
            figures of the validation split by metric. What it raises ends the run, which may be resumed.
            It is told of runs in one process alone.
    Raises:
        LimbeckError: for arguments that do not make a run, and a baseline with other settings; no file is
            written then.
        DivergenceError: when a loss turns NaN or infinite.
    """
    arguments = RunArguments(
        config=config,
        student=student,
        teacher=teacher,
        data=data,
        data_dir=data_dir,
        task=task,
        objective=objective,
        epochs=epochs,
        max_steps=max_steps,
        early_stopping=early_stopping,
        batch_size=batch_size,
        lr=lr,
        ema=ema,
        freeze=freeze,
        layer_decay=layer_decay,
        device=device,
        precision=precision,
        views=views,
        cache_teacher=cache_teacher,
        cache_budget=cache_budget,
        compile=compile,
        seed=seed,
        save_every=save_every,
        skip_bad_steps=skip_bad_steps,
        settings=settings or {},
    )
    resume = directory.goes_on(out, resume)
    path = _directory(out, "distill", resume=resume, overwrite=overwrite)
    made = _settle(arguments, path, resume=resume)
    check_taught(made, teaches=True)
    asked, objects = wanted(baseline, Run(path), resume=resume), arguments.objects
    beside = None if asked is None else Beside(asked, Run(path), objects, resume=resume, overwrite=overwrite)
    making = partial(Making, display=display, report=report)
    run = making(made, path, objects, resume=resume, overwrite=overwrite).run(beside, watch)
    if beside is None:
        return run
    if beside.missing:
        beside.add(beside.missing, report)
    if (place := beside.place) is None:
        return run
    other: Run | str = place.run
    if not place.there:
        config, given = beside.to_train()
        alone = making(config, place.run.path, given, resume=place.resume, overwrite=place.overwrite)
        try:
            alone.run()
        except DivergenceError as error:
            other = f"The student alone has no figures: {error}"
    beside.add(other, report, over_seeds)
    return run


def train(
    config: Path | str | RunConfig | None = None,
    *,
    model: str | nn.Module | None = None,
    data: str | Source | None = None,
    data_dir: Path | str | None = None,
    task: str | None = None,
    objective: str | Method | None = None,
    friendly_to: str | None = None,
    epochs: int | None = None,
    max_steps: int | None = None,
    early_stopping: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    ema: float | None = None,
    freeze: Sequence[str] | None = None,
    layer_decay: float | None = None,
    device: str | None = None,
    precision: str | None = None,
    views: int | None = None,
    compile: bool | Literal["auto"] | None = None,
    seed: int | None = None,
    save_every: int | str | None = None,
    skip_bad_steps: int | None = None,
    settings: Mapping[str, Any] | None = None,
    out: Path | str | None = None,
    resume: Resume = False,
    overwrite: bool = False,
    display: bool = True,
    report: Report | None = None,
    watch: Watch | None = None,
) -> Run:
    """Trains one network on labels alone, to make a teacher or a baseline; what `limbeck train` does.

    Args:
        model: network to train, given as a student is in `distill`, where the other arguments are explained.
        friendly_to: name of a student that the network shall be a good teacher for; short for the objective
            `ce + sftn(student="...")`, which is then not given besides.
    """
    objective = _friendly(friendly_to, objective, settings)
    arguments = RunArguments(
        config=config,
        student=model,
        data=data,
        data_dir=data_dir,
        task=task,
        objective=objective,
        epochs=epochs,
        max_steps=max_steps,
        early_stopping=early_stopping,
        batch_size=batch_size,
        lr=lr,
        ema=ema,
        freeze=freeze,
        layer_decay=layer_decay,
        device=device,
        precision=precision,
        views=views,
        compile=compile,
        seed=seed,
        save_every=save_every,
        skip_bad_steps=skip_bad_steps,
        settings=settings or {},
    )
    resume = directory.goes_on(out, resume)
    path = _directory(out, "train", resume=resume, overwrite=overwrite)
    made = _settle(arguments, path, resume=resume)
    check_taught(made, teaches=False)
    making = Making(
        made,
        path,
        arguments.objects,
        resume=resume,
        overwrite=overwrite,
        display=display,
        report=report,
    )
    return making.run(watch=watch)


def named_for_train(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `train` by the names that `RunArguments` has for them."""
    left = {name: value for name, value in given.items() if name not in ("model", "friendly_to")}
    objective = _friendly(given.get("friendly_to"), given.get("objective"), given.get("settings"))
    return {**left, "student": given.get("model"), "objective": objective}


def _friendly(
    student: str | None, objective: str | Method | None, settings: Mapping[str, Any] | None
) -> str | Method | None:
    """The objective of `train`, which may be named by the student that it is to be a good teacher for."""
    if student is None:
        return objective
    if objective is not None or "objective" in (settings or {}):
        raise LimbeckError(
            f"friendly_to (--friendly-to) stands for the objective {friendly(student)!r}, and another is "
            "given; give one that has both, without friendly_to"
        )
    return friendly(student)


def _directory(out: Path | str | None, prefix: str, *, resume: bool, overwrite: bool) -> Path:
    if resume and out is None:
        raise LimbeckError("resume=True (--resume) needs the directory of the run, out (--out)")
    path = Path(out) if out is not None else directory.free_directory(prefix)
    directory.check_claim(path, resume=resume, overwrite=overwrite)
    return path


def _settle(arguments: RunArguments, path: Path, *, resume: bool) -> RunConfig:
    """The config of the run in `path`, whose own files a new run does not read: it would replace them."""
    made = arguments.made(path / "config.yaml" if resume else None)
    if resume:
        directory.changed_settings(path, made)
        for model in (value for key, value in arguments.values.items() if key.endswith(".model")):
            if names_factory(model):
                trust(model)
    for role, network in {"student": made.student, **made.taught_by}.items():
        read = [Path(model) for model in read_by(network) if is_path(model)]
        read += [] if network.weights is None else [network.weights]
        if any(place.resolve().is_relative_to(path.resolve()) for place in read):
            raise LimbeckError(
                f"{called(role)} is in {str(path)!r}, which the run would replace; choose another out (--out)"
            )
    return made
