"""`limbeck search-views`: the views to train a teacher or a student in."""

from __future__ import annotations

from typing import Annotated

import typer

from limbeck.cli import options, terminal
from limbeck.errors import LimbeckError
from limbeck.stopping import STOPPED, exit_code


def search_views(
    role: Annotated[
        str,
        typer.Option(help="teacher, which learns from labels alone; or student, which has one."),
    ],
    config: options.Config = None,
    model: options.Model = None,
    student: options.Student = None,
    teacher: options.Teachers = None,
    data: options.DataOrDigits = None,
    data_dir: options.DataDir = None,
    objective: options.Objective = None,
    epochs: Annotated[int | None, typer.Option(help="Number of epochs of a trial; 20 if left out.")] = None,
    every: Annotated[int, typer.Option(help="Epochs between two rounds.")] = 5,
    population: Annotated[int, typer.Option(help="Number of trials.")] = 4,
    batch_size: options.BatchSize = None,
    lr: options.LearningRate = None,
    seed: options.Seed = None,
    settings: options.Settings = None,
    out: Annotated[
        str | None, typer.Option(help="Directory; the next free one under runs/ if left out.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the search in --out.")] = False,
) -> None:
    """Searches for the views to train in.

    A population of trials is compared on validation.
    """
    from limbeck.cli import values
    from limbeck.studies.search_views import search_views as search

    if model is not None and student is not None:
        raise LimbeckError("--model and --student are both the network that is trained; give one")

    def note(text: str) -> None:
        terminal.out().print(text, soft_wrap=True)

    try:
        done = search(
            role,
            config,
            student=student if model is None else model,
            teacher=values.teachers(teacher or []),
            data=data,
            data_dir=data_dir,
            objective=objective,
            epochs=epochs,
            every=every,
            population=population,
            batch_size=batch_size,
            lr=lr,
            seed=seed,
            settings=values.settings(settings or []),
            out=out,
            resume=resume,
            note=note,
        )
    except STOPPED as stopped:
        typer.echo("limbeck: interrupted; --resume with the search's --out goes on", err=True)
        raise typer.Exit(exit_code(stopped)) from None
    note(f"the {role} trains with the policies that won by: {done.command}")
