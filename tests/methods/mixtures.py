"""What mixup and CutMix do to a batch, by hand."""

from __future__ import annotations

import torch
from method_setting import SAMPLES, Setting
from torch import Tensor

from limbeck import Batch, Distiller
from limbeck.methods.base import inner_first
from limbeck.methods.parts.mixtures import Mixtures
from limbeck.outputs import Progress


def wrapper_of(distiller: Distiller) -> Mixtures:
    (found,) = (method for method in inner_first(distiller.objective) if isinstance(method, Mixtures))
    return found


def at_step(setting: Setting, step: int = 7, targets: Tensor | None = None) -> Batch:
    """The samples of a setting as a loader gives them at a step."""
    inputs = setting.inputs
    assert isinstance(inputs, Tensor)
    return Batch(
        inputs,
        setting.targets if targets is None else targets,
        index=torch.arange(SAMPLES),
        view=torch.zeros(SAMPLES, dtype=torch.int64),
        progress=Progress(step, 1, 0.5),
    )
