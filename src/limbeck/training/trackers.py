"""Which of accelerate's trackers can be had, and where they write."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType

from limbeck.errors import LimbeckError, unknown
from limbeck.optional import imported

EXTRAS = ("mlflow", "wandb")
"""Trackers that an extra of limbeck brings; `tensorboard` comes with `run`."""


def begin(accelerator: Accelerator, directory: Path, names: Sequence[str]) -> None:
    """Begins what the trackers record of a training.

    Weights & Biases and MLflow write below the directory too, unless their own variables of the environment,
    WANDB_DIR and MLFLOW_TRACKING_URI, say where.

    Args:
        accelerator: that has the trackers.
        directory: where they write.
        names: of the trackers.
    Raises:
        LimbeckError: if they cannot write; then nothing is recorded.
    """
    settings: dict[str, dict[str, Any]] = {}
    if accelerator.is_main_process:
        directory.mkdir(parents=True, exist_ok=True)
        place = directory.absolute()
        if "WANDB_DIR" not in os.environ:
            settings["wandb"] = {"dir": str(place)}
        if "mlflow" in names and "MLFLOW_TRACKING_URI" not in os.environ:
            imported("mlflow", "mlflow").set_tracking_uri(f"sqlite:///{place / 'mlflow.db'}")
            settings["mlflow"] = {"logging_dir": (place / "mlflow").as_uri()}
    try:
        accelerator.init_trackers("limbeck", init_kwargs=settings)
    except OSError as error:
        accelerator.trackers = []
        raise LimbeckError(f"the trackers cannot write: {error.strerror or error}") from None


@contextmanager
def writing_told(note: Callable[[str], None]) -> Iterator[None]:
    """A context in which it is said in a sentence if the thread that TensorBoard writes in fails.

    Its writer raises the error again where the next figures are recorded; Python would print it before.
    """
    before = threading.excepthook

    def told(failed: threading.ExceptHookArgs) -> None:
        if type(failed.thread).__module__.partition(".")[0] == "tensorboard":
            note(f"TensorBoard cannot write its events: {failed.exc_value}")
        else:
            before(failed)

    threading.excepthook = told
    try:
        yield
    finally:
        threading.excepthook = before


def check_trackers(names: Sequence[str], directory: Path | None) -> None:
    """Refuses trackers that accelerate would leave out without a word."""
    known = [tracker.value for tracker in LoggerType if tracker is not LoggerType.ALL]
    installed = [tracker.value for tracker in get_available_trackers()]
    for name in names:
        if name not in known:
            raise unknown("tracker", name, known)
        if name not in installed:
            extra = f"; `pip install 'limbeck[{name}]'` brings it, or" if name in EXTRAS else ";"
            missing = f"the tracker {name!r} is not installed here{extra}"
            raise LimbeckError(f"{missing} leave it out of the trackers")
    if names and directory is None:
        raise LimbeckError("trackers write below the run's directory; give Trainer(directory=...)")
