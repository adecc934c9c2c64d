"""What is loaded of a Hugging Face folder or hub name; nothing of it is ever run as code."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from limbeck.errors import LimbeckError
from limbeck.files import parse_json
from limbeck.optional import imported

EXTRA = "hf"

OF_RUNS = ("config.yaml", "student.safetensors")
"""Files that runs of limbeck hold, and folders of transformers do not."""

SMALL = (".json", ".txt", ".model", ".gguf")
"""The endings of files that hold configs and tokenizers."""


def from_pretrained(kind: str, place: str, **options: Any) -> Any:
    """What `transformers` loads of a folder or of a name on the hub.

    Args:
        kind: the class of `transformers` that loads it, such as "AutoConfig".
        place: a folder that `save_pretrained` wrote, or a name on the hub.
        options: further arguments of its `from_pretrained`.
    Raises:
        LimbeckError: if the package is not installed, there is no such folder or name, the folder holds no
            model, or it would need code that comes with it.
    """
    package = imported("transformers", EXTRA)
    if (file := gguf_of(place)) is not None:
        imported("gguf", "gguf")
        folder, options = str(file.parent), {**options, "gguf_file": file.name}
    else:
        check_place(place, holds_model=kind != "AutoTokenizer")
        folder = place
    try:
        with quiet(package):
            return getattr(package, kind).from_pretrained(folder, trust_remote_code=False, **options)
    except Exception as error:  # whatever a damaged file makes of it
        raise LimbeckError(reason_of(place, error)) from error


def gguf_of(place: str) -> Path | None:
    """The GGUF file that a place is, or the only one in a folder without a config; None for other places.

    Raises:
        LimbeckError: for a folder with several such files, and a file that is not there.
    """
    path = Path(place)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise LimbeckError(f"there is no file {place!r}")
        return path
    if not path.is_dir() or (path / "config.json").is_file():
        return None
    files = sorted(path.glob("*.gguf"))
    if len(files) > 1:
        raise LimbeckError(
            f"the folder {place!r} holds {len(files)} GGUF files; name one, such as {str(files[0])!r}"
        )
    return files[0] if files else None


def config_of(place: str) -> Any:
    """The config of a folder or of a name on the hub, a copy for whoever asks; it is read once."""
    return copy.deepcopy(_config(place, stamp(place)))


@lru_cache(maxsize=32)
def _config(place: str, stamp: object) -> Any:
    return from_pretrained("AutoConfig", place)


def stamp(place: str) -> tuple[tuple[str, int], ...]:
    """What tells that a small file of a folder has changed, names and times; empty for a name on the hub."""
    folder = Path(place).parent if place.endswith(".gguf") else Path(place)
    files = [file for file in folder.glob("*") if file.suffix in SMALL] if folder.is_dir() else []
    return tuple(sorted((file.name, file.stat().st_mtime_ns) for file in files))


def check_place(place: str, *, holds_model: bool = True) -> None:
    """Refuses a folder that is none, or holds no model where one is asked for."""
    folder = Path(place)
    is_of_transformers = (folder / "config.json").is_file()
    if not is_of_transformers and any((folder / name).is_file() for name in OF_RUNS):
        raise LimbeckError(
            f"{place!r} is a run of limbeck and no folder of transformers; leave out hf: and write {place}, "
            f"or hf: and what `limbeck export {place} --format hf` writes"
        )
    if holds_model and folder.is_dir() and not is_of_transformers:
        raise LimbeckError(
            f"the folder {place!r} holds no config.json, so it is no model of transformers; give a folder "
            "that model.save_pretrained(...) wrote"
        )
    looks_local = place.startswith((".", "/", "~")) or place.count("/") > 1 or folder.is_file()
    if looks_local and not folder.is_dir():
        raise LimbeckError(
            f"there is no folder {place!r}; give one that model.save_pretrained(...) wrote, or a name on the "
            "Hugging Face hub"
        )


def reason_of(place: str, error: Exception) -> str:
    """A sentence on why nothing can be loaded from a folder or from a name on the hub."""
    told = str(error).strip()
    if "trust_remote_code" in told or "custom code" in told:
        return (
            f"{place!r} needs code that comes with it, which limbeck never runs; build the network yourself "
            "and hand it over in Python"
        )
    first = (told.splitlines() or [type(error).__name__])[0]
    if os.path.isdir(place):
        return f"the folder {place!r} cannot be loaded by transformers: {first}"
    return (
        f"{place!r} is no folder here and cannot be loaded from the Hugging Face hub ({first}); without a "
        "network, give a folder that model.save_pretrained(...) wrote"
    )


@contextmanager
def quiet(package: Any) -> Iterator[None]:
    """Keeps `transformers` from printing notes and progress bars of its own.

    Args:
        package: `transformers`.
    """
    logging = package.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def read_json(file: Path, place: str) -> dict[str, Any]:
    """The settings in a JSON file of a folder or of a name on the hub.

    Args:
        file: the file.
        place: the folder or name, for messages.
    Raises:
        LimbeckError: for a file that is no JSON object.
    """
    try:
        found = parse_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise LimbeckError(f"the {file.name} of {place!r} is damaged: {reason}") from None
    if not isinstance(found, dict):
        raise LimbeckError(f"the {file.name} of {place!r} is damaged: it holds no settings by name")
    return found


def settings_in(place: str, name: str) -> Any:
    """What a JSON file of a folder or of a name on the hub holds; None where there is no such file.

    Args:
        place: a folder, or a name on the hub.
        name: of the file, with `/` for a folder in it.
    Raises:
        LimbeckError: for a file that is no JSON, and a name that cannot be reached.
    """
    package = imported("transformers", EXTRA)
    try:
        with quiet(package):
            file = package.utils.cached_file(place, name, _raise_exceptions_for_missing_entries=False)
    except OSError as error:
        raise LimbeckError(reason_of(place, error)) from error
    try:
        return None if file is None else parse_json(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise LimbeckError(f"{name} of {place!r} is no JSON: {error}") from error
