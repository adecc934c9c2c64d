"""What methods that compare maps position by position share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.methods.declarations import Context


def logit_maps(method: str, context: Context) -> tuple[Tensor, Tensor]:
    """The logits of both networks for the example, (B, C, h, w).

    Args:
        method: its name, for messages.
        context: what the method is bound to.
    Raises:
        LimbeckError: for a task whose networks give none.
    """
    assert context.teacher is not None
    if "maps" not in context.student or "maps" not in context.teacher:
        raise LimbeckError(
            f"{method} compares logits at the positions of an image, (B, C, height, width), and the networks "
            f"for {context.task.name} give none"
        )
    return context.student.maps, context.teacher.maps


def resized_alike(student: Tensor, teacher: Tensor) -> Tensor:
    """The student's maps (B, C, h, w) at the teacher's height and width, bilinearly."""
    if student.shape[2:] == teacher.shape[2:]:
        return student
    return F.interpolate(student, size=teacher.shape[2:], mode="bilinear", align_corners=False)


def over_positions(method: str, maps: Tensor) -> Tensor:
    """The maps (B, C, h, w) as a distribution over positions for each channel of a sample, (B * C, h * w).

    Args:
        method: its name, for messages.
        maps: of one network.
    Raises:
        LimbeckError: for maps of a single position, whose distribution says nothing.
    """
    if maps.shape[2] * maps.shape[3] == 1:
        raise LimbeckError(
            f"{method} compares distributions over the positions of a map, and these maps have one position, "
            "1 x 1; use larger images, or networks with a smaller output stride"
        )
    return maps.flatten(2).flatten(0, 1)
