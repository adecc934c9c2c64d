"""Correlation Congruence for Knowledge Distillation. Peng et al., ICCV 2019, arXiv:1904.01802."""

from __future__ import annotations

import math

from torch import Tensor, nn

from limbeck.arguments import Count
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.parts.blocks import Form, full_precision, gather, unit
from limbeck.methods.parts.shapes import same_samples, sample_wise, word
from limbeck.outputs import Batch, Outputs

GAMMA = 0.4
"""The paper's width of the Gaussian kernel; its expansion ends with the second order."""


def correlation_congruence(student: Tensor, teacher: Tensor, form: Form = "benchmark") -> Tensor:
    """How far the samples' relations to each other differ, in one of two forms.

    "benchmark" is what the paper's authors gave the CRD benchmark, whose weight belongs to it: the absolute
    errors d_i = |s_i - t_i| of neighboring samples of the batch, multiplied and summed over the width:

        mean over i < B of  d_i . d_{i+1}

    "paper" is section 3's: the squared distance of two kernel matrices over B^2. Each is a Gaussian kernel of
    unit vectors x, expanded to the second order (gamma 0.4):

        ||K(s) - K(t)||^2 / B^2,   K_ij = exp(-2 gamma) sum over p = 0, 1, 2 of (2 gamma x_i.x_j)^p / p!

    Args:
        student: (B, ...) embeddings, flattened for each sample.
        teacher: (B, ...) the same, and in the benchmark's form of the same shape.
        form: which of the two.
    Returns: scalar.
    Raises:
        LimbeckError: for different numbers of samples; in the benchmark's form for different shapes, and for
            a batch of one.
    """
    word("correlation_congruence", "form", form, Form)
    sample_wise("correlation_congruence", student=student, teacher=teacher)
    student, teacher = full_precision(student).flatten(1), full_precision(teacher).flatten(1)
    if form == "paper":
        same_samples("correlation congruence", student, teacher)
        return (_kernel(student) - _kernel(teacher)).square().mean()
    if student.shape != teacher.shape or len(student) < 2:
        raise LimbeckError(
            "correlation congruence compares neighboring samples of a batch of at least 2, embedded in one "
            f"space, not {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    error = (student - teacher).abs()
    return (error[:-1] * error[1:]).sum(1).mean()


def _kernel(embedding: Tensor) -> Tensor:
    vectors = unit(embedding)
    product = 2 * GAMMA * vectors @ vectors.T
    return math.exp(-2 * GAMMA) * (1 + product + product.square() / 2)


class CC(Method):
    """The student relates the samples of a batch to each other as the teacher does.

    In the benchmark's form both embeddings go through linear maps to one space, and both maps are trained;
    the paper's form compares the embeddings themselves. The samples are those of the whole batch, of all
    processes.

    Args:
        form: "benchmark", to which the recipe's weight belongs, or "paper".
        dim: size of the space that embeddings are mapped to.
    """

    reads = Reads(student=("embedding",), teacher=("embedding",))
    recipe = "ce + 0.02*cc"  # the CRD benchmark's
    relates = True
    min_samples = 2

    def __init__(self, form: Form = "benchmark", dim: Count = 128) -> None:
        super().__init__()
        if form == "paper" and "dim" in self.given:
            raise LimbeckError('cc: form="paper" maps embeddings to no other space; leave dim out')
        self.form: Form = form
        self.dim = dim

    def bind(self, context: Context) -> None:
        """Builds the linear maps, if the form has them."""
        assert context.teacher is not None
        self.embed_student, self.embed_teacher = (
            nn.Identity() if self.form == "paper" else nn.Linear(outputs.embedding.shape[1], self.dim)
            for outputs in (context.student, context.teacher)
        )

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar, over the batch of all processes."""
        ours, theirs = self.embed_student(student.embedding), self.embed_teacher(teacher.embedding)
        return correlation_congruence(gather(ours), gather(theirs), self.form)
