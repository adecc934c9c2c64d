"""Tables as text: for the terminal, a page, a paper and a program."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markup import escape
from rich.table import Table as RichTable

from limbeck.report.table import Table, aligned
from limbeck.tasks.wording import Cell, show

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "\N{EN DASH}": "--",
    "*": r"$\ast$",
    **{letter: f"\\{letter}" for letter in "%&#_$"},
}
_SIGNED = re.compile(r"(?<![\w.])([+-])(?=\d)")


def rich_table(table: Table) -> RenderableType:
    """A table for the terminal; columns of names and values where that is too narrow for all columns."""
    return _Fitted(table)


class _Fitted:
    """A table in as many columns as no word has to be broken for."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self._table
        cells = [[show(cell) for cell in row] for row in table.rows]
        words = [
            max(len(word) for text in column for word in text.split(" "))
            for column in zip(table.columns, *cells, strict=True)
        ]
        spare = options.max_width - sum(words) - 3 * len(words) - 1
        fits = spare >= 0
        shown = RichTable(
            title=escape(table.caption),
            title_justify="left",
            caption=escape(table.notes),
            caption_justify="left",
            show_header=fits,
        )
        if not fits:
            shown.add_column(style="bold")
            shown.add_column(overflow="fold")
            for row in cells:
                for name, cell in zip(table.columns, row, strict=True):
                    shown.add_row(escape(name), escape(cell), end_section=name == table.columns[-1])
            yield shown
            return
        whole = [max(map(len, column)) for column in zip(table.columns, *cells, strict=True)]
        widths = list(words)
        for at in sorted(range(len(words)), key=lambda at: whole[at] - words[at]):  # most are whole then
            widths[at] += min(whole[at] - words[at], spare)
            spare -= widths[at] - words[at]
        for column, side, width in zip(table.columns, aligned(table), widths, strict=True):
            justify: Literal["left", "right"] = "right" if side == "number" else "left"
            shown.add_column(escape(column), justify=justify, width=width)
        for row in cells:
            shown.add_row(*map(escape, row))
        yield shown


def plain(table: Table) -> str:
    """The table as the terminal shows it, as wide as it needs to be."""
    file = io.StringIO()
    Console(file=file, width=240).print(rich_table(table))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def markdown(table: Table) -> str:
    """A table as GitHub's Markdown has it, with its notes below."""
    rule = ["---:" if side == "number" else "---" for side in aligned(table)]
    rows = [[_markdown(cell) for cell in row] for row in (table.columns, *table.rows)]
    lines = [f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:])]
    return "\n".join([*lines, *(["", _markdown(table.notes)] if table.notes else [])]) + "\n"


def latex(table: Table) -> str:
    """A table of LaTeX's package booktabs; its notes are a comment above."""
    sides = "".join("r" if side == "number" else "l" for side in aligned(table))
    rows = [" & ".join(map(_latex, row)) + r" \\" for row in (table.columns, *table.rows)]
    lines = [*(f"% {line}" for line in table.notes.splitlines()), rf"\begin{{tabular}}{{{sides}}}"]
    return (
        "\n".join([*lines, r"\toprule", rows[0], r"\midrule", *rows[1:], r"\bottomrule", r"\end{tabular}"])
        + "\n"
    )


def csv_text(records: Sequence[Mapping[str, Cell]]) -> str:
    """Records, at least one, as comma-separated values under their names; numbers are not rounded."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _harmless(cell) for name, cell in record.items()} for record in records)
    return file.getvalue()


def _harmless(cell: Cell) -> Cell:
    """A text that a spreadsheet would take for a formula, as a text."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def _markdown(cell: Cell) -> str:
    return re.sub(r"([\\`*_<>|\[\]])", r"\\\1", show(cell))


def _latex(cell: Cell) -> str:
    escaped = "".join(_LATEX.get(letter, letter) for letter in show(cell))
    return _SIGNED.sub(r"$\1$", escaped)
