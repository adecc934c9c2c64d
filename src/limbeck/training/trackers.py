"""Which of accelerate's trackers can be had, and where they write."""

from __future__ import annotations

import os
from collections.abc import Sequence
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
    accelerator.init_trackers("limbeck", init_kwargs=settings)


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
