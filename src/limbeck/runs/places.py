"""Where a run's networks came from, so that they are found from another working directory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from limbeck.config import NetworkConfig, RunConfig
from limbeck.errors import LimbeckError
from limbeck.files import digest
from limbeck.models import huggingface
from limbeck.models.encoders import static_source
from limbeck.models.encoders.towers import towers_of
from limbeck.notation import Call
from limbeck.runs import schedules
from limbeck.runs.directory import Run, is_imported
from limbeck.runs.network_names import ensemble_of, is_path, read_by
from limbeck.teachers.files.reading import is_answers

C = TypeVar("C", bound=NetworkConfig)


def record(config: RunConfig, home: Path) -> dict[str, dict[str, str | None]]:
    """Where the networks of a config lie, for `environment.json`.

    Args:
        config: of a run that begins; its paths count from the working directory.
        home: the directory of the run.
    Returns: by the path in the config: `relative` to the run's directory, `absolute`, and `weights`, a digest
        of the weights file.
    """
    found: dict[str, dict[str, str | None]] = {}
    for each in (config.student, *config.taught_by.values()):
        for text in filter(is_place, _named(each)):
            absolute = Path(path_of(text)).resolve()
            found[text] = {
                "relative": os.path.relpath(absolute, home.resolve()),
                "absolute": str(absolute),
                "weights": _weights(absolute),
            }
    return found


def located(config: C, run: Run) -> C:
    """What a run's config says of a network, with its paths as they lead to it from here.

    A path leads to it as it is given, from the working directory; else from the run's directory; else as it
    was absolutely. The first one counts that has the weights that the run had.

    Args:
        config: of the student or a teacher.
        run: the run, whose `environment.json` says where the network lay.
    Raises:
        LimbeckError: if there are only other weights than the run had.
    """
    if is_imported(run.path) or not (run.path / "environment.json").is_file():
        return config
    places: Mapping[str, Mapping[str, Any]] = run.environment.get("places", {})
    found = {text: _found(text, places[text], run.path) for text in _named(config) if text in places}
    if not found:
        return config
    model = found.get(config.model, config.model)
    if (call := _call_of(config.model)) is not None:
        members = [found.get(each, each) if isinstance(each, str) else each for each in call.args]
        model = str(replace(call, args=tuple(members)))
    weights = None if config.weights is None else Path(found.get(str(config.weights), str(config.weights)))
    return config.model_copy(update={"model": model, "weights": weights})


def relocated(config: RunConfig, run: Run) -> RunConfig:
    """A run's config with the paths of all its networks as they lead to them from here; see `located`."""
    return config.model_copy(
        update={
            "student": located(config.student, run),
            "teacher": config.teacher and located(config.teacher, run),
            "teachers": {name: located(each, run) for name, each in config.teachers.items()},
        }
    )


def _named(config: NetworkConfig) -> tuple[str, ...]:
    """The weights and the models that a config of a network names, places or not."""
    weights = () if config.weights is None else (str(config.weights),)
    return (*weights, *read_by(config))


def is_place(text: str) -> bool:
    """Whether a model or weights that a config names lie in a place on this machine."""
    if huggingface.is_hf(text) or static_source(text) is not None:
        return os.path.isdir(path_of(text))
    return not text.startswith("<") and is_path(text)


def path_of(text: str) -> str:
    """The path in a text that names a place: of `hf:FOLDER(layers=2)` that of the folder."""
    if (source := static_source(text)) is not None:
        return source
    return huggingface.read(text).place if huggingface.is_hf(text) else text


def _call_of(model: str) -> Call | None:
    """The call in which a model text names several networks; None for any other text."""
    return ensemble_of(model) or schedules.call_of(model) or towers_of(model)


def _found(text: str, place: Mapping[str, str | None], home: Path) -> str:
    """The first of the candidates that is what the run had; the text as it is if none is there."""
    known = place.get("weights")
    further = [str(home / str(place["relative"])), str(place["absolute"])]
    candidates = dict.fromkeys([path_of(text), *further])
    there = [each for each in candidates if os.path.exists(each)]
    for each in there:
        if known in (None, _weights(Path(each))):
            return text.replace(path_of(text), each, 1)
    if there:
        raise LimbeckError(
            f"the {'answers' if is_answers(text) else 'weights'} in {there[0]!r} have changed since "
            f"the run in {str(home)!r} began: their digest "
            f"was {known} and is {_weights(Path(there[0]))}; put the old ones back, or start another run"
        )
    return text


def _weights(path: Path) -> str | None:
    """A digest of a weights file, of that of a run, or of a folder of transformers; None if there is none."""
    if (path / "config.json").is_file():
        files = sorted(
            each for each in path.iterdir() if each.suffix in (".json", ".safetensors", ".bin", ".txt")
        )
        return hashlib.sha256(" ".join(digest(each) for each in files).encode()).hexdigest()[:16]
    file = path / "student.safetensors" if path.is_dir() else path
    return digest(file) if file.is_file() else None
