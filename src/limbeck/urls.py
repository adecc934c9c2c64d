"""Files and folders at an address that fsspec knows, such as `s3://bucket/runs` or `memory://runs`."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from limbeck import files
from limbeck.errors import LimbeckError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
LEFT = ("checkpoints", "trackers")
"""Folders of a run that are not copied: what only a run that goes on needs, and what only trackers read."""


def is_url(text: object) -> bool:
    """Whether a text is an address and no path."""
    return isinstance(text, str) and _ADDRESS.match(text) is not None


def local(text: str, what: str) -> Path:
    """The path that a text is.

    Raises:
        LimbeckError: if it is an address, naming `what` needs a path.
    """
    if is_url(text):
        raise LimbeckError(f"{what} is on this machine, and {text!r} is an address; give a path")
    return Path(text)


def named(url: str) -> str:
    """The last part of an address."""
    return url.rstrip("/").rpartition("/")[2]


def read_text(place: Path | str) -> str:
    """What a text file holds, at a path or an address.

    Raises:
        LimbeckError: if an address cannot be read.
        OSError: if a path cannot.
    """
    if not is_url(url := str(place)):
        return Path(place).read_text(encoding="utf-8")
    with _said(url, "read"):
        system, path = _opened(url)
        return str(system.cat_file(path).decode("utf-8"))


def write_text(place: Path | str, text: str) -> None:
    """Writes a text file to a path, whole or not at all, or to an address.

    Raises:
        LimbeckError: if it cannot be written.
    """
    if not is_url(url := str(place)):
        files.write_text(Path(place), text)
        return
    with _said(url, "written"):
        system, path = _opened(url)
        system.makedirs(path.rpartition("/")[0], exist_ok=True)
        system.pipe_file(path, text.encode("utf-8"))


def exists(place: Path | str) -> bool:
    """Whether there is a file or a folder at a path or an address."""
    if not is_url(url := str(place)):
        return Path(place).exists()
    with _said(url, "read"):
        system, path = _opened(url)
        return bool(system.exists(path))


def upload(folder: Path, url: str) -> None:
    """Copies a folder, without what is `LEFT`.

    Raises:
        LimbeckError: if it cannot be written.
    """
    with _said(url, "written"):
        system, path = _opened(url)
        for file in _copied(folder):
            there = f"{path}/{file.relative_to(folder).as_posix()}"
            system.makedirs(there.rpartition("/")[0], exist_ok=True)
            system.put_file(str(file), there)


def download(url: str, folder: Path) -> None:
    """Copies a folder from an address, without what is `LEFT`.

    Raises:
        LimbeckError: if there is none, or it cannot be read, or if it lists a file outside itself.
    """
    with _said(url, "read"):
        system, path = _opened(url)
        found = system.find(path)
        if not found:
            raise LimbeckError(f"there is nothing at {url!r}")
        parts = {there: Path(there.removeprefix(path).lstrip("/")) for there in found}
        for there, part in parts.items():
            if ".." in part.parts or part.anchor:
                raise LimbeckError(f"{url!r} lists {there!r}, which lies outside of it; nothing is copied")
        for there, part in parts.items():
            if part.parts and part.parts[0] in LEFT:
                continue
            here = folder / part if part.parts else folder / named(url)
            here.parent.mkdir(parents=True, exist_ok=True)
            system.get_file(there, str(here))


@contextmanager
def downloaded(url: str) -> Iterator[Path]:
    """A copy of a folder, or of the folder with one file, while the context lasts."""
    with tempfile.TemporaryDirectory(prefix="limbeck-") as there:
        folder = Path(there) / named(url)
        download(url, folder)
        yield folder


def _copied(folder: Path) -> Iterable[Path]:
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.relative_to(folder).parts[0] not in LEFT and not file.name.startswith("."):
            yield file


def _opened(url: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it."""
    import fsspec

    system, path = fsspec.core.url_to_fs(url)
    return system, str(path).rstrip("/")


@contextmanager
def _said(url: str, what: str) -> Iterator[None]:
    """A context in which what a file system raises, each in its own way, is one sentence."""
    try:
        yield
    except LimbeckError:
        raise
    except FileNotFoundError:
        raise LimbeckError(f"{url!r} cannot be {what}: there is no such file") from None
    except Exception as error:  # file systems have errors of their own, which share no class
        raise LimbeckError(f"{url!r} cannot be {what}: {str(error) or type(error).__name__}") from error
