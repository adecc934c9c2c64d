"""`limbeck data`: the data sets, and pictures of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from limbeck.cli import options
from limbeck.cli.terminal import out


class _CommandOrName(TyperGroup):
    """Reads a word that is no command as a data set: `limbeck data digits` is `limbeck data show digits`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, args if args[0] in self.commands else ["show", *args])


app = typer.Typer(cls=_CommandOrName, invoke_without_command=True, subcommand_metavar="[NAME | preview NAME]")


@app.callback()
def table(context: typer.Context) -> None:
    """Lists the data sets, or shows one."""
    from limbeck.cli.catalog import data_table

    if context.invoked_subcommand is None:
        out().print(data_table())


@app.command(hidden=True)
def show(name: Annotated[str, typer.Argument(help="Data set.")]) -> None:
    """Shows a data set with its arguments."""
    from limbeck.cli.catalog import data_details

    out().print(data_details(name))


@app.command()
def preview(
    name: Annotated[
        str, typer.Argument(help="Data set of images, with arguments if it has any: digits(labeled=100).")
    ],
    classes: Annotated[
        int | None, typer.Option(help="Number of classes, for a data set that takes it as an argument.")
    ] = None,
    data_dir: options.DataDir = None,
    count: Annotated[int, typer.Option(min=1, help="Number of images of each class.")] = 5,
    seed: Annotated[int, typer.Option(help="Random seed of the draw.")] = 0,
    out_file: Annotated[Path, typer.Option("--out", help="PNG file to write.")] = Path("sheet.png"),
) -> None:
    """Draws a contact sheet: training images of every class."""
    from limbeck import data
    from limbeck.data.preview import contact_sheet, unlettered, write_png
    from limbeck.errors import listed

    source = data.load(name, data_dir, None, **({} if classes is None else {"classes": classes}))
    write_png(contact_sheet(source, count, seed), out_file)
    out().print(f"{source.name}: {source.task.width} classes, {len(source.train):,} training images")
    if lacking := unlettered(source.task.names):
        said = f"no font of this machine has the letters of {listed(lacking)}; the sheet has their numbers"
        out().print(said, soft_wrap=True)
    out().print(out_file, soft_wrap=True)
