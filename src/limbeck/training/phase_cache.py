"""What a phase ended with, kept for every later run that asks for the very same."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.errors import LimbeckError
from limbeck.files import cache_directory, parse_json
from limbeck.methods import Phase
from limbeck.models import load_into, load_state, save
from limbeck.models.weights import read_metadata


def recall(phase: Phase, setting: str) -> tuple[Mapping[str, Any], Callable[[], None]] | None:
    """The last line of an earlier training of the phase, with what restores its result; None if unknown.

    A file that is damaged is warned of and counts as unknown.
    """
    file = _file(phase, setting)
    if file is None or not file.exists():
        return None
    try:
        line = dict(parse_json(read_metadata(file)["line"]))
        state = load_state(file)
    except (LimbeckError, KeyError, TypeError, ValueError):
        warnings.warn(f"{str(file)!r} is damaged; {phase.name} is trained anew", stacklevel=2)
        return None
    return line, lambda: load_into(_parts(phase), state, str(file))


def store(phase: Phase, setting: str, line: Mapping[str, Any]) -> None:
    """Keeps what the phase ended with, if it has a key; a cache that cannot be written is done without."""
    file = _file(phase, setting)
    if file is None:
        return
    try:
        save(_parts(phase), file, {"line": json.dumps(dict(line)), "key": str(phase.cache)})
    except LimbeckError as error:
        warnings.warn(f"{phase.name} is not kept for later runs: {error}", stacklevel=2)


def _file(phase: Phase, setting: str) -> Path | None:
    if phase.cache is None:
        return None
    digest = hashlib.sha256(f"{phase.name} {phase.cache} {phase.seed} {setting}".encode()).hexdigest()
    return cache_directory() / "phases" / f"{digest[:24]}.safetensors"


def _parts(phase: Phase) -> nn.ModuleList:
    return nn.ModuleList([*phase.trains, *phase.keeps])
