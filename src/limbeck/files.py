"""Files that are there whole or not at all; and where those go that runs share."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from limbeck.errors import LimbeckError


@contextmanager
def replacing(path: Path, keep: Path | None = None) -> Iterator[Path]:
    """A path to write to; what was written there becomes `path` when the block ends without an error.

    Args:
        path: what is to be written.
        keep: the name that what was at `path` has afterwards; it is gone if None.
    Raises:
        LimbeckError: if it cannot be written. The folders above are made if they are missing.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # a crash of the machine must not leave a name without its content
        if keep is not None and path.exists():
            path.replace(keep)
        partial.replace(path)
    except OSError as error:
        raise LimbeckError(f"{str(path)!r} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            partial.unlink()


def partials(path: Path) -> list[Path]:
    """What crashes have left of the file half-written."""
    return [each for each in path.parent.glob(f".{path.name}.*") if each.suffix[1:].isdigit()]


def write_text(path: Path, text: str) -> None:
    """Writes a text file, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
SURROGATE_IN_BYTES = re.compile(SURROGATE.pattern.encode())
"""How JSON writes half of a surrogate pair; two halves are a character, one is no text."""


def parse_json(text: str | bytes) -> Any:
    """What JSON from a file says.

    Raises:
        ValueError: for a text that is not JSON, that is nested deeper than Python can read, or that has half
            of a surrogate pair, which no UTF-8 can hold.
    """
    try:
        found = json.loads(text)
        if SURROGATE.search(text) if isinstance(text, str) else SURROGATE_IN_BYTES.search(text):
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except UnicodeEncodeError as error:
        raise ValueError(f"it has half of a surrogate pair, {error.object[error.start]!a}") from None
    return found


def cache_directory() -> Path:
    """Where limbeck keeps what is reused between runs: $LIMBECK_CACHE, or limbeck in the user's cache."""
    if "LIMBECK_CACHE" in os.environ:
        return Path(os.environ["LIMBECK_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "limbeck"


def digest(path: Path) -> str:
    """16 hex digits of what a file holds."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
