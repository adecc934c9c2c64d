"""One process writes to a run directory at a time."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from limbeck.errors import LimbeckError

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
"""The file in a run directory that a process has locked while it writes there."""


class Lock:
    """The right of one process to write to a run directory.

    The system lifts the lock when the process ends, however it does. A file system without locks goes
    without.

    Args:
        path: the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: int | None = None

    def take(self) -> None:
        """Makes the directory if it is missing, and takes the lock.

        Raises:
            LimbeckError: if another process has it, or nothing can be written there.
        """
        self.give_back()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            while not self.held:  # whoever had the lock before may be removing its file at this moment
                self.give_back()
                # Opened to be written, as a lock on NFS needs it.
                self._open = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
                if fcntl is not None:
                    fcntl.flock(self._open, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                return
            another = self._open is not None and error.errno in (errno.EWOULDBLOCK, errno.EACCES)
            self._close()
            if another:
                raise LimbeckError(
                    f"another process is writing to the run {str(self.path)!r} at this moment; wait for it, "
                    "or choose another out (--out)"
                ) from None
            raise LimbeckError(
                f"{str(self.path)!r} cannot be written to: {error.strerror}; choose another out (--out)"
            ) from None

    @property
    def held(self) -> bool:
        """Whether this process has the lock; not any more where somebody has removed the directory."""
        if self._open is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._open), os.stat(self.path / LOCK))
        except OSError:
            return False

    def give_back(self) -> None:
        """Gives the lock back, if this process has it, and removes its file."""
        if self.held:
            with suppress(OSError):
                (self.path / LOCK).unlink()
        self._close()

    def _close(self) -> None:
        if self._open is not None:
            os.close(self._open)
            self._open = None
