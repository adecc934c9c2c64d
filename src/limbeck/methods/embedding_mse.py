"""Mean squared error of embeddings, as in sentence-transformers' MSELoss.

Reimers & Gurevych, EMNLP 2020, arXiv:2004.09813 (section 2).
"""

from __future__ import annotations

from torch import Tensor

from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.matching import EmbeddingMatching
from limbeck.methods.parts.shapes import vectors
from limbeck.methods.parts.widths import same_width


def embedding_mse(student: Tensor, teacher: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Mean squared difference of the embeddings, over their components as well.

        L = mean_i mean_k (s_ik - t_ik)^2

    The mean over the components is the paper's, so the value falls with the width of unit vectors.

    Args:
        student: (B, D) embeddings.
        teacher: (B, D) embeddings.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: if the shapes differ, or are not (B, D).
    """
    vectors("embedding_mse", student=student, teacher=teacher)
    same_width("embedding_mse", student, teacher)
    return reduce((full_precision(student) - full_precision(teacher)).square().mean(1), reduction)


class EmbeddingMSE(EmbeddingMatching):
    """The student's embedding of each sample is the teacher's.

    Where the widths differ, a linear layer without bias maps the student's embedding to the teacher's space;
    it is trained along and not shipped.

    Args:
        projection: whether there may be such a layer; false refuses networks of different widths.
    """

    name = "embedding_mse"
    recipe = "embedding_mse"
    loss = staticmethod(embedding_mse)
