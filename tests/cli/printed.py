"""What the commands print, as text."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType


def shown(renderable: RenderableType, width: int = 100) -> str:
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(renderable)
    return file.getvalue()


def lines(renderable: RenderableType, width: int = 100) -> list[str]:
    return [line.rstrip() for line in shown(renderable, width).splitlines()]


def rows_of(text: str) -> list[list[str]]:
    """The cells of a table's rows, a line of a wrapped row counting as one."""
    return [
        [cell.strip() for cell in line[1:-1].split("│")] for line in text.splitlines() if line.startswith("│")
    ]


def first_cells(text: str) -> list[str]:
    return [row[0] for row in rows_of(text) if row[0]]
