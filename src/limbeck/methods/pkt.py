"""Probabilistic Knowledge Transfer. Passalis & Tefas, ECCV 2018, arXiv:1803.10837."""

from __future__ import annotations

import torch
from torch import Tensor

from limbeck.methods.base import Method
from limbeck.methods.declarations import Reads
from limbeck.methods.parts.blocks import Form, full_precision, gather, unit
from limbeck.methods.parts.shapes import same_samples, sample_wise, word
from limbeck.outputs import Batch, Outputs

EPSILON = 1e-7


def pkt(student: Tensor, teacher: Tensor, form: Form = "benchmark") -> Tensor:
    """Divergence of the student's probabilities that two samples are neighbors from the teacher's.

        paper       L = sum over i, j with j != i of p_ij log(p_ij / q_ij),   p_ij = K_ij / sum_{j != i} K_ij
        benchmark   L = mean over i, j of p_ij log(p_ij / q_ij),   p_ij = K_ij / sum_j K_ij
        K_ij = (1 + cos(t_i, t_j)) / 2,   q_ij the same of the student

    The CRD benchmark's form, as in the authors' code, counts a sample as its own neighbor too and is a mean
    over B^2: hence its weight of 30000. In the logarithm 1e-7 is added to p and to q.

    Args:
        student: (B, ...) embeddings, flattened for each sample.
        teacher: (B, ...) the same; only B must agree.
        form: "benchmark" or "paper".
    Returns: scalar.
    Raises:
        LimbeckError: for different numbers of samples.
    """
    word("pkt", "form", form, Form)
    sample_wise("pkt", student=student, teacher=teacher)
    same_samples("pkt", student, teacher)
    q, p = _probabilities(student, form), _probabilities(teacher, form)
    divergences = p * ((p + EPSILON) / (q + EPSILON)).log()
    return divergences.sum() if form == "paper" else divergences.mean()


def _probabilities(embedding: Tensor, form: Form) -> Tensor:
    vectors = unit(full_precision(embedding).flatten(1))
    kernel = ((1 + vectors @ vectors.T) / 2).clamp(min=0)  # rounded, a cosine may be less than -1
    if form == "paper":
        kernel = kernel * (1 - torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device))
    return kernel / kernel.sum(1, keepdim=True).clamp(min=EPSILON)


class PKT(Method):
    """The probabilities that two samples are neighbors match the teacher's.

    The samples that are compared are those of the whole batch, of all processes.

    Args:
        form: "benchmark", to which the recipe's weight belongs, or "paper".
    """

    reads = Reads(student=("embedding",), teacher=("embedding",))
    recipe = "ce + 30000*pkt"  # the CRD benchmark's
    relates = True
    min_samples = 2

    def __init__(self, form: Form = "benchmark") -> None:
        super().__init__()
        self.form: Form = form

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar, over the batch of all processes."""
        return pkt(gather(student.embedding), gather(teacher.embedding), self.form)
