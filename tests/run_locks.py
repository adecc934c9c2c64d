"""The lock of a run directory, for as long as a block lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limbeck.runs.locking import Lock


@contextmanager
def locked(path: Path) -> Iterator[Lock]:
    """A context in which no other process has the directory."""
    lock = Lock(path)
    lock.take()
    try:
        yield lock
    finally:
        lock.give_back()
