"""FitNets: Hints for Thin Deep Nets. Romero et al., ICLR 2015, arXiv:1412.6550."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.regressors import regressor
from limbeck.methods.parts.shapes import stage_like, token_mask, word
from limbeck.methods.parts.sides import stage_side
from limbeck.methods.parts.stages import (
    check_same_tokens,
    described,
    mean_over_positions,
    stage_pair,
    valid,
)
from limbeck.outputs import Batch, Outputs

Loss = Literal["mse", "l1"]


def fitnet(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    loss: Loss = "mse",
) -> Tensor:
    """Mean squared difference of two stages (the hint loss, section 2.2, as a mean and without its 1/2).

        mse   L = mean_i ||s_i - t_i||^2 / n
        l1    L = mean_i ||s_i - t_i||_1 / n

    A sample has n numbers, those of padding not counted.

    Args:
        student: (B, C, H, W) map, (B, L, D) hidden states or (B, D) vectors, as the regressor gives them.
        teacher: the same shape.
        mask: (B, L) true where a token is valid; all are without it.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
        loss: which of the two.
    Raises:
        LimbeckError: for different or other shapes.
    """
    if student.shape != teacher.shape:
        raise LimbeckError(
            f"fitnet compares tensors of one shape, not {tuple(student.shape)} and {tuple(teacher.shape)}; "
            "bring the student's to the teacher's by a regressor"
        )
    stage_like("fitnet", (2, 3, 4), student=student, teacher=teacher)
    token_mask("fitnet", student, mask)
    difference = full_precision(student) - full_precision(teacher)
    word("fitnet", "loss", loss, Loss)
    difference = difference.square() if loss == "mse" else difference.abs()
    return reduce(mean_over_positions(difference if mask is None else difference.mean(2), mask), reduction)


class FitNet(Method):
    """A stage of the student, through a regressor, follows the teacher's.

    As in the CRD benchmark this is one more loss of the training, not a stage before it, and the regressor of
    maps is convolution, batch norm (over the batch of all processes) and ReLU. Hidden states and vectors,
    which may be negative, go through one linear layer. A cache keeps the teacher's whole stage: each of its
    numbers is compared.

    Args:
        stage: the one compared, counted from 0; or [student's, teacher's].
        loss: "mse", or "l1" for the absolute difference, as super-resolution has it.
        linear: whether the regressor of maps is a convolution alone, for stages that may be negative.
    """

    reads = Reads(student=("stages",), teacher=("stages",))
    recipe = "ce + 100*fitnet"  # the CRD benchmark's
    per = "samples"

    def __init__(self, stage: int | Sequence[int] = 1, loss: Loss = "mse", linear: bool = False) -> None:
        super().__init__()
        self.stage, self.loss, self.linear = stage, loss, linear

    def bind(self, context: Context) -> None:
        """Builds the regressor.

        Raises:
            LimbeckError: for stages that no regressor brings together.
        """
        assert context.teacher is not None
        self.pair = stage_pair(self.name, context, self.stage)
        ours, theirs = context.student.stages[self.pair[0]], context.teacher.stages[self.pair[1]]
        check_same_tokens(self.name, context, ours)
        found = regressor(ours, theirs, linear=self.linear)
        if found is None:
            raise LimbeckError(
                f"fitnet cannot bring together {described(context, self.pair)}; name two of about the same "
                "size with fitnet(stage=[student's, teacher's])"
            )
        self.regressor = found
        self.sides = (stage_side(context, self.pair[1]),)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        ours, (side,) = student.stages[self.pair[0]], self.sides
        return fitnet(self.regressor(ours), side.of(teacher), valid(student, ours), loss=self.loss)
