"""Cosine distance of embeddings, as in sentence-transformers' EmbedDistillLoss (metric "cosine")."""

from __future__ import annotations

from torch import Tensor

from limbeck.methods.parts.blocks import Reduction, full_precision, reduce, unit
from limbeck.methods.parts.matching import EmbeddingMatching
from limbeck.methods.parts.shapes import vectors
from limbeck.methods.parts.widths import same_width


def cosine(student: Tensor, teacher: Tensor, reduction: Reduction = "mean") -> Tensor:
    """One less the cosine of the angle between the two networks' embeddings of a sample.

        L = mean_i (1 - <s_i, t_i> / (|s_i| |t_i|))

    A vector of length 0 has the cosine 0 with any other, and no gradient.

    Args:
        student: (B, D) embeddings.
        teacher: (B, D) embeddings.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: if the shapes differ, or are not (B, D).
    """
    vectors("cosine", student=student, teacher=teacher)
    same_width("cosine", student, teacher)
    return reduce(1 - (unit(full_precision(student)) * unit(full_precision(teacher))).sum(1), reduction)


class Cosine(EmbeddingMatching):
    """The student's embedding of each sample points where the teacher's does.

    Where the widths differ, a linear layer without bias maps the student's embedding to the teacher's space;
    it is trained along and not shipped.

    Args:
        projection: whether there may be such a layer; false refuses networks of different widths.
    """

    recipe = "cosine"
    loss = staticmethod(cosine)
