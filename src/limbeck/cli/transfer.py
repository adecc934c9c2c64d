"""`limbeck transfer`: what a run's student is worth on other data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from limbeck.tasks import Metric

out = Console(highlight=False, markup=False)


def transfer(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.")],
    data: Annotated[str, typer.Option(help="The other data: a name of `limbeck data`, with arguments.")],
    data_dir: Annotated[Path | None, typer.Option(help="Where the data set's files are.")] = None,
    mode: Annotated[
        Literal["probe", "finetune", "both"],
        typer.Option(help="Train a linear classifier on the frozen embedding, or all weights under one."),
    ] = "both",
    also: Annotated[list[Path] | None, typer.Option(help="Another run to compare with.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Of each training; 120 for a probe, else 30.")] = None,
    lr: Annotated[
        list[float] | None, typer.Option(help="A learning rate to try; the best on validation is taken.")
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(help="Draw among so many views of each image; a probe then keeps their embeddings."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result.")] = False,
) -> None:
    """Trains new classifiers for other data on a run's student, its teacher and further runs."""
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
        out.print(_table(result))


def _table(result: Mapping[str, Any]) -> Table:
    """The networks by the primary metric of the other data's task."""
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
