"""Errors that are the user's to mend: one sentence that names what is wrong and what would be right."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class LimbeckError(ValueError):
    """A mistake in what limbeck was given. The command line prints it and exits with `exit_code`."""

    exit_code = 2


def unknown(kind: str, name: str, known: Iterable[str]) -> LimbeckError:
    """The error for a name that is not in a table; names the nearest that is.

    Args:
        kind: what the name stands for, in the singular ("method", "model", "argument of kd").
        name: what was asked for.
        known: the names there are.
    """
    names = {each.casefold(): each for each in sorted(known)}
    near = get_close_matches(name.casefold(), names, n=1, cutoff=0.5)
    hint = (
        f"did you mean {names[near[0]]!r}?" if near else f"there are: {', '.join(names.values()) or 'none'}"
    )
    return LimbeckError(f"unknown {kind} {name!r}; {hint}")
