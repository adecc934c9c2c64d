"""Which of accelerate's trackers can be had."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType

from limbeck.errors import LimbeckError, unknown


def check_trackers(names: Sequence[str], directory: Path | None) -> None:
    """Refuses trackers that accelerate would leave out without a word."""
    known = [tracker.value for tracker in LoggerType if tracker is not LoggerType.ALL]
    installed = [tracker.value for tracker in get_available_trackers()]
    for name in names:
        if name not in known:
            raise unknown("tracker", name, known)
        if name not in installed:
            raise LimbeckError(f"the tracker {name!r} is not installed here; leave it out of the trackers")
    if names and directory is None:
        raise LimbeckError("trackers write below the run's directory; give Trainer(directory=...)")
