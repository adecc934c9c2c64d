"""What a training writes while it runs, and goes on from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from limbeck.errors import LimbeckError
from limbeck.training import checkpoints
from limbeck.training.history import History


class Records:
    """The history and the checkpoints. A training goes on without what cannot be written, and says so once.

    Args:
        directory: where they are; None keeps nothing.
        main: whether this process writes.
        note: a function that shows a sentence.

    Attributes:
        history: the lines of the epochs.
        newest: the checkpoint that was written last, or that the training went on from; None before.
        ready: called in the main process before anything is written; a LimbeckError of it says why nothing
            can be.
    """

    def __init__(self, directory: Path | None, *, main: bool, note: Callable[[str], object]) -> None:
        self.checkpoint = directory / "checkpoints" / "last.pt" if directory else None
        self.history = History(directory / "metrics.jsonl" if directory and main else None)
        self.newest: Path | None = None
        self.ready: Callable[[], None] = lambda: None
        self._main, self._note = main, note
        self._unwritten: set[str] = set()

    @property
    def saved(self) -> str:
        """What is saved, the second half of a sentence."""
        return f"the last checkpoint is {self.newest}" if self.newest else "nothing is saved yet"

    @property
    def last_good(self) -> str:
        """What a training that failed could go on from, a sentence."""
        if self.newest:
            return f"The last good checkpoint is {self.newest}."
        return "No checkpoint had been written yet."

    def write(self, write: Callable[[], object]) -> bool:
        """Has a file written, and tells whether it is."""
        try:
            if self._main:
                self.ready()
            write()
        except (LimbeckError, OSError) as error:
            if str(error) not in self._unwritten:
                self._unwritten.add(str(error))
                self._note(f"{error}; training goes on without it")
            return False
        return True

    def save(self, path: Path, state: Mapping[str, Any]) -> None:
        """Writes a checkpoint, after the lines of the history that it counts.

        Raises:
            LimbeckError: if it cannot be written.
        """
        with suppress(LimbeckError, OSError):  # which is said where a line is added
            self.history.flush()
        # A file that this training has neither written nor gone on from may be torn.
        keep = checkpoints.before(path) if self.newest == path else None
        checkpoints.save(path, {"lines": self.history.lines, **state}, keep)

    def read(self) -> dict[str, Any] | None:
        """The checkpoint that a training goes on from, if there is one.

        Raises:
            LimbeckError: for one that is damaged.
        """
        if not self.checkpoint or not checkpoints.there(self.checkpoint):
            return None
        state, note = checkpoints.load_last(self.checkpoint)
        if note is not None:
            self._note(note)
        self.newest = self.checkpoint if note is None else checkpoints.before(self.checkpoint)
        return state

    def rewind(self, lines: int) -> None:
        """Forgets all lines of the history but the first ones, which a checkpoint counts."""
        self.history.rewind(lines)
        if self._main and self.history.lines < lines:
            self._note(
                f"{str(self.history.path)!r} has {self.history.lines} of {lines} lines that were written; "
                "the others are lost, and are not in the figures of the whole run"
            )

    @contextmanager
    def of_this_module(self) -> Iterator[None]:
        """A context in which states of a checkpoint are taken; those of another module are refused."""
        try:
            yield
        except (RuntimeError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[-1].strip()
            raise LimbeckError(
                f"checkpoint {str(self.checkpoint)!r} is of another module: {reason}"
            ) from None
