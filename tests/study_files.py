"""A small study on the digits, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

SMALL: dict[str, Any] = {
    "question": "Does a teacher help?",
    "seeds": 2,
    "data": "digits(labeled=50)",
    "teachers": {
        "big": {"model": "mlp(hidden=[16])", "training": {"epochs": 12, "batch_size": 10}},
        "middle": {
            "model": "mlp(hidden=[8])",
            "teacher": "big",
            "objective": "0.1*ce + 0.9*kd",
            "training": {"epochs": 4, "batch_size": 50},
        },
    },
    "students": {"tiny": "mlp(hidden=[4])"},
    "pairs": [{"student": "tiny", "teacher": "big"}, {"student": "tiny", "teacher": "middle"}],
    "objectives": {"alone": "ce", "KD": "0.1*ce + 0.9*kd"},
    "baseline": "alone",
    "cache": "logits",
    "training": {"epochs": 2, "batch_size": 25, "views": 1, "trackers": []},
}
"""Two teachers, of which one is a student of the other, and six students."""


def write_study(folder: Path, name: str = "tries.yaml", **changes: Any) -> Path:
    """Writes the small study with some of its keys exchanged; None leaves a key out."""
    file = folder / name
    kept = {key: value for key, value in {**SMALL, **changes}.items() if value is not None}
    file.write_text(yaml.safe_dump(kept, sort_keys=False))
    return file
