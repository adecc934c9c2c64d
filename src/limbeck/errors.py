"""Errors that are the user's to mend: one sentence that names what is wrong and what would be right."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

SHOWN = 5
"""How many names a message lists."""

_HERE = os.path.join(Path(__file__).parent, "")


class LimbeckError(ValueError):
    """A mistake in what limbeck was given. The command line prints it and exits with `exit_code`."""

    exit_code = 2


class FirstFailedError(LimbeckError):
    """What the other processes of a run raise when the first one fails at what it does alone.

    The first process raises the error itself, so the command line prints nothing for this one.

    Args:
        exit_code: exit code of the first process.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__("the first process has failed at what it does alone; its own error says why")
        self.exit_code = exit_code


def unknown(kind: str, name: str, known: Iterable[str]) -> LimbeckError:
    """The error for a name that is not in a table; names the nearest that is.

    Args:
        kind: what the name stands for, in the singular ("method", "model", "argument of kd").
        name: what was asked for.
        known: the names there are.
    """
    names = sorted(known)
    near = nearest(name, names)
    hint = f"there are: {', '.join(names) or 'none'}" if near is None else f"did you mean {near!r}?"
    return LimbeckError(f"unknown {kind} {name!r}; {hint}")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The name that may have been meant: one that begins so, or is written alike; None if there is none."""
    names = {each.casefold(): each for each in sorted(known)}
    begin = [each for each in names if len(name) > 2 and each.startswith(name.casefold())]
    near = begin or get_close_matches(name.casefold(), names, n=1, cutoff=0.6 if len(name) > 2 else 0.5)
    return names[near[0]] if near else None


def listed(names: Sequence[str]) -> str:
    """Some names for a message: 'a', 'b' and 7 more."""
    shown = ", ".join(map(repr, names[:SHOWN]))
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"


def told(error: BaseException) -> str:
    """What code that is not limbeck's raised, in one line: "width must be even (ValueError at nets.py:21)".

    Args:
        error: what was raised. The place is the innermost line in the user's own code, which is neither
            limbeck's nor that of an installed package; it is left out where there is none.
    """
    import sysconfig  # here, because `import limbeck.losses` loads nothing beside torch

    libraries = (sysconfig.get_path(each) for each in ("stdlib", "platstdlib", "purelib", "platlib"))
    foreign = ("<", _HERE, *(os.path.join(each, "") for each in libraries))
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kind = type(error).__name__
    own = [
        f"{_relative(frame.filename)}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(foreign)
    ]
    where = f"{kind} at {own[-1]}" if own else kind
    return f"{lines[0]} ({where})" if lines else where


def _relative(file: str) -> str:
    """A file as seen from the working directory, if it is below that."""
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else file
