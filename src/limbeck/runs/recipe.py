"""What decides the outcome of a run but its seed; and which teacher a run had."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from limbeck.config import RunConfig, TeacherConfig, flat
from limbeck.files import digest
from limbeck.notation import Call, Value, parse_call
from limbeck.runs.directory import Run
from limbeck.runs.network_names import is_path
from limbeck.runs.schedules import schedule_of

IGNORED = {
    "seed",
    "data.dir",
    "training.device",
    "training.checkpoint_every",
    "training.keep_every",
    "training.save_every",
    "training.sharding",
    "training.trackers",
}
"""Settings that two runs of one thing may differ in."""

LATER: dict[str, Any] = {
    "training.samples_per_epoch": None,
    "training.max_steps": None,
    "training.early_stopping": None,
    "training.ema": None,
    "training.layer_decay": None,
    "training.freeze": [],
}
"""Settings that older runs lack, with the values that stand for what those did."""


def recipe(run: Run) -> dict[str, Any]:
    """The config of a finished run by dotted key, without what is `IGNORED`.

    The objective is as it was resolved, and so is the precision, which the device may have chosen.
    """
    result = run.result
    kept = settings(run.config)
    if result.choices:
        kept["training.precision"] = result.choices["precision"]
    return {**kept, "objective": result.objective}


def settings(config: RunConfig) -> dict[str, Any]:
    """A config by dotted key, without what is `IGNORED`."""
    return {
        key: value
        for key, value in flat(config.model_dump(mode="json")).items()
        if key not in IGNORED
        and not key.endswith(".trust")
        and not (key.endswith(".outputs") and value == "logits")  # as where nothing is said of them
        and not (key in LATER and value == LATER[key])
    }


def seedless(data: str, seed: int) -> str:
    """The text of a data set with SEED for a seed that is the run's own."""
    return data if data.startswith("<") else str(_seedless(parse_call(data, "data set"), seed))


def run_of(config: TeacherConfig) -> Run | None:
    """The finished run that a teacher is, or whose checkpoints it is; None if it is something else."""
    if (schedule := schedule_of(config.model)) is not None:
        return schedule.run
    if config.weights is not None or not is_path(config.model):
        return None
    run = Run(Path(config.model))
    return run if (run.path / "config.yaml").is_file() and run.finished else None


def origin(config: TeacherConfig) -> dict[str, str | None]:
    """Digests that tell which teacher it is, wherever it lies.

    Returns:
        `weights`: of its file, or of the files of a schedule; `recipe`: of what made it but the seed, if that
        is a run. Each None if there is no such thing.
    """
    if (schedule := schedule_of(config.model)) is not None:
        form = f"{list(schedule.files)} {schedule.ahead}"
        made = origin(TeacherConfig(model=str(schedule.run.path)))["recipe"]
        files = [digest(file) for file in schedule.files.values()]
        return {
            "weights": _digest(f"{files} {form}".encode()),
            "recipe": made and _digest(f"{made} {form}".encode()),
        }
    path = Path(config.model) if is_path(config.model) else None
    file = config.weights or (path and (path / "student.safetensors" if path.is_dir() else path))
    made, run = None, run_of(config)
    if run is not None:
        its, result = recipe(run), run.result
        its["data.name"] = seedless(its["data.name"], result.seed)
        its["teacher.model"] = result.teacher and (result.teacher.recipe or its["teacher.model"])
        made = _digest(json.dumps(its, sort_keys=True).encode())
    return {"weights": _digest(file.read_bytes()) if file and file.is_file() else None, "recipe": made}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _seedless(value: Value, seed: int) -> Value:
    if not isinstance(value, Call):
        return value
    arguments = {
        name: Call("SEED") if name == "seed" and inner == seed else _seedless(inner, seed)
        for name, inner in value.kwargs.items()
    }
    return Call(value.name, tuple(_seedless(inner, seed) for inner in value.args), arguments)
