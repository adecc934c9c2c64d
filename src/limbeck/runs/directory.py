"""A run directory: what is in it, how it is claimed, and how the student is loaded from it."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from limbeck import data, models, urls
from limbeck.config import RunConfig, flat, make_config
from limbeck.data import Source
from limbeck.data.language.tokenizer import of_place
from limbeck.data.tokenization import Tokenization
from limbeck.errors import LimbeckError
from limbeck.files import parse_json, partials, write_text
from limbeck.models.factory import named_by
from limbeck.models.standalone import NETWORK
from limbeck.runs.locking import LOCK
from limbeck.runs.network_record import Card, read_card
from limbeck.runs.result import Result
from limbeck.training.history import read_history

FILES = (
    "README.md",
    "config.yaml",
    "environment.json",
    "evaluation.json",
    "import.json",
    "metrics.jsonl",
    "quantization.json",
    "result.json",
    "student.int8.onnx",
    "student.onnx",
    "student.pt2",
    "student.pth",
    "student.safetensors",
    "tokenizer.json",
    "report.html",
)
TOKENIZER = "tokenizer"
"""The folder of the tokenizer of a network that brings its own."""
FOLDERS = ("checkpoints", "student-hf", TOKENIZER, "trackers", "transfer")
KEPT = re.compile(r"epoch-(\d+)\.safetensors")
MARKS = ("config.yaml", "import.json")
"""The files that say whose a directory is, a run's or an import's: removed first, and made last."""
UNFINISHED = ".unfinished"
"""The file that is in a directory while it is being cleared and marked as a run's."""


CHANGEABLE = {
    "training.accumulation",
    "training.checkpoint_every",
    "training.device",
    "training.save_every",
    "training.skip_bad_steps",
    "training.trackers",
}
"""Settings that a run may go on with otherwise than it was begun: they say when it saves, what it passes over
and where it computes, and nothing of what it learns."""


@dataclass(frozen=True)
class Run:
    """A finished or unfinished run.

    Attributes:
        path: the directory. It holds `config.yaml` (all that is needed to repeat the run),
            `environment.json`, `metrics.jsonl` (one line an epoch), `result.json`, `student.safetensors`,
            `report.html` and `checkpoints/`, where the weights lie that `training.keep_every` asks for.
    """

    path: Path

    @property
    def config(self) -> RunConfig:
        """What was run."""
        return make_config(self.path / "config.yaml")

    @property
    def environment(self) -> dict[str, Any]:
        """What the run depends on besides its config.

        Raises:
            LimbeckError: if its record is missing or damaged.
        """
        file = self.path / "environment.json"
        try:
            record = parse_json(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise LimbeckError(f"{str(file)!r} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise LimbeckError(f"{str(file)!r} is damaged: {error}") from None
        if not isinstance(record, dict):
            raise LimbeckError(f"{str(file)!r} is damaged: it is no mapping")
        return record

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return (self.path / "result.json").exists()

    @property
    def result(self) -> Result:
        """What came out.

        Raises:
            LimbeckError: if the run is not finished, or its record is damaged.
        """
        if not self.finished:
            raise LimbeckError(
                f"the run {str(self.path)!r} has no result yet; finish it with resume=True (--resume)"
            )
        return Result.read(self.path / "result.json")

    def tokens(self) -> Tokenization | None:
        """The tokenizer that lies beside the student; None where there is none."""
        folder = self.path / TOKENIZER
        return of_place(str(folder)) if folder.is_dir() else None

    @property
    def alone(self) -> Run | None:
        """The run of the student alone, which it is shown beside; None where it is there no more."""
        if not self.finished or (its := self.result.alone) is None:
            return None
        there = Run(Path(os.path.normpath(self.path / its.place)))
        return there if there.finished and there.result.metrics == its.metrics else None

    @property
    def history(self) -> list[dict[str, Any]]:
        """What was logged, a mapping an epoch; half a line after a crash is left out."""
        return read_history(self.path / "metrics.jsonl")[0]

    @property
    def kept(self) -> dict[int, Path]:
        """The weights that it kept on its way, by the number of epochs that were over; in their order."""
        names = {file: KEPT.fullmatch(file.name) for file in (self.path / "checkpoints").glob("*")}
        epochs = {int(match[1]): file for file, match in names.items() if match}
        return {epoch: epochs[epoch] for epoch in sorted(epochs)}

    def keeps(self, epoch: int) -> Path:
        """Where the weights after so many epochs are kept."""
        return self.path / "checkpoints" / f"epoch-{epoch:04}.safetensors"

    def data(self, data_dir: Path | None = None) -> Source:
        """The source that the config names, loaded again.

        Args:
            data_dir: the directory that its files are in now; the one in the config if None.
        Raises:
            LimbeckError: for an imported network, data that was handed over as an object, and a path that is
                not the directory of a run.
        """
        if is_imported(self.path):
            raise LimbeckError(
                f"{str(self.path)!r} was imported and has no data of its own; name some with data (--data)"
            )
        if not (self.path / "config.yaml").is_file():
            raise LimbeckError(f"{str(self.path)!r} is no run's directory: it holds no config.yaml")
        config = self.config.data
        if config.name.startswith("<"):
            raise LimbeckError(
                f"the data of {str(self.path)!r} was handed over as an object; name some with data (--data), "
                "or give the object in Python"
            )
        try:
            return data.load(config.name, data_dir or config.dir, self.tokens)
        except LimbeckError as error:
            if type(error) is not LimbeckError:  # such as a package that is not installed
                raise
            raise LimbeckError(
                f"{error}; this is the data of {str(self.path)!r}, whose paths count from the working "
                "directory: data_dir (--data-dir) names their folder, and data (--data) other data"
            ) from error


Report: TypeAlias = "Callable[[Run, Result, Source | None], None]"
"""Writes the page of a run, which may not have its `result.json` yet. Its data is None if it is gone."""

Resume: TypeAlias = bool | Literal["auto"]
"""Whether a run goes on; "auto" is yes where one has been begun."""

OverSeeds: TypeAlias = "Callable[[Run, Result], Result]"
"""Gives the record of a run whose difference to the student alone rests on the runs of other seeds too."""


def place_of(run: Run | Path | str) -> Path:
    """The directory of a run, or a weights file, as it was given.

    Raises:
        LimbeckError: for what is neither, such as a network.
    """
    if isinstance(run, Run):
        return run.path
    if not isinstance(run, (str, Path)):
        raise LimbeckError(
            f"a run, or its directory, comes first, not a {type(run).__name__}; a network is network=..."
        )
    return Path(run)


def load(run: Run | Path | str, network: nn.Module | None = None) -> nn.Module:
    """The student of a run, in eval mode on the CPU: its own class and keys, with its own normalization.

    Where a method ships more than the student, such as SimKD, it is the whole of what is shipped.

    A run of a `package.module:factory` has its module imported and called, if you have named that factory
    yourself before or have trusted it once (LIMBECK_TRUST_CODE=1); a weights file alone is data and never
    calls anything.

    Args:
        run: the run, its directory, or a `student.safetensors` file; or the address of a directory, such as
            `s3://bucket/runs/a`, which is copied while it is read.
        network: where the student was handed over as an object, one like it; it gets the weights.
    Raises:
        LimbeckError: if there is no student, or it cannot be built from its record.
    """
    if isinstance(run, str) and urls.is_url(run):
        with urls.downloaded(run) as copy:
            return load(copy, network)
    path = place_of(run)
    file = path / "student.safetensors" if path.is_dir() else path
    if not path.exists():
        raise LimbeckError(f"there is no {str(path)!r}; give the directory of a finished run")
    if not file.is_file():
        raise LimbeckError(
            f"{str(path)!r} holds no student.safetensors; is it the directory of a finished run?"
        )
    card = read_card(file)
    if card is None:
        raise LimbeckError(
            f"{str(file)!r} does not say which network it belongs to; give its name and weights"
        )
    with torch.random.fork_rng(devices=[]):  # the fresh weights are overwritten at once
        with named_by(path):
            student = _build(card, file, alone=not path.is_dir()) if network is None else network
        shipped = student if card.graft is None else card.graft.onto(student)
    state = models.load_state(file)
    if card.standalone:
        state = {
            key.removeprefix(NETWORK): tensor for key, tensor in state.items() if key.startswith(NETWORK)
        }
    models.load_into(shipped, state, str(file))
    if card.normalization and models.normalization_of(student) is None:
        models.normalize_inputs(student, card.normalization)
    if card.rescaling and models.rescaling_of(student) is None:
        models.rescale_outputs(student, card.rescaling)
    return shipped.eval()


def _build(card: Card, file: Path, *, alone: bool) -> nn.Module:
    if card.network is not None:
        return models.encoders.from_config(card.network)
    if card.model is None:
        raise LimbeckError(
            f"the network of {str(file)!r} was handed over as an object and cannot be built from a name; "
            "build one like it in Python: limbeck.load(run, network=...) gives it its weights, and the "
            "result may be a teacher (teacher=...); limbeck.evaluate and limbeck.export take network=..., "
            "too, and data=... if the data was an object"
        )
    if card.calls_a_factory and alone:
        raise LimbeckError(
            f"{str(file)!r} names the factory {card.model!r}, and a weights file is not trusted to call "
            "anything; give the run's directory, or the factory as the model and the file as its weights"
        )
    width = card.made_for().width or None
    return models.build(card.model, example=card.example, num_classes=width, facts=card.facts)


def free_directory(prefix: str) -> Path:
    """The first of runs/PREFIX-1, runs/PREFIX-2, ... that is not there."""
    number = 1
    while (path := Path("runs") / f"{prefix}-{number}").exists():
        number += 1
    return path


def goes_on(out: Path | str | None, resume: Resume) -> bool:
    """Whether a run goes on that has been begun in a directory.

    Args:
        out: the directory.
        resume: what was asked for.
    Raises:
        LimbeckError: for "auto" without a directory, and for anything else that is not a bool.
    """
    if isinstance(resume, bool):
        return resume
    if resume != "auto":
        raise LimbeckError(f"resume (--resume) is True, False or 'auto', not {resume!r}")
    if out is None:
        raise LimbeckError("resume='auto' (--resume auto) needs the directory of the run, out (--out)")
    return (Path(out) / "config.yaml").exists()


def check_claim(path: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuses a directory that a run may not write to; changes nothing.

    Raises:
        LimbeckError: if it holds another run and neither is said, or holds something that is no run; if it
            cannot be written to.
    """
    if resume and overwrite:
        raise LimbeckError(
            "resume (--resume) continues a run and overwrite (--overwrite) replaces it; say one of them"
        )
    there = next(place for place in (path, *path.parents) if place.exists())
    if not there.is_dir():
        raise LimbeckError(f"{str(there)!r} is a file; a run needs a directory")
    if not os.access(there, os.W_OK):
        raise LimbeckError(f"{str(there)!r} cannot be written to; choose another out (--out)")
    started = (path / "config.yaml").exists()
    if resume and not started:
        raise LimbeckError(f"there is no run to resume in {str(path)!r}")
    if not path.exists() or resume or not any(each.name != LOCK for each in path.iterdir()):
        return
    if not started and not is_imported(path):
        if (path / UNFINISHED).exists():
            return  # limbeck was stopped before there was a run: what it left is cleared
        raise LimbeckError(f"{str(path)!r} holds files that are no run; choose another out (--out)")
    if not overwrite and not started:
        raise LimbeckError(
            f"{str(path)!r} holds an imported network; say overwrite=True (--overwrite) or choose another "
            "out (--out)"
        )
    if not overwrite:
        unfinished = "" if Run(path).finished else ", which did not come to its end"
        raise LimbeckError(
            f"{str(path)!r} holds another run{unfinished}; say overwrite=True (--overwrite) or resume=True "
            "(--resume), or choose another out (--out)"
        )


def is_imported(path: Path) -> bool:
    """Whether a directory holds a network from somewhere else, imported and not trained here."""
    return (path / "import.json").exists()


def claim(path: Path, config: RunConfig, **resolved: Any) -> None:
    """Makes the directory, cleared of an earlier run's files, and writes what the run is.

    Args:
        resolved: what "auto" came to, for the environment's record.
    """
    clear(path)
    mark(path, config, resolved)
    cleared(path)


def mark(path: Path, config: RunConfig, resolved: Mapping[str, Any]) -> None:
    """Writes what a run is and what it depends on; see `claim`."""
    write_json(path / "environment.json", {**environment(), **resolved})
    write_text(path / "config.yaml", config.to_yaml())  # last: it marks the directory as a run


def clear(path: Path) -> None:
    """Makes the directory, cleared of an earlier run's files.

    Until `cleared` is called, it is marked as one that may be cleared again: whoever is stopped in between
    leaves nothing that anything depends on.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LimbeckError(
            f"{str(path)!r} cannot be made: {error.strerror}; choose another out (--out)"
        ) from None
    try:
        (path / UNFINISHED).touch()
    except OSError as error:
        raise LimbeckError(
            f"{str(path)!r} cannot be written to: {error.strerror}; make room, or choose another out (--out)"
        ) from None
    sweep(path)
    for name in (*MARKS, *FILES):
        (path / name).unlink(missing_ok=True)
    for name in FOLDERS:
        shutil.rmtree(path / name, ignore_errors=True)


def cleared(path: Path) -> None:
    """Says that what marks the directory, as a run or as an import, has been written."""
    (path / UNFINISHED).unlink(missing_ok=True)


def sweep(path: Path) -> None:
    """Removes what a crash has left of the run's files half-written."""
    checkpoints = path / "checkpoints"
    for file in (*(path / name for name in FILES), checkpoints / "last.pt"):
        for partial in partials(file):
            partial.unlink(missing_ok=True)
    for partial in checkpoints.glob(".epoch-*.safetensors.*"):
        partial.unlink(missing_ok=True)


def environment() -> dict[str, Any]:
    """What the run depends on besides its config."""
    packages = ("limbeck", "torch", "accelerate", "numpy", "scikit-learn", "safetensors")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version(name) for name in packages},
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def write_json(path: Path, value: Any) -> None:
    """Writes JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def changed_settings(path: Path, config: RunConfig) -> dict[str, tuple[Any, Any]]:
    """The settings in which a run goes on otherwise than it was begun, with both values.

    Raises:
        LimbeckError: naming the first key that differs and may not, as all that is not `CHANGEABLE`.
    """
    made = make_config(path / "config.yaml")
    if config.objective is None:  # the task of the data said then what it says now
        config = config.model_copy(update={"objective": made.objective})
    there, here = (flat(each.model_dump(mode="json")) for each in (made, config))
    differing = {
        key: (there.get(key), here.get(key)) for key in {**there, **here} if there.get(key) != here.get(key)
    }
    for key, (old, new) in differing.items():
        if key not in CHANGEABLE:
            raise LimbeckError(
                f"{str(path)!r} was run with {key}={old!r}, not {new!r}; "
                "resume it without new settings, or start another run"
            )
    return differing


def change(path: Path, config: RunConfig, changed: Mapping[str, tuple[Any, Any]], epochs: int) -> None:
    """Writes that a run goes on with other settings.

    Args:
        path: its directory.
        config: with which it goes on.
        changed: the settings that are others now, with both values.
        epochs: how many epochs were over, of phases and training.
    """
    known = Run(path).environment
    settings = {key: list(values) for key, values in changed.items()}
    known["changed"] = [*known.get("changed", []), {"epochs": epochs, "settings": settings}]
    write_json(path / "environment.json", known)
    write_text(path / "config.yaml", config.to_yaml())
