"""Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden Neurons.
Heo et al., AAAI 2019, arXiv:1811.03233.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.arguments import Count, Positive
from limbeck.errors import LimbeckError
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.initializing import Initializing
from limbeck.methods.parts.regressors import connector
from limbeck.methods.parts.shapes import stage_like, token_mask
from limbeck.methods.parts.stages import (
    Pairs,
    StageField,
    check_same_tokens,
    described,
    doubling,
    stage_pairs,
    valid,
    without_padding,
)
from limbeck.outputs import Batch, Outputs

SCALE = 3 / 1000
"""What the CRD benchmark multiplies the loss by."""

FIELD: StageField = "preactivations"


def activation_boundary(
    student_stages: Sequence[Tensor],
    teacher_stages: Sequence[Tensor],
    margin: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Squared hinge loss that puts the student's neurons on the teacher's side of zero, by a margin.

        l(s, t) = relu(margin - s)^2 where t > 0, relu(margin + s)^2 elsewhere
        L       = 0.003 sum_i 2^(i - n) sum l(s_i, t_i),   i = 1..n

    Summed over a sample's neurons, so it grows with the stages. The weights of the stages and the factor are
    the CRD benchmark's.

    Args:
        student_stages: pre-activations of each stage, shallow to deep: (B, C, H, W), (B, L, D) or (B, D).
        teacher_stages: the same shapes.
        margin: by which the student is to be on the right side.
        mask: (B, L) true where a token is valid, for stages (B, L, D); all are without it.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: for stages of different number or shapes, or of other shapes.
    """
    shapes = [[tuple(stage.shape) for stage in stages] for stages in (student_stages, teacher_stages)]
    if shapes[0] != shapes[1] or not student_stages:
        raise LimbeckError(
            f"activation boundaries are compared in stages of the same shapes, not {shapes[0]} and "
            f"{shapes[1]}; bring the student's to the teacher's by regressors"
        )
    for ours, theirs in zip(student_stages, teacher_stages, strict=True):
        stage_like("activation_boundary", (2, 3, 4), student_stages=ours, teacher_stages=theirs)
        token_mask("activation_boundary", ours, mask if ours.ndim == 3 else None)
    stages = zip(student_stages, teacher_stages, strict=True)
    return reduce(SCALE * doubling([_hinge(*stage, margin, mask) for stage in stages]), reduction)


def _hinge(student: Tensor, teacher: Tensor, margin: float, mask: Tensor | None) -> Tensor:
    """(B,) sums over the neurons of one stage."""
    loss = F.relu(margin - torch.where(teacher > 0, 1, -1) * full_precision(student)).square()
    return without_padding(loss, mask if loss.ndim == 3 else None).flatten(1).sum(1)


class AB(Initializing):
    """The student starts with its neurons active for the inputs that the teacher's are active for.

    One phase trains the student's stages, and connectors of their pre-activations to the teacher's: the
    identity where the shapes agree, else the CRD benchmark's regressor without its ReLU. Then the student
    learns by whatever else is in the objective.

    Args:
        margin: by which the student is to be on the right side of zero.
        pairs: [student's, teacher's] stages to compare, shallow to deep, for the last counts most; counted
            from 0, and all in order unless given.
        epochs: number of epochs of the phase.
        lr: learning rate of the phase; the benchmark takes 0.01 for light students such as MobileNetV2.
    """

    reads = Reads(student=("preactivations",), teacher=("preactivations",))
    recipe = "ce + ab"
    per = "samples"

    def __init__(
        self,
        margin: Positive = 1.0,
        pairs: Pairs | None = None,
        epochs: Count = 30,
        lr: Positive = 0.05,
    ) -> None:
        super().__init__(epochs, lr)
        self.margin, self.pairs = margin, pairs

    def bind(self, context: Context) -> None:
        """Builds the connectors.

        Raises:
            LimbeckError: for stages that no regressor brings together.
        """
        super().bind(context)
        assert context.teacher is not None
        self.places = stage_pairs(self.name, context, self.pairs, FIELD)
        self.connectors = nn.ModuleList()
        for pair in self.places:
            ours, theirs = context.student.preactivations[pair[0]], context.teacher.preactivations[pair[1]]
            check_same_tokens(self.name, context, ours)
            found = connector(ours, theirs, relu=False)
            if found is None:
                raise LimbeckError(
                    f"ab cannot bring together {described(context, pair, FIELD)}; name stages of "
                    "about the same size with ab(pairs=[[student's, teacher's], ...])"
                )
            self.connectors.append(found)

    def initialize(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        places = zip(self.connectors, self.places, strict=True)
        ours = [connect(student.preactivations[place]) for connect, (place, _) in places]
        theirs = [teacher.preactivations[place] for _, place in self.places]
        return activation_boundary(ours, theirs, self.margin, valid(student, ours[0]))
