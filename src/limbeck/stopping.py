"""SIGINT and SIGTERM: a command stops, and a training saves before what it has."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_THEIRS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
"""The handlers in whose place a training puts its own; one that somebody else has set stays."""


class Interrupted(KeyboardInterrupt):
    """SIGINT, such as by Ctrl-C; the text says what is saved."""


class Terminated(SystemExit):
    """SIGTERM, such as by a machine that is taken away; the text says what is saved."""

    def __init__(self, text: str) -> None:
        super().__init__(128 + signal.SIGTERM)
        self.text = text

    def __str__(self) -> str:
        return self.text


STOPPED = (KeyboardInterrupt, Terminated)
"""What is raised for the two signals."""


def exit_code(stopped: BaseException) -> int:
    """What a process that one of `STOPPED` has ended exits with."""
    return 128 + (signal.SIGTERM if isinstance(stopped, Terminated) else signal.SIGINT)


class Stopping:
    """What a signal does. A second one ends the process at once.

    Attributes:
        asked: the signal that has come; 0 before one has.
        patient: whether a signal waits until somebody looks at `asked`; otherwise it is raised at once.
        saved: what is saved, the second half of a sentence.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.patient = False
        self.saved = "nothing is saved yet"

    def __call__(self, number: int, frame: Any) -> None:
        """Is called by Python with the number of a signal."""
        if self.asked:
            if sys.stderr.isatty():
                os.write(2, b"\x1b[?25h")  # a progress bar hides the cursor
            os._exit(128 + number)
        self.asked = number
        if not self.patient:
            raise stop(number, self.saved)


def stop(number: int, saved: str) -> Interrupted | Terminated:
    """What is raised for a signal.

    Args:
        number: the signal.
        saved: what is saved, the second half of a sentence.
    """
    kind = Terminated if number == signal.SIGTERM else Interrupted
    return kind(f"stopped by {signal.Signals(number).name}; {saved}")


_current: Stopping | None = None


@contextmanager
def stoppable() -> Iterator[Stopping]:
    """A context in which signals stop a training; inside another it is that one's.

    Signals are left as they are outside of the main thread, and where somebody else handles them.
    """
    global _current
    if _current is not None:
        yield _current
        return
    stopping = Stopping()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    before = {number: signal.getsignal(number) for number in _THEIRS}
    ours = [number for number, handler in before.items() if handler is _THEIRS[number]]
    for number in ours:
        signal.signal(number, stopping)
    _current = stopping
    try:
        yield stopping
    finally:
        _current = None
        for number in ours:
            signal.signal(number, before[number])
