"""`limbeck transfer`: a run's student on other data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from limbeck.cli import options
from limbeck.cli.terminal import out

if TYPE_CHECKING:
    from rich.table import Table

    from limbeck.tasks import Metric


def transfer(
    run: options.RunPath,
    data: Annotated[
        str, typer.Option(help="Other data: a name from `limbeck data`, with arguments if it has any.")
    ],
    data_dir: options.DataDir = None,
    mode: Annotated[
        Literal["probe", "finetune", "both"],
        typer.Option(
            help="probe trains a linear classifier on the frozen embedding, finetune all weights with it."
        ),
    ] = "both",
    also: Annotated[
        list[Path] | None, typer.Option(help="Another run to compare with; may be repeated.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of each training; if left out, 120 for a probe and 30 else.")
    ] = None,
    lr: Annotated[
        list[float] | None,
        typer.Option(help="Learning rate to try; may be repeated: the best on validation is taken."),
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(
            help="Views of each sample to draw among, whose embeddings a probe keeps; all if left out."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result.")] = False,
) -> None:
    """Trains new classifiers for other data on a run's student.

    The teacher and other runs get the same.
    """
    from limbeck.doors import transfer as transfer_run

    results = transfer_run(
        run,
        data,
        data_dir,
        modes=("probe", "finetune") if mode == "both" else (mode,),
        also=also or (),
        epochs=epochs,
        rates=lr or (),
        views=views,
        seed=seed,
        overwrite=overwrite,
    )
    for result in results:
        out().print(_table(result))


def _table(result: Mapping[str, Any]) -> Table:
    """The networks with the primary metric of the other data's task."""
    from rich.table import Table

    from limbeck import tasks
    from limbeck.tasks.wording import axis

    metric, setup = tasks.from_record(result["task"]).primary, result["setup"]
    title = f"{result['mode']} on {result['data']['name']}, {setup['epochs']} epochs, seed {setup['seed']}"
    table = Table("", title=title, title_style="bold", title_justify="left", caption=axis(metric))
    table.add_column("network", overflow="fold")
    for column in ("lr", "validation", "test", "95 % interval"):
        table.add_column(column, justify="right", no_wrap=True)
    for found in result["networks"]:
        lr, test = str(found["lr"]), found["test"]
        table.add_row(
            found["run"] if found["role"] == "also" else found["role"],
            found["model"],
            lr,
            _shown(metric, found["validation"].get(lr)),
            _shown(metric, test),
            _interval(metric, test),
        )
    return table


def _shown(metric: Metric, measured: Mapping[str, float] | None) -> str:
    from limbeck.tasks.wording import told

    return "-" if measured is None else told(metric, measured["value"], percent=2)


def _interval(metric: Metric, measured: Mapping[str, float | None] | None) -> str:
    from limbeck.tasks.wording import span

    if measured is None or measured["low"] is None or measured["high"] is None:
        return "-"
    return f"{span(metric, measured['low'], measured['high'])} {metric.unit}".rstrip()
