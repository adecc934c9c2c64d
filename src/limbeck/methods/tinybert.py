"""TinyBERT: Distilling BERT. Jiao et al., Findings of EMNLP 2020, arXiv:1909.10351.

The distances of attention maps, hidden states and embeddings of section 3.1, each a mean where the authors'
code, huawei-noah/Pretrained-Language-Model, has one, but over valid tokens alone: there padding counts.
Attention is compared after its softmax, as networks give it, and not before as there. Each pair of layers has
a projection of its own; there all layers share one. The paper's two stages of training and its data
augmentation are not here.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from limbeck.arguments import NonNegative
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, LossTerms, Reads
from limbeck.methods.fitnet import fitnet
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.shapes import floating
from limbeck.methods.parts.stages import (
    LayerMapping,
    check_same_tokens,
    comparable,
    layers_for,
    mean_over_positions,
    pooled_alike,
    valid,
)
from limbeck.methods.terms import Term
from limbeck.outputs import Batch, Outputs


def tinybert(
    student: Tensor, teacher: Tensor, mask: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Mean squared difference of attention maps (equation 7), over heads and pairs of valid tokens.

        L = mean_i sum over heads h and valid tokens j, k of (A_s - A_t)^2 / (heads n_i^2)

    A sample has n_i valid tokens.

    Args:
        student: (B, heads, L, L) how much each token attends to each.
        teacher: the same shape.
        mask: (B, L) true where a token is valid; all are without it.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: for two shapes, for what is no attention map, and for a mask of other tokens.
    """
    for name, tensor in (("student", student), ("teacher", teacher)):
        floating("tinybert", name, tensor)
    if student.ndim != 4 or student.shape != teacher.shape:
        raise LimbeckError(
            f"tinybert compares attention maps (B, heads, L, L) of one shape, not {tuple(student.shape)} and "
            f"{tuple(teacher.shape)}; compare means over the heads, maps.mean(1, keepdim=True), where the "
            "networks have different numbers of them"
        )
    difference = (full_precision(student) - full_precision(teacher)).square().mean(1)
    if mask is not None:
        if mask.dtype != torch.bool or mask.shape != student.shape[::2] or mask.shape != student.shape[::3]:
            raise LimbeckError(
                f"tinybert: mask should hold a truth value (B, L) for each token of {tuple(student.shape)}, "
                f"and is {mask.dtype} of shape {tuple(mask.shape)}"
            )
        mask = (mask.unsqueeze(2) & mask.unsqueeze(1)).flatten(1)
    return reduce(mean_over_positions(difference.flatten(1), mask), reduction)


class TinyBERT(Method):
    """Attention maps, hidden states and embeddings of the student follow the teacher's, layer by layer.

    The terms are "hidden", "stem" and "attention", each a sum over the layers. A linear projection, which
    learns with the student, brings the student's states to the teacher's width. The attention maps are those
    that a network returns as `attentions`, a tuple with one of each layer; Hugging Face networks are asked
    for them, and the student's have its dropout. Hidden states are the stages that were found, at most four,
    spread over the depth; of a deeper network, name all blocks with `student.features.stages` and
    `teacher.features.stages`. Both networks must read the same tokens. Maps (channels, height, width) have no
    attention, but are compared like hidden states, the larger average-pooled to the smaller's size.

    Args:
        mapping: "skip" compares a layer with the teacher's at the same share of the depth, as in the paper,
            "last" with the teacher's last ones.
        hidden: weight of the distance of the stages.
        stem: weight of the distance of what enters the first block, a text's embeddings.
        attention: weight of the distance of the attention maps; with 0 none are read.
        heads: what is compared of attention maps, those of "each" head, or their "mean", as must be where the
            networks have different numbers of heads.
    """

    reads = Reads(student=("stages", "stem", "attentions"), teacher=("stages", "stem", "attentions"))
    recipe = "kd(temperature=1) + tinybert"
    per = "samples"

    def __init__(
        self,
        mapping: LayerMapping = "skip",
        *,
        hidden: NonNegative = 1.0,
        stem: NonNegative = 1.0,
        attention: NonNegative = 1.0,
        heads: Literal["each", "mean"] = "each",
    ) -> None:
        super().__init__()
        if not attention and "heads" in self.given:
            raise LimbeckError("tinybert: with attention=0 no attention is read; leave heads out")
        self.mapping, self.heads = mapping, heads
        self.hidden, self.stem, self.attention = hidden, stem, attention
        weights = {"stages": hidden, "stem": stem, "attentions": attention}
        fields = tuple(field for field, weight in weights.items() if weight)
        if not fields:
            raise LimbeckError(
                "tinybert: with hidden=0, stem=0 and attention=0 nothing is left; give one a weight"
            )
        self.reads = Reads(student=fields, teacher=fields)

    def bind(self, context: Context) -> None:
        """Settles which layers are compared, and builds the projections.

        Raises:
            LimbeckError: for layers that cannot be compared, and for a teacher that reads other tokens.
        """
        ours, theirs = context.student, context.teacher
        assert theirs is not None
        self.places = self._mapped(ours, theirs, "stages") if self.hidden else []
        pairs = self._pairs(ours, theirs)
        stages = [student for student, _ in pairs]
        check_same_tokens(self.name, context, *stages, always=bool(self.attention))
        for student, teacher in pairs:
            if not comparable(student, teacher):
                raise LimbeckError(
                    "tinybert compares hidden states of the same tokens, or maps, and the student's of shape "
                    f"{tuple(student.shape[1:])} should follow the teacher's {tuple(teacher.shape[1:])}; "
                    "leave them out with hidden=0 or stem=0, or take pkd, which compares one state for each "
                    "sample"
                )
        self.projections = nn.ModuleList(
            nn.Linear(_channels(student), _channels(teacher)) for student, teacher in pairs
        )
        if self.attention:
            self._bind_attention(ours, theirs)

    def _pairs(self, student: Outputs, teacher: Outputs) -> list[tuple[Tensor, Tensor]]:
        """The stages that are compared, and the stem behind them."""
        pairs = [(student.stages[own], teacher.stages[other]) for own, other in self.places]
        return [*pairs, (student.stem, teacher.stem)] if self.stem else pairs

    def _bind_attention(self, ours: Outputs, theirs: Outputs) -> None:
        for whose, outputs in (("student", ours), ("teacher", theirs)):
            maps = outputs["attentions"]
            if not (isinstance(maps, tuple) and maps and all(isinstance(each, Tensor) for each in maps)):
                raise LimbeckError(
                    f"tinybert compares the attention maps of all layers, and the {whose} gives none as a "
                    "tuple of tensors; write tinybert(attention=0) to do without"
                )
        self.attended = self._mapped(ours, theirs, "attentions")
        for own, other in self.attended:
            student, teacher = ours["attentions"][own].shape, theirs["attentions"][other].shape
            if student[-2:] != teacher[-2:]:
                raise LimbeckError(
                    f"tinybert compares attention between the same tokens, and not maps {tuple(student[1:])} "
                    f"with {tuple(teacher[1:])}; write tinybert(attention=0) to do without"
                )
            if self.heads == "each" and student[1] != teacher[1]:
                raise LimbeckError(
                    f"tinybert compares attention head by head, and the student has {student[1]} heads and "
                    f'the teacher {teacher[1]}; write tinybert(heads="mean")'
                )

    def _mapped(self, ours: Outputs, theirs: Outputs, field: str) -> list[tuple[int, int]]:
        counts = len(ours[field]), len(theirs[field])
        return list(enumerate(layers_for(self.name, self.mapping, *counts, field)))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The terms that have a weight."""
        distances = [
            _distance(ours, theirs, projection, valid(student, ours))
            for (ours, theirs), projection in zip(
                self._pairs(student, teacher), self.projections, strict=True
            )
        ]
        found: dict[str, tuple[list[Tensor], float]] = {}
        if self.hidden:
            found["hidden"] = distances[: len(self.places)], self.hidden
        if self.stem:
            found["stem"] = distances[-1:], self.stem
        if self.attention:
            found["attention"] = self._attended(student, teacher), self.attention
        return {
            name: Term(torch.stack(losses).sum(), weight=weight, per=self.per)
            for name, (losses, weight) in found.items()
        }

    def _attended(self, student: Outputs, teacher: Outputs) -> list[Tensor]:
        """The distance of the attention maps of each pair of layers."""
        mask = student.mask if "mask" in student else None
        pairs = [(student["attentions"][own], teacher["attentions"][other]) for own, other in self.attended]
        if self.heads == "mean":
            pairs = [(ours.mean(1, keepdim=True), theirs.mean(1, keepdim=True)) for ours, theirs in pairs]
        return [tinybert(ours, theirs, mask) for ours, theirs in pairs]


def _channels(stage: Tensor) -> int:
    return stage.shape[1 if stage.ndim == 4 else 2]


def _distance(student: Tensor, teacher: Tensor, projection: nn.Module, mask: Tensor | None) -> Tensor:
    """The mean squared difference of two stages, the student's projected to the teacher's channels."""
    if student.ndim == 4:
        student, teacher = pooled_alike(student, teacher)
        return fitnet(projection(student.movedim(1, -1)).movedim(-1, 1), teacher)
    if student.shape[1] != teacher.shape[1]:
        raise LimbeckError(
            f"tinybert compares states token by token, and a text has {student.shape[1]} tokens for the "
            f"student and {teacher.shape[1]} for the teacher; take pkd, which compares one state for each "
            "sample, or kd"
        )
    return fitnet(projection(student), teacher, mask)
