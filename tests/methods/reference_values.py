"""What the public implementations give for some inputs, where the reference lies beside the repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference"

has_reference = pytest.mark.skipif(not REFERENCE.exists(), reason="the reference values are not there")


def inputs() -> dict[str, Tensor]:
    """Logits, embeddings and stages of six samples, by name."""
    return load_file(REFERENCE / "loss-inputs.safetensors")


def value(name: str) -> object:
    """The loss of that name, to compare with (2e-4 relative)."""
    values: dict[str, float] = json.loads((REFERENCE / "loss-values.json").read_text())
    return pytest.approx(values[name], rel=2e-4)
