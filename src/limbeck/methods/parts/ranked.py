"""What functions of scores refuse."""

from __future__ import annotations

from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.methods.parts.shapes import floating


def same_scores(method: str, student_scores: Tensor, teacher_scores: Tensor) -> None:
    """Refuses anything but scores (Q, n) of one shape, n at least 2."""
    floating(method, "student_scores", student_scores)
    floating(method, "teacher_scores", teacher_scores)
    if student_scores.ndim != 2 or student_scores.shape[1] < 2:
        raise LimbeckError(
            f"{method}: student_scores must have the shape (Q, n), the scores of each query with its n "
            f"candidates, at least 2, not {tuple(student_scores.shape)}"
        )
    if student_scores.shape != teacher_scores.shape:
        raise LimbeckError(
            f"{method} compares scores of the same pairs, not {tuple(student_scores.shape)} and "
            f"{tuple(teacher_scores.shape)}"
        )
