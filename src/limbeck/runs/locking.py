"""One process writes to a run directory at a time."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limbeck.errors import LimbeckError

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """A context in which no other process has the directory, which is made if it is missing.

    The system lifts the lock when the process ends, however it does; no file tells of it. A file system
    without locks goes without.

    Raises:
        LimbeckError: if another process has it, or it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LimbeckError(
            f"{str(path)!r} cannot be made: {error.strerror}; choose another out (--out)"
        ) from None
    if fcntl is None:
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            os.close(descriptor)
            raise LimbeckError(
                f"another process is writing to the run {str(path)!r} at this moment; wait for it, or choose "
                "another out (--out)"
            ) from None
    try:
        yield
    finally:
        os.close(descriptor)
