"""Patient KD for BERT Model Compression. Sun, Cheng, Gan & Liu, EMNLP 2019, arXiv:1908.09355.

Normalization and reduction are those of the authors' code, intersun/PKD-for-BERT-Model-Compression; the
paper's equation 7 is a sum over layers and numbers where that has their mean. There student and teacher are
as wide as each other; the projection for those that are not was chosen here, and so was the mean over
positions for networks without a [CLS] token.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce, unit
from limbeck.methods.parts.shapes import vectors
from limbeck.methods.parts.stages import (
    LayerMapping,
    Pairs,
    layers_for,
    mean_of_positions,
    stage_pairs,
    valid,
)
from limbeck.outputs import Batch, Outputs

State: TypeAlias = Literal["first", "mean"]


def pkd(student: Tensor, teacher: Tensor, normalize: bool = True, reduction: Reduction = "mean") -> Tensor:
    """Mean squared difference of the states of one layer, each of unit length (section 3.2).

        L = mean_i ||u(s_i) - u(t_i)||^2 / D,   u(x) = x / ||x||

    Args:
        student: (B, D) states.
        teacher: (B, D).
        normalize: whether they are brought to unit length, as in the paper.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: if they differ in shape or are no vectors.
    """
    vectors("pkd", student=student, teacher=teacher)
    if student.shape != teacher.shape:
        raise LimbeckError(
            f"pkd compares states of one shape, not {tuple(student.shape)} and {tuple(teacher.shape)}; bring "
            "the student's to the teacher's width by a linear layer"
        )
    ours, theirs = full_precision(student), full_precision(teacher)
    if normalize:
        ours, theirs = unit(ours), unit(theirs)
    return reduce((ours - theirs).square().mean(1), reduction)


class PKD(Method):
    """The student's sentence states follow the teacher's, layer by layer.

    The state of a sample in a stage is one vector, so teacher and student may read other tokens. What a
    network has for stages is found, at most four of them, spread over its depth; of a deeper one, name all
    blocks with `student.features.stages` and `teacher.features.stages`. The student's last stage, which its
    answer is made of, is left out, as in the paper. The value is the mean over the pairs of stages.

    Args:
        mapping: "skip" compares a stage with the teacher's at the same share of the depth, "last" with the
            teacher's last ones.
        pairs: [student's, teacher's] stages, counted from 0, in place of a mapping.
        state: the state of a sample in hidden states, that of the "first" token, such as [CLS], or the "mean"
            over its tokens; that of maps is always the mean. "first" for hidden states unless given.
        normalize: whether states are brought to unit length.
        deepest: whether the student's last stage is compared as well.
    """

    reads = Reads(student=("stages",), teacher=("stages",))
    recipe = "0.5*ce + 0.5*kd(temperature=10) + 100*pkd"  # of the grid that the paper searches
    per = "samples"

    def __init__(
        self,
        mapping: LayerMapping = "skip",
        *,
        pairs: Pairs | None = None,
        state: State | None = None,
        normalize: bool = True,
        deepest: bool = False,
    ) -> None:
        super().__init__()
        for name in ("mapping", "deepest"):
            if pairs is not None and name in self.given:
                raise LimbeckError(f"pkd: pairs say which stages are compared; leave {name} out")
        self.mapping, self.pairs, self.state = mapping, pairs, state
        self.normalize, self.deepest = normalize, deepest

    def bind(self, context: Context) -> None:
        """Settles which stages are compared, and builds a projection where they have other widths.

        Raises:
            LimbeckError: for a stage that a network has not, a student with one stage, and the first token of
                maps.
        """
        assert context.teacher is not None
        count = len(context.student.stages)
        if self.pairs is None and count == 1 and not self.deepest:
            raise LimbeckError(
                "pkd leaves out the student's last stage, which its answer is made of, and the student has "
                "one stage; write pkd(deepest=true), or name its blocks with student.features.stages"
            )
        mapped = enumerate(layers_for(self.name, self.mapping, count, len(context.teacher.stages), "stages"))
        chosen = self.pairs or list(mapped)[: count if self.deepest else -1]
        self.places = stage_pairs(self.name, context, chosen)
        self.projections = nn.ModuleList()
        for ours, theirs in self.places:
            own, wanted = (
                self._state(outputs, place).shape[1]
                for outputs, place in ((context.student, ours), (context.teacher, theirs))
            )
            self.projections.append(nn.Identity() if own == wanted else nn.Linear(own, wanted))

    def _state(self, outputs: Outputs, place: int) -> Tensor:
        """(B, D) of a stage."""
        stage = outputs.stages[place]
        if self.state == "first" and stage.ndim != 3:
            raise LimbeckError(
                f"pkd takes the first token of hidden states (tokens, channels), and stage {place} of a "
                f'network has the shape {tuple(stage.shape[1:])}; write pkd(state="mean")'
            )
        if stage.ndim == 3 and self.state != "mean":
            return stage[:, 0]
        return mean_of_positions(stage, valid(outputs, stage))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        losses = [
            pkd(projection(self._state(student, ours)), self._state(teacher, theirs), self.normalize)
            for projection, (ours, theirs) in zip(self.projections, self.places, strict=True)
        ]
        return torch.stack(losses).mean()
