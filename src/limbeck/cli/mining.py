"""`limbeck mine`: hard negatives for retrieval."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from limbeck.cli import options
from limbeck.cli.terminal import out


def mine(
    model: Annotated[str, typer.Argument(help="Run directory, or a network with weights, hf:FOLDER.")],
    data: Annotated[str, typer.Option(help="Data set for retrieval, with arguments: retrieval(path=...).")],
    out_file: Annotated[Path, typer.Option("--out", help="File to write, a TREC run.")],
    data_dir: options.DataDir = None,
    depth: Annotated[int, typer.Option(help="Documents that are kept for each query.")] = 100,
    skip: Annotated[
        int, typer.Option(help="First documents that are left out, as they may be relevant.")
    ] = 0,
    below: Annotated[
        float | None,
        typer.Option(help="Share of the relevant document's score that a negative's may have at most."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Writes hard negatives for the training queries.

    They are the documents that an encoder ranks highest of those that are not relevant.
    """
    from limbeck.runs.mining import mine as write_negatives

    count = write_negatives(
        model, data, out_file, data_dir, depth=depth, skip=skip, below=below, overwrite=overwrite
    )
    out().print(f"negatives of {count:,} training queries", soft_wrap=True)
    out().print(out_file, soft_wrap=True)
