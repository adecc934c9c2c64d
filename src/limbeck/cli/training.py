"""`limbeck train` and `limbeck distill`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from limbeck.cli import options
from limbeck.cli.terminal import out as terminal
from limbeck.errors import LimbeckError

if TYPE_CHECKING:
    from limbeck.runs import Run


def train(
    config: options.Config = None,
    model: options.Model = None,
    data: options.DataOrDigits = None,
    data_dir: options.DataDir = None,
    task: options.Task = None,
    objective: options.Objective = None,
    friendly_to: options.FriendlyTo = None,
    epochs: options.Epochs = None,
    max_steps: options.MaxSteps = None,
    early_stopping: options.EarlyStopping = None,
    batch_size: options.BatchSize = None,
    lr: options.LearningRate = None,
    ema: options.Ema = None,
    freeze: options.Freeze = None,
    layer_decay: options.LayerDecay = None,
    device: options.Device = None,
    precision: options.Precision = None,
    views: options.Views = None,
    compile: options.Compile = None,
    seed: options.Seed = None,
    settings: options.Settings = None,
    out: options.Out = None,
    save_every: options.SaveEvery = None,
    skip_bad_steps: options.SkipBadSteps = None,
    resume: options.ResumeRun = "no",
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
) -> None:
    """Trains one network on labels: a teacher, or a baseline."""
    from limbeck import doors
    from limbeck.cli import values

    given: dict[str, Any] = {
        "config": config,
        "model": model,
        "data": data,
        "data_dir": data_dir,
        "task": task,
        "objective": objective,
        "friendly_to": friendly_to,
        "epochs": epochs,
        "max_steps": max_steps,
        "early_stopping": early_stopping,
        "batch_size": batch_size,
        "lr": lr,
        "ema": ema,
        "freeze": freeze or None,
        "layer_decay": layer_decay,
        "device": device,
        "precision": precision,
        "views": views,
        "compile": values.compiling(compile),
        "seed": seed,
        "settings": values.settings(settings or []),
        "save_every": save_every,
        "skip_bad_steps": skip_bad_steps,
    }
    if dry_run:
        _plan(given, out, resume=resume, overwrite=overwrite, teaches=False)
        return
    _show(lambda: doors.train(**given, out=out, resume=values.resuming(resume, out), overwrite=overwrite))


def distill(
    config: options.Config = None,
    student: options.Student = None,
    teacher: options.Teachers = None,
    data: options.DataOrDigits = None,
    data_dir: options.DataDir = None,
    task: options.Task = None,
    objective: options.Objective = None,
    epochs: options.Epochs = None,
    max_steps: options.MaxSteps = None,
    early_stopping: options.EarlyStopping = None,
    batch_size: options.BatchSize = None,
    lr: options.LearningRate = None,
    ema: options.Ema = None,
    freeze: options.Freeze = None,
    layer_decay: options.LayerDecay = None,
    device: options.Device = None,
    precision: options.Precision = None,
    views: options.Views = None,
    cache_teacher: options.CacheTeacher = None,
    cache_budget: options.CacheBudget = None,
    compile: options.Compile = None,
    seed: options.Seed = None,
    settings: options.Settings = None,
    out: options.Out = None,
    save_every: options.SaveEvery = None,
    skip_bad_steps: options.SkipBadSteps = None,
    resume: options.ResumeRun = "no",
    overwrite: options.Overwrite = False,
    baseline: options.Baseline = None,
    dry_run: options.DryRun = False,
) -> None:
    """Trains a student with a teacher, or with several.

    The student is also trained alone, in as many steps, to compare with.
    """
    from limbeck import doors
    from limbeck.cli import values

    goes_on = values.resuming(resume, out)
    given: dict[str, Any] = {
        "config": config,
        "student": student,
        "teacher": values.teachers(teacher or []),
        "data": data,
        "data_dir": data_dir,
        "task": task,
        "objective": objective,
        "epochs": epochs,
        "max_steps": max_steps,
        "early_stopping": early_stopping,
        "batch_size": batch_size,
        "lr": lr,
        "ema": ema,
        "freeze": freeze or None,
        "layer_decay": layer_decay,
        "device": device,
        "precision": precision,
        "views": views,
        "cache_teacher": cache_teacher,
        "cache_budget": cache_budget,
        "compile": values.compiling(compile),
        "seed": seed,
        "settings": values.settings(settings or []),
        "save_every": save_every,
        "skip_bad_steps": skip_bad_steps,
    }
    if dry_run:
        _plan(given, out, resume=resume, overwrite=overwrite, baseline=baseline)
        return
    beside = "auto" if baseline is None and not goes_on else baseline
    _show(lambda: doors.distill(**given, out=out, resume=goes_on, overwrite=overwrite, baseline=beside))


def _show(run: Callable[[], Run]) -> None:
    """Does the run and prints what came out."""
    from limbeck.cli.show import outcome
    from limbeck.stopping import STOPPED, exit_code
    from limbeck.training.world import first_of_all

    try:
        done = run()
    except STOPPED as stopped:
        what = str(stopped) or "stopped by SIGINT"
        if first_of_all():
            typer.echo(f"limbeck: {what}; --resume or --resume auto with the run's --out goes on", err=True)
        raise typer.Exit(exit_code(stopped)) from None
    if first_of_all():
        terminal().print(outcome(done), soft_wrap=True)  # paths are to be copied


def _plan(
    given: Mapping[str, Any],
    out: Path | None,
    *,
    resume: str,
    overwrite: bool,
    teaches: bool = True,
    baseline: str | None = "none",
) -> None:
    """Prints what a run would do."""
    from limbeck.cli.dry_running import shown
    from limbeck.runs.arguments import RunArguments
    from limbeck.runs.dry_run import dry_run
    from limbeck.runs.run import named_for_train
    from limbeck.training.world import first_of_all

    if resume != "no":
        raise LimbeckError("--dry-run plans a new run; leave out --resume")
    arguments = RunArguments(**(given if teaches else named_for_train(given)))
    plan = dry_run(arguments, out, teaches=teaches, overwrite=overwrite)
    if first_of_all():
        alone = baseline in (None, "auto")
        terminal().print(shown(plan, alone=alone), soft_wrap=True)
