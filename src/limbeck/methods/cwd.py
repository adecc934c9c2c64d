"""Channel-wise Knowledge Distillation for Dense Prediction. Shu et al., ICCV 2021, arXiv:2011.13256."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from limbeck.arguments import Positive
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.kd import kd
from limbeck.methods.parts.blocks import Reduction, reduce
from limbeck.methods.parts.maps import logit_maps, over_positions, resized_alike
from limbeck.methods.parts.shapes import stage_like
from limbeck.methods.parts.sides import stage_side
from limbeck.methods.parts.stages import described, stage_pair
from limbeck.outputs import Batch, Outputs


def cwd(student: Tensor, teacher: Tensor, temperature: float = 4.0, reduction: Reduction = "mean") -> Tensor:
    """Divergence of each channel's distribution over the positions (equations 4 and 5).

        T^2 / C sum_c KL(p_t[c] || p_s[c]),   p[c] = softmax over positions of z[c] / T

    Args:
        student: (B, C, H, W) logits, or a stage; at least 2 positions.
        teacher: the same shape.
        temperature: T > 0.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: for different or other shapes, and for a single position.
    """
    stage_like("cwd", (4,), student=student, teacher=teacher)
    if student.shape != teacher.shape:
        raise LimbeckError(
            f"cwd compares maps of one shape, not {tuple(student.shape)} and {tuple(teacher.shape)}; resize "
            "the student's, and bring it to as many channels by a 1x1 convolution"
        )
    by_channel = kd(over_positions("cwd", student), over_positions("cwd", teacher), temperature, "none")
    return reduce(by_channel.view(student.shape[:2]).mean(1), reduction)


class CWD(Method):
    """Each channel of the student is active at the same positions as the teacher's.

    Without a stage these are the logits, a channel for each class, as the network gives them; all positions
    count, whether the label does or not. Where sizes differ, the student's maps are resized to the teacher's,
    bilinearly. Where a stage has another number of channels, a 1x1 convolution brings it to the teacher's. A
    cache keeps the whole logits or the whole stage: the softmax is over the teacher's own positions.

    Args:
        temperature: divides both maps before the softmax over the positions.
        stage: the stage compared instead of the logits, counted from 0; or [student's, teacher's].
    """

    reads = Reads(student=("logits",), teacher=("logits",))
    recipe = "ce + 3*cwd"  # section 4.1, for logits
    tasks = ("segmentation",)
    per = "samples"

    def __init__(self, temperature: Positive = 4.0, stage: int | Sequence[int] | None = None) -> None:
        super().__init__()
        self.temperature, self.stage = temperature, stage
        if stage is not None:
            self.reads = Reads(student=("stages",), teacher=("stages",))

    def bind(self, context: Context) -> None:
        """Builds the convolution, where one is needed.

        Raises:
            LimbeckError: for logits or stages that are no maps.
        """
        assert context.teacher is not None
        self.projection: nn.Module = nn.Identity()
        if self.stage is None:
            logit_maps(self.name, context)
            return
        self.pair = stage_pair(self.name, context, self.stage)
        ours, theirs = context.student.stages[self.pair[0]], context.teacher.stages[self.pair[1]]
        if ours.ndim != 4 or theirs.ndim != 4:
            raise LimbeckError(
                f"cwd compares maps (channels, height, width), not {described(context, self.pair)}"
            )
        if ours.shape[1] != theirs.shape[1]:
            self.projection = nn.Conv2d(ours.shape[1], theirs.shape[1], 1)
        self.sides = (stage_side(context, self.pair[1]),)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        if self.stage is None:
            ours, theirs = student.maps, teacher.maps
        else:
            ours, theirs = self.projection(student.stages[self.pair[0]]), self.sides[0].of(teacher)
        return cwd(resized_alike(ours, theirs), theirs, self.temperature)
