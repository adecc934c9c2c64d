"""Where commands print; rich is imported by the first that does, so that `--help` does not wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@cache
def out() -> Console:
    """Standard output: what was asked for. Text is printed as it is."""
    from rich.console import Console

    return Console(highlight=False, markup=False)


@cache
def err() -> Console:
    """Standard error: progress, and remarks on what was asked for."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False)


@contextmanager
def waiting(console: Console, text: str) -> Iterator[Callable[[str], None]]:
    """A context in which a terminal shows what is waited for; nothing is written elsewhere.

    Yields: what changes the text.
    """
    if not console.is_terminal:  # older versions of rich would write an empty line
        yield lambda text: None
        return
    with console.status(text) as status:
        yield lambda text: status.update(text)
