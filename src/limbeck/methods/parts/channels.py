"""Which channels of two networks belong together, by how they respond to the same samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.methods.parts.blocks import gather
from limbeck.methods.parts.shapes import same_samples, vectors
from limbeck.optional import imported

RIDGE = 1e-8
"""Keeps a regression definite where channels repeat each other, and an exact map right to seven digits."""

Match = Literal["assignment", "regression"]


def channel_assignment(student: Tensor, teacher: Tensor) -> Tensor:
    """The teacher's channel for each of the student's: the matching whose correlations have the largest sum.

    No channel is taken twice. Where the teacher has more channels, the rest goes unused. A channel that is
    the same for all samples correlates with none.

    Args:
        student: (N, C_s) responses of its channels.
        teacher: (N, C_t) those of the teacher's to the same samples, C_t at least C_s.
    Returns: (C_s,) int64.
    Raises:
        LimbeckError: for other shapes, and for fewer channels than the student has.
    """
    _responses("channel_assignment", student, teacher)
    if teacher.shape[1] < student.shape[1]:
        raise LimbeckError(
            f"channel_assignment takes no channel twice, and the teacher has {teacher.shape[1]} for the "
            f"student's {student.shape[1]}; channel_regression maps any number"
        )
    return _assigned(_sums(student, teacher, "assignment"))


def channel_regression(student: Tensor, teacher: Tensor, ridge: float = RIDGE) -> Tensor:
    """The linear map W of the teacher's channels that is nearest to the student's, by ridge regression.

        W minimizes sum_n |s_n - W t_n|^2 + lambda |W|^2,   lambda = ridge * mean_c sum_n t_nc^2

    It has no intercept. The normal equations are solved in float64; where they leave W open it is the
    smallest.

    Args:
        student: (N, C_s) responses of its channels.
        teacher: (N, C_t) those of the teacher's to the same samples.
        ridge: the penalty for the mean square of a channel of the teacher's, at least 0.
    Returns: (C_s, C_t) float64.
    Raises:
        LimbeckError: for other shapes.
    """
    _responses("channel_regression", student, teacher)
    return _regressed(_sums(student, teacher, "regression"), ridge)


def _responses(name: str, student: Tensor, teacher: Tensor) -> None:
    vectors(name, student=student, teacher=teacher)
    same_samples(name, student, teacher)


def _sums(student: Tensor, teacher: Tensor, match: Match) -> dict[str, Tensor]:
    """What a match is solved from, in float64: sums over the samples, which add up over batches."""
    ours, theirs = student.double(), teacher.double()
    cross = ours.T @ theirs
    if match == "regression":
        return {"cross": cross, "gram": theirs.T @ theirs}
    return {
        "cross": cross,
        "count": cross.new_tensor(len(ours)),
        "student": ours.sum(0),
        "teacher": theirs.sum(0),
        "student_squares": ours.square().sum(0),
        "teacher_squares": theirs.square().sum(0),
    }


def _assigned(sums: Mapping[str, Tensor]) -> Tensor:
    """(C_s,) from the sums."""
    optimize = imported("scipy.optimize", "run")  # here: 0.2 s to import
    ours, theirs = _deviations(sums, "student"), _deviations(sums, "teacher")
    means = sums["student"][:, None] * sums["teacher"] / sums["count"] ** 2
    covariance = sums["cross"] / sums["count"] - means
    correlation = covariance / (ours[:, None] * theirs)  # a channel without deviation has an infinite one
    _, channels = optimize.linear_sum_assignment(correlation.cpu().numpy(), maximize=True)
    return torch.from_numpy(channels).to(correlation.device, torch.int64)


def _deviations(sums: Mapping[str, Tensor], network: str) -> Tensor:
    """(C,) standard deviations of a network's channels; infinite where rounding is all that is left."""
    mean = sums[network] / sums["count"]
    square = sums[f"{network}_squares"] / sums["count"]
    variance = square - mean.square()
    return variance.where(variance > 1e-12 * square, torch.inf).sqrt()


def _regressed(sums: Mapping[str, Tensor], ridge: float) -> Tensor:
    """(C_s, C_t) from the sums."""
    gram = sums["gram"]
    penalty = ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    solved: Tensor = sums["cross"] @ torch.linalg.pinv(gram + penalty, hermitian=True)
    return solved


class Sums(nn.Module):
    """The sums over a pass of the training set, of all processes; they stay in float64.

    Args:
        student: C_s.
        teacher: C_t.
        match: what they are for.
    """

    step: Tensor

    def __init__(self, student: int, teacher: int, match: Match) -> None:
        super().__init__()
        self.match: Match = match
        for name, sums in _sums(torch.zeros(0, student), torch.zeros(0, teacher), match).items():
            self.register_buffer(name, sums)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def add(self, student: Tensor, teacher: Tensor, step: int) -> None:
        """Adds the responses (N, C_s) and (N, C_t) of one process's share of a batch.

        Args:
            step: number of the step in the pass; one that is less than the last begins another pass.
        """
        same_pass = self.step <= step
        for name, sums in _sums(student, teacher, self.match).items():
            buffer = self.get_buffer(name)
            buffer.copy_(torch.where(same_pass, buffer, 0) + gather(sums[None]).sum(0))
        self.step.fill_(step)

    def solved(self, ridge: float) -> Tensor:
        """(C_s, C_t) the transform."""
        sums = dict(self.named_buffers())
        if self.match == "regression":
            return _regressed(sums, ridge)
        return torch.eye(len(sums["teacher"]), device=sums["teacher"].device)[_assigned(sums)]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Sums:
        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(fn(tensor).device)

        super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        return self
