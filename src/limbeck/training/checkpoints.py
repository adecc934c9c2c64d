"""A checkpoint: everything needed to go on as if nothing had happened, in one file, written atomically."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from limbeck.errors import LimbeckError
from limbeck.files import replacing
from limbeck.models.weights import read_checkpoint

FORMAT = 3


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes tensors, numbers, strings and containers of them; a crash leaves the old file or the new one."""
    with replacing(path) as partial:
        torch.save({"format": FORMAT, **state}, partial)


def load(path: Path) -> dict[str, Any]:
    """Reads a checkpoint, its tensors on the CPU; nothing in it is executed.

    Raises:
        LimbeckError: if it is damaged, or no checkpoint of this version.
    """
    state = read_checkpoint(path)
    if not isinstance(state, dict) or "format" not in state:
        raise LimbeckError(f"{str(path)!r} is no checkpoint of a training")
    if state["format"] != FORMAT:
        raise LimbeckError(
            f"checkpoint {str(path)!r} has format {state['format']}; this version reads {FORMAT}"
        )
    return state
