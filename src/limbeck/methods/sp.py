"""Similarity-Preserving Knowledge Distillation. Tung & Mori, ICCV 2019, arXiv:1907.09682."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.parts.blocks import full_precision, gather
from limbeck.methods.parts.shapes import same_samples, sample_wise
from limbeck.methods.parts.sides import stage_side
from limbeck.methods.parts.stages import stage_pair, valid, without_padding
from limbeck.outputs import Batch, Outputs


def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of two matrices of similarities in the batch, over B^2 (section 3).

        L = sum_i ||g_i(s) - g_i(t)||^2 / B^2,   g_i = G_i / ||G_i||,   G_ij = x_i . x_j

    G holds the inner products of the samples' activations x. The row G_i of a sample whose activations are
    all zero stays zero and gets no gradient.

    Args:
        student: (B, ...) activations of one stage, flattened for each sample.
        teacher: (B, ...) the same; only B must agree.
    Returns: scalar.
    Raises:
        LimbeckError: for different numbers of samples.
    """
    sample_wise("similarity_preserving", student=student, teacher=teacher)
    same_samples("sp", student, teacher)
    return (_similarities(student) - _similarities(teacher)).square().mean()


def _similarities(stage: Tensor) -> Tensor:
    flat = full_precision(stage).flatten(1)
    products = flat @ flat.T
    # The gradient of F.normalize at zero is 1e12; a sample without any activation is left out of it.
    return F.normalize(products, dim=1).where(products.any(1, keepdim=True), 0)


class SP(Method):
    """Samples that are alike to the teacher are alike to the student.

    The samples that are compared are those of the whole batch, of all processes. In a token model padding
    counts as zero. A cache keeps the whole stage: the relations are between samples, which come together
    anew in each batch.

    Args:
        stage: the one compared, counted from 0, or from the end; or [student's, teacher's].
    """

    reads = Reads(student=("stages",), teacher=("stages",))
    recipe = "ce + 3000*sp"  # the CRD benchmark's
    per = "samples"
    min_samples = 2

    def __init__(self, stage: int | Sequence[int] = -1) -> None:
        super().__init__()
        self.stage = stage

    def bind(self, context: Context) -> None:
        """Settles which stages are compared."""
        self.pair = stage_pair(self.name, context, self.stage)
        self.sides = (stage_side(context, self.pair[1]),)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar, over the batch of all processes."""
        ours, theirs = student.stages[self.pair[0]], self.sides[0].of(teacher)
        return similarity_preserving(
            gather(without_padding(ours, valid(student, ours))),
            gather(without_padding(theirs, valid(teacher, theirs))),
        )
