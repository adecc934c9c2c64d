"""Embeddings of different widths: a projection of the student's, where there has to be one."""

from __future__ import annotations

from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.methods.declarations import Context


def projection(context: Context, method: str, *, allowed: bool) -> nn.Module:
    """What brings the student's embedding to the width of the teacher's: a linear layer, or nothing to do.

    Args:
        context: of the method.
        method: its name, for the message.
        allowed: whether there may be a layer.
    Raises:
        LimbeckError: if the widths differ and there may be none.
    """
    assert context.teacher is not None
    ours, theirs = context.student.embedding.shape[1], context.teacher.embedding.shape[1]
    if ours == theirs:
        return nn.Identity()
    if not allowed:
        raise LimbeckError(
            f"{method}: the student's embedding has {ours} numbers and the teacher's {theirs}, and "
            "projection=false rules out a layer between them; give a student of the teacher's width, or "
            "leave it out"
        )
    return nn.Linear(ours, theirs, bias=False)


def same_width(method: str, student: Tensor, teacher: Tensor) -> None:
    """Refuses vectors of different widths, (P, D) and (P, D')."""
    if student.shape != teacher.shape:
        raise LimbeckError(
            f"{method} compares embeddings of one shape, not {tuple(student.shape)} and "
            f"{tuple(teacher.shape)}; project the student's first, torch.nn.Linear(D, D')"
        )
