"""Dual-student KD. Gore, Dey & Mishra, 2025, arXiv:2511.18826. Partly a reconstruction: there is no code.

The full title is Uncertainty-Aware Dual-Student Knowledge Distillation for Efficient Image Classification.
Its abstract and a summary of it state that two students of different architectures learn together from the
labels, from a frozen teacher's soft targets and from each other, and how a sample's weight follows from the
teacher's entropy. The form of the three terms, their weights and temperature, that the entropy is that at
temperature 1 and that it does not weigh the term between the students, were chosen here.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.arguments import NonNegative, Positive
from limbeck.methods.base import Method
from limbeck.methods.ce import cross_entropy
from limbeck.methods.declarations import Context, LossTerms, Reads
from limbeck.methods.kd import kd
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.companions import built, like_student, outputs_of
from limbeck.methods.parts.shapes import class_logits, same_logits
from limbeck.methods.terms import Term
from limbeck.outputs import Batch, Outputs


def uncertainty_weights(teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """How sure the teacher is of each sample, w = 1 - H(softmax(z_t / T)) / log C, without gradient.

    It is 1 where all probability is on one class and 0 where all C have the same, so it depends on C.

    Args:
        teacher_logits: (B, C), C at least 2.
        temperature: T > 0.
    Returns: (B,) from 0 to 1.
    Raises:
        LimbeckError: for what is no rows of at least 2 classes.
    """
    class_logits("uncertainty_weights", teacher_logits=teacher_logits)
    log_shares = F.log_softmax(full_precision(teacher_logits.detach()) / temperature, dim=1)
    entropy = -(log_shares.exp() * log_shares).sum(1)
    return (1 - entropy / math.log(teacher_logits.shape[1])).clamp(0, 1)


def uncertainty_weighted_kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 4.0,
    weight_temperature: float = 1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Divergence from the teacher's output, each sample by how sure the teacher is of it.

        L = mean_i w_i T^2 KL(softmax(z_t / T) || softmax(z_s / T))

    The mean is over all samples and not over the sum of the weights.

    Args:
        student_logits: (B, C), C at least 2.
        teacher_logits: (B, C).
        temperature: T > 0.
        weight_temperature: that of the teacher's logits in the weight (`uncertainty_weights`).
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: if the shapes differ or are no rows of at least 2 classes.
    """
    same_logits("uncertainty_weighted_kd", student_logits, teacher_logits)
    divergence = kd(student_logits, teacher_logits, temperature, reduction="none")
    return reduce(uncertainty_weights(teacher_logits, weight_temperature) * divergence, reduction)


class Dual(Method):
    """The student and a peer learn the labels, from a frozen teacher where it is sure, and from each other.

    Each of the two minimizes

        alpha CE(z, y) + beta mean_i w_i T^2 KL(p_t || p) + gamma mean_i T^2 KL(p_other || p)

    with w = 1 - H(softmax(z_t)) / log C, and does not learn from what the other makes of its output. The
    student is the one that ships; the peer is a part of the method and trains with the student's optimizer.
    The student's terms are "ce", "kd" and "mutual"; those of the peer, "peer.ce" and so on, have the same
    alpha, beta and gamma, and the objective's weight leaves them as they are.

    Args:
        peer: name of the peer in `limbeck models`, for example "cnn(channels=[8, 16])"; in the paper it has
            another architecture than the student. Unless given it is like the student, with fresh weights. It
            sees the same inputs, and has the student's normalization unless it brings its own.
        alpha: weight of the cross-entropy.
        beta: weight of the teacher's term.
        gamma: weight of the other network's term.
        temperature: T of both divergences.
        weight_temperature: divides the teacher's logits in the weight w.
        weigh_mutual: whether the term between the students is weighted by w, too.
    """

    fits_labels = True
    reads = Reads(student=("logits",), teacher=("logits",), batch=("targets",))
    recipe = "dual"
    rows = "classes"

    def __init__(
        self,
        peer: str | None = None,
        *,
        alpha: NonNegative = 1.0,
        beta: NonNegative = 1.0,
        gamma: NonNegative = 1.0,
        temperature: Positive = 4.0,
        weight_temperature: Positive = 1.0,
        weigh_mutual: bool = False,
    ) -> None:
        super().__init__()
        self.spec = peer
        self.alpha, self.beta, self.gamma = alpha, beta, gamma
        self.temperature, self.weight_temperature = temperature, weight_temperature
        self.weigh_mutual = weigh_mutual

    def bind(self, context: Context) -> None:
        """Builds the peer, its weights drawn from torch's global generator.

        Raises:
            LimbeckError: for a peer that cannot be built, or has another number of outputs.
        """
        self.peer: nn.Module
        if self.spec is None:
            instead = 'name the peer, for example dual(peer="my_models:make()")'
            self.peer, self.points = like_student(self.name, context, instead)
        else:
            self.peer, self.points = built(self.name, self.spec, context)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The terms of both networks."""
        targets = batch.targets
        assert targets is not None
        ours, theirs = student.logits, outputs_of(self.peer, self.points, batch).logits
        terms: dict[str, Term] = {}
        for name, own, other in (("", ours, theirs), ("peer.", theirs, ours)):
            taught = uncertainty_weighted_kd(own, teacher.logits, self.temperature, self.weight_temperature)
            mutual = kd(own, other.detach(), self.temperature, reduction="none")
            if self.weigh_mutual:
                mutual = uncertainty_weights(teacher.logits, self.weight_temperature) * mutual
            terms[f"{name}ce"] = Term(cross_entropy(own, targets), "own" if name else "task", self.alpha)
            terms[f"{name}kd"] = Term(taught, "own" if name else "distillation", self.beta)
            terms[f"{name}mutual"] = Term(mutual.mean(), "own" if name else "distillation", self.gamma)
        return terms
