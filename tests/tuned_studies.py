"""A small tuning on irises, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from study_files import write_study

TUNED: dict[str, Any] = {
    "question": "Which arguments?",
    "seeds": 2,
    "data": "iris",
    "teachers": {"big": {"model": "mlp(hidden=[16])", "training": {"epochs": 6}}},
    "students": {"tiny": "mlp(hidden=[4])"},
    "pairs": None,
    "space": {"weight": {"low": 0.1, "high": 10, "log": True}, "temperature": [1, 4]},
    "objectives": {
        "alone": "ce",
        "KD": "ce + $weight*kd(temperature=$temperature)",
        "DKD": "ce + $weight*dkd",
    },
    "cache": None,
    "training": {"epochs": 2, "batch_size": 32, "trackers": []},
    "tune": {"budget": "1s"},
}
"""Two objectives with a place or two, and a baseline that leaves nothing open."""


def write_tuning(folder: Path, **changes: Any) -> Path:
    """Writes the small tuning with some of its keys exchanged; None leaves a key out."""
    return write_study(folder, **{**TUNED, **changes})
