"""What methods that compare stages share: which goes with which, and how their sizes are made to agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.arguments import Limits
from limbeck.errors import LimbeckError
from limbeck.methods.declarations import Context
from limbeck.notation import show
from limbeck.outputs import Inputs, Outputs, named

Pair: TypeAlias = Annotated[Sequence[int], Limits(min_length=2, max_length=2)]
"""A stage of the student and one of the teacher, each counted from 0, or from the end as in Python."""

Pairs: TypeAlias = Annotated[Sequence[Pair], Limits(min_length=1)]

LayerMapping: TypeAlias = Literal["skip", "last"]
"""Which of the teacher's layers the student's go with: those at the same share of the depth, or the last."""

StageField: TypeAlias = Literal["stages", "preactivations"]


def stage_pairs(
    method: str, context: Context, pairs: Sequence[Pair] | None, field: StageField = "stages"
) -> list[tuple[int, int]]:
    """The pairs, checked; all stages in order if there are none given.

    Args:
        method: its name, for messages.
        context: what the method is bound to.
        pairs: as they were given.
        field: what is read of the stages, themselves or their pre-activations.
    Raises:
        LimbeckError: for a stage that a network has not, and for different counts with no pairs given.
    """
    assert context.teacher is not None
    ours, theirs = len(context.student[field]), len(context.teacher[field])
    if pairs is None:
        if ours != theirs:
            raise LimbeckError(
                f"{method} pairs the stages in order, but the student has {ours} and the teacher {theirs}; "
                f"say which go together, for example {method}(pairs=[[0, 0], [{ours - 1}, {theirs - 1}]])"
            )
        pairs = [(place, place) for place in range(ours)]
    return [_checked(method, ours, theirs, *pair) for pair in pairs]


def at_same_depth(count: int, others: int) -> list[int]:
    """For each of `count` layers, the one of another network's `others` at the same share of the depth."""
    return [-(-(place + 1) * others // count) - 1 for place in range(count)]


def layers_for(method: str, mapping: LayerMapping, ours: int, theirs: int, what: str) -> list[int]:
    """The layer of the teacher that goes with each of the student's, from shallow to deep.

    Args:
        method: its name, for messages.
        mapping: how.
        ours: how many layers the student has.
        theirs: how many the teacher has.
        what: what is counted, for messages.
    Raises:
        LimbeckError: for a teacher of fewer layers, of which each of the student's should have one of its
            own.
    """
    if mapping == "skip":
        return at_same_depth(ours, theirs)
    if theirs < ours:
        raise LimbeckError(
            f"{method}: with mapping=\"last\" each of the student's {ours} {what} has one of the teacher's "
            f'last, and the teacher has {theirs}; write mapping="skip"'
        )
    return [theirs - ours + place for place in range(ours)]


def stage_pair(method: str, context: Context, stage: int | Sequence[int]) -> tuple[int, int]:
    """The pair that `stage` stands for: one number is the same place in both networks."""
    pair = (stage, stage) if isinstance(stage, int) else stage
    if len(pair) != 2:
        raise LimbeckError(f"{method}: stage is one number, or [student's, teacher's], not {show(pair)}")
    return stage_pairs(method, context, [pair])[0]


def _checked(method: str, ours: int, theirs: int, student: int, teacher: int) -> tuple[int, int]:
    for role, place, count in (("student", student, ours), ("teacher", teacher, theirs)):
        if not -count <= place < count:
            raise LimbeckError(
                f"{method} asks for stage {place} of the {role}, "
                + ("which has one stage, 0" if count == 1 else f"whose stages are 0 to {count - 1}")
            )
    return student, teacher


def described(context: Context, pair: tuple[int, int], field: StageField = "stages") -> str:
    """Both stages of a pair with the shapes of one sample, for messages."""
    assert context.teacher is not None
    student, teacher = context.student[field][pair[0]], context.teacher[field][pair[1]]
    return (
        f"stage {pair[0]} of the student {tuple(student.shape[1:])} "
        f"and stage {pair[1]} of the teacher {tuple(teacher.shape[1:])}"
    )


def valid(outputs: Outputs, stage: Tensor) -> Tensor | None:
    """(B, L) true where a token is valid, if the stage is hidden states (B, L, D) and some are padding."""
    return outputs.mask if stage.ndim == 3 and "mask" in outputs else None


def without_padding(stage: Tensor, mask: Tensor | None) -> Tensor:
    """The stage, zero where the mask (B, L) is false, if there is one."""
    return stage if mask is None else stage.masked_fill(~mask.unsqueeze(2), 0)


def check_same_tokens(method: str, context: Context, *stages: Tensor, always: bool = False) -> None:
    """Refuses to compare hidden states token by token where the teacher reads other tokens than the student.

    Args:
        method: its name, for messages.
        context: what the method is bound to.
        stages: those of the student that are compared.
        always: whether something else is compared token by token.
    Raises:
        LimbeckError: if one of them is hidden states (B, L, D), and the networks read different tokens.
    """
    by_token = always or any(stage.ndim == 3 for stage in stages)
    if by_token and not _same(context.example, context.teacher_example):
        raise LimbeckError(
            f"{method} compares a text token by token, and the teacher reads other tokens than the student; "
            "take pkd, which compares one state for each sample, or kd"
        )


def _same(first: Inputs, second: Inputs | None) -> bool:
    """Whether two networks read the same of a few samples, apart from what only one of them reads."""
    if second is None:
        return True
    ours, theirs = named(first), named(second)
    both = ours.keys() & theirs.keys()
    return bool(both) and all(ours[name].equal(theirs[name]) for name in both)


def comparable(student: Tensor, teacher: Tensor) -> bool:
    """Whether two stages of the same samples are maps, or sequences of one length."""
    maps = student.ndim == teacher.ndim == 4
    sequences = student.ndim == teacher.ndim == 3 and student.shape[1] == teacher.shape[1]
    return (maps or sequences) and len(student) == len(teacher)


def comparable_pairs(method: str, context: Context, pairs: Sequence[Pair] | None) -> list[tuple[int, int]]:
    """The pairs as `stage_pairs` has them, of stages that are `comparable`.

    Raises:
        LimbeckError: for stages without positions in common, besides what `stage_pairs` refuses.
    """
    assert context.teacher is not None
    places = stage_pairs(method, context, pairs)
    check_same_tokens(method, context, *(context.student.stages[ours] for ours, _ in places))
    for pair in places:
        if not comparable(context.student.stages[pair[0]], context.teacher.stages[pair[1]]):
            raise LimbeckError(
                f"{method} compares maps (channels, height, width), or sequences of one length, but not "
                f"{described(context, pair)}; name others with {method}(pairs=[[student's, teacher's], ...])"
            )
    return places


def alike_channels(student: Tensor, teacher: Tensor) -> bool:
    """Whether two stages of the same samples are maps, or hidden states, with as many channels."""
    axis = 1 if student.ndim == 4 else 2
    return (
        student.ndim == teacher.ndim
        and student.ndim in (3, 4)
        and (len(student), student.shape[axis]) == (len(teacher), teacher.shape[axis])
    )


def by_channel(stage: Tensor) -> Tensor:
    """(B, C, positions) of maps (B, C, H, W) or of hidden states (B, L, C)."""
    return stage.flatten(2) if stage.ndim == 4 else stage.transpose(1, 2)


def mean_of_positions(stage: Tensor, mask: Tensor | None) -> Tensor:
    """(B, C) the average of a stage, (B, C, H, W), (B, L, C) or (B, C), over its positions.

    Args:
        stage: the stage.
        mask: (B, L) true where a token is valid; all are without it.
    """
    if stage.ndim == 2:
        return stage
    mean = by_channel(without_padding(stage, mask)).mean(2)
    return mean if mask is None else mean * (mask.shape[1] / mask.sum(1, keepdim=True).clamp(min=1))


def mean_over_positions(values: Tensor, mask: Tensor | None) -> Tensor:
    """(B,) means of (B, ...) values; of (B, L) values only where the mask is true, if there is one."""
    if mask is None:
        return values.flatten(1).mean(1)
    return values.masked_fill(~mask, 0).sum(1) / mask.sum(1).clamp(min=1)


def doubling(losses: Sequence[Tensor]) -> Tensor:
    """The sum of the stages' losses, shallow to deep: the deepest counts 1, each other half as the next."""
    total, *rest = losses
    for loss in rest:
        total = total / 2 + loss
    return total


def pooled_alike(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps (B, C, H, W), each average-pooled to the smaller of their heights and of their widths."""
    height, width = (min(pair) for pair in zip(student.shape[2:], teacher.shape[2:], strict=True))
    return pooled(student, height, width), pooled(teacher, height, width)


def pooled(maps: Tensor, height: int, width: int) -> Tensor:
    """Maps (B, C, H, W), average-pooled to (B, C, height, width); a smaller one's pixels are repeated."""
    if maps.shape[2:] == (height, width):
        return maps
    if not height % maps.shape[2] and not width % maps.shape[3]:
        return torch.kron(maps, maps.new_ones(height // maps.shape[2], width // maps.shape[3]))
    if maps.shape[2] % height or maps.shape[3] % width:
        return F.adaptive_avg_pool2d(maps, (height, width))
    # The same, but with a gradient that is deterministic on a GPU.
    return F.avg_pool2d(maps, (maps.shape[2] // height, maps.shape[3] // width))
