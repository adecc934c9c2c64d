"""The sides of teachers that several methods need: a whole stage, or a map no larger than the student's."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from limbeck.methods.declarations import Context
from limbeck.methods.parts.stages import StageField, pooled
from limbeck.outputs import Outputs
from limbeck.sides import Side, Size


def stage_side(context: Context, place: int, field: StageField = "stages") -> Side:
    """A whole stage of the teacher, for a loss that compares each of its numbers, or learns of what to make.

    Args:
        context: what the method is bound to.
        place: the stage, counted from 0, or from the end.
        field: what is read of it, itself or its pre-activation.
    """
    assert context.teacher is not None
    place %= len(context.teacher[field])
    return Side(f"{field}[{place}]", field, partial(_stage, field=field, place=place), place)


def pooled_side(
    context: Context, pair: tuple[int, int], field: StageField = "stages", most: int | None = None
) -> Side:
    """A stage of the teacher, average-pooled to the height and width of the student's where it is larger.

    It is for losses that pool both maps to the smaller size, which is then done. What is no map, and a map
    that is no larger, is whole.

    Args:
        context: what the method is bound to.
        pair: the student's and the teacher's stage.
        field: what is read of them.
        most: rows and columns at most.
    """
    assert context.teacher is not None
    ours, theirs = context.student[field][pair[0]], context.teacher[field][pair[1]]
    if not ours.ndim == theirs.ndim == 4:
        return stage_side(context, pair[1], field)
    place, size = pair[1] % len(context.teacher[field]), tuple(ours.shape[2:])
    height, width = smaller(theirs, size, most)
    whole = (height, width) == tuple(theirs.shape[2:])
    name = f"{field}[{place}]" + ("" if whole else f" pooled to {height} x {width}")
    return Side(name, field, partial(_pooled, field=field, place=place, most=most), place, size)


def smaller(maps: Tensor, size: Size, most: int | None = None) -> Size:
    """Height and width of maps, or of `size` where that is smaller, or `most`."""
    limits = size if most is None else [min(side, most) for side in size]
    return tuple(map(min, maps.shape[2:], limits))


def _stage(teacher: Outputs, size: Size, *, field: StageField, place: int) -> Tensor:
    stage: Tensor = teacher[field][place]
    return stage


def _pooled(teacher: Outputs, size: Size, *, field: StageField, place: int, most: int | None) -> Tensor:
    maps: Tensor = teacher[field][place]
    return pooled(maps, *smaller(maps, size, most))
