"""README.md of the studies, from the figures of their finished cells."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from limbeck.report.formats import markdown
from limbeck.report.study_tables import all_tables
from limbeck.studies.cells import cells_of
from limbeck.studies.outcome import groups
from limbeck.studies.records import Records
from limbeck.studies.study import read_study

LEAD = (
    "Printed by `make bench-studies`, that is `python -m benchmarks.studies.run`, from the files of figures "
    "here, which hold every finished cell. `limbeck study table` prints the same tables."
)


def readme(names: Sequence[str], folder: Path) -> str:
    """The tables of each study that has a finished cell, as Markdown."""
    machine = f"Machine: {platform.machine()}, {torch.get_num_threads()} thread, torch {torch.__version__}."
    return "\n".join(["# Studies", "", LEAD, "", machine, "", *_parts(names, folder)])


def _parts(names: Sequence[str], folder: Path) -> Iterable[str]:
    for name in names:
        study, records = read_study(folder / f"{name}.yaml"), Records(folder / f"{name}.json").read()
        cells = cells_of(study, Path("runs/studies") / name)
        finished = sum(cell.key in records for cell in cells.all)
        yield f"## {name}\n\n{study.question} {finished} of {len(cells.all)} cells are finished.\n"
        if any(cell.key in records for cell in cells.students):
            for table in all_tables(study, groups(study, cells, records, partial=True)):
                yield f"### {table.caption}\n\n{markdown(table)}"
        yield (
            "Objectives: "
            + ", ".join(f"{each} `{entry.objective}`" for each, entry in study.objectives.items())
            + ".\n"
        )
