"""What is loaded of a Hugging Face folder or hub name; nothing of it is ever run as code."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from limbeck.errors import LimbeckError
from limbeck.optional import imported

EXTRA = "hf"

SMALL = (".json", ".txt", ".model")
"""The endings of configs and tokenizers."""


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
    check_place(place, holds_model=kind != "AutoTokenizer")
    try:
        with quiet(package):
            return getattr(package, kind).from_pretrained(place, trust_remote_code=False, **options)
    except Exception as error:  # whatever a damaged file makes of it
        raise LimbeckError(_reason(place, error)) from error


def config_of(place: str) -> Any:
    """The config of a folder or of a name on the hub, a copy for whoever asks; it is read once."""
    return copy.deepcopy(_config(place, stamp(place)))


@lru_cache(maxsize=32)
def _config(place: str, stamp: object) -> Any:
    return from_pretrained("AutoConfig", place)


def stamp(place: str) -> tuple[tuple[str, int], ...]:
    """What tells that a small file of a folder has changed, names and times; empty for a name on the hub."""
    files = [file for file in Path(place).glob("*") if file.suffix in SMALL] if os.path.isdir(place) else []
    return tuple(sorted((file.name, file.stat().st_mtime_ns) for file in files))


def check_place(place: str, *, holds_model: bool = True) -> None:
    """Refuses a folder that is none, or holds no model where one is asked for."""
    folder = Path(place)
    if holds_model and folder.is_dir() and not (folder / "config.json").is_file():
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


def _reason(place: str, error: Exception) -> str:
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


@dataclass(frozen=True)
class ImageSettings:
    """What an image processor makes of pixels in [0, 1].

    Attributes:
        size: (height, width) that images are resampled to.
        mean: of each channel.
        std: of each channel.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def image_settings(place: str) -> ImageSettings | None:
    """The settings of the image processor in a folder or at a name on the hub; None if there is none.

    Args:
        place: a folder that `save_pretrained` wrote, or a name on the hub.
    """
    check_place(place)
    return _image_settings(place, stamp(place))


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
        raise LimbeckError(_reason(place, error)) from error
    try:
        return None if file is None else json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise LimbeckError(f"{name} of {place!r} is no JSON: {error}") from error


@lru_cache(maxsize=32)
def _image_settings(place: str, stamp: object) -> ImageSettings | None:
    settings = settings_in(place, "preprocessor_config.json")
    if settings is None or "image_mean" not in settings:
        return None  # of sounds
    size = settings.get("crop_size") or settings["size"]
    if isinstance(size, int):
        size = {"height": size, "width": size}
    height = size.get("height") or size.get("shortest_edge")
    plain = not settings.get("do_normalize", True)
    channels = len(settings["image_mean"])
    return ImageSettings(
        (height, size.get("width") or height),
        (0.0,) * channels if plain else tuple(settings["image_mean"]),
        (1.0,) * channels if plain else tuple(settings["image_std"]),
    )
