"""A checkpoint: everything needed to go on as if nothing had happened, in one file, written atomically.

Beside the newest one, `last.pt`, lies the one before it, `previous.pt`, for the case that the newest is torn.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

from limbeck.errors import LimbeckError
from limbeck.files import replacing
from limbeck.models.weights import read_checkpoint, write_checkpoint

FORMAT = 4
READABLE = (3, FORMAT)
"""3 knows no epochs that are broken off."""

CONTENT: dict[str, tuple[type, ...]] = {
    "root": (dict,),
    "lines": (int,),
    "choices": (dict,),
    "loop": (int,),
    "optimizer": (dict, type(None)),
}
"""What every checkpoint holds: the state of the module, how many lines the history had, what "auto" came to,
the number of the loop, and its optimizer's state, None between two loops."""


def before(path: Path) -> Path:
    """Where the checkpoint lies that was the newest one before this."""
    return path.with_name("previous.pt")


def there(path: Path) -> bool:
    """Whether there is a checkpoint to go on from."""
    return path.exists() or before(path).exists()


def save(path: Path, state: dict[str, Any], keep: Path | None = None) -> None:
    """Writes tensors, numbers, strings and containers of them.

    Args:
        path: where to. A crash leaves the old file or the new one; with `keep`, under one of the two names.
        state: what is written.
        keep: where the old file goes, which must be known to be whole; it is replaced if None.
    Raises:
        LimbeckError: if it cannot be written; what was there is there still.
    """
    with replacing(path, keep) as partial:
        write_checkpoint({"format": FORMAT, **state}, partial)


def load_last(path: Path) -> tuple[dict[str, Any], str | None]:
    """The newest checkpoint that is whole.

    Returns: what it holds, and a sentence without a full stop if it is not the newest that was written.
    Raises:
        LimbeckError: if none is whole, or it is none of this version.
    """
    if _whole(path) or not _whole(before(path)):
        return _checked(path), None
    lost = "is damaged" if path.exists() else "is missing"
    note = f"{str(path)!r} {lost}, so training goes on from the one before it, previous.pt"
    return _checked(before(path)), note


def load(path: Path) -> dict[str, Any]:
    """Reads a checkpoint, its tensors on the CPU; nothing in it is executed.

    Raises:
        LimbeckError: if it is damaged, its checksums being wrong, or no checkpoint of this version.
    """
    if not _whole(path):
        raise LimbeckError(
            f"{str(path)!r} cannot be read: it is damaged, or no checkpoint of torch.save, and there is no "
            "whole one before it; begin the run anew with overwrite=True (--overwrite)"
        )
    state = read_checkpoint(path)
    if not isinstance(state, dict) or "format" not in state:
        raise LimbeckError(f"{str(path)!r} is no checkpoint of a training")
    if state["format"] not in READABLE:
        raise LimbeckError(
            f"checkpoint {str(path)!r} has format {state['format']}; this version reads {FORMAT}"
        )
    return state


def _checked(path: Path) -> dict[str, Any]:
    """What a checkpoint of a training holds.

    Raises:
        LimbeckError: for another file, naming what is not as it should be.
    """
    state = load(path)
    for key, kinds in CONTENT.items():
        if not isinstance(state.get(key, ...), kinds):
            raise LimbeckError(
                f"{str(path)!r} is no checkpoint of a training: its {key!r} is missing or damaged"
            )
    return state


def _whole(path: Path) -> bool:
    """Whether every part of a file of torch has the CRC-32 that was written of it; torch does not look."""
    try:
        with zipfile.ZipFile(path) as parts:
            return parts.testzip() is None
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, struct.error):
        return False
    except (ValueError, LookupError, RuntimeError):  # what zipfile raises of names, flags and methods
        return False
