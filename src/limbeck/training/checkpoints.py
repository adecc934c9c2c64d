"""A checkpoint: everything needed to go on as if nothing had happened, in one file, written atomically."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from limbeck.errors import LimbeckError
from limbeck.files import replacing

FORMAT = 1


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes tensors, numbers, strings and containers of them; a crash leaves the old file or the new one."""
    with replacing(path) as partial:
        torch.save({"format": FORMAT, **state}, partial)


def load(path: Path, device: torch.device) -> dict[str, Any]:
    """Reads a checkpoint; nothing in it is executed.

    Raises:
        LimbeckError: if it is damaged, or no checkpoint of this version.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
        raise LimbeckError(f"checkpoint {path} cannot be read: {str(error).splitlines()[0]}") from None
    if state.get("format") != FORMAT:
        raise LimbeckError(f"checkpoint {path} has format {state.get('format')}; this version reads {FORMAT}")
    return state
