"""Undistillable: Making a Nasty Teacher That Cannot Teach Students.
Ma et al., ICLR 2021, arXiv:2105.07381. As in the authors' code, VITA-Group/Nasty-Teacher.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from limbeck.arguments import Count, NonNegative, Positive
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.ce import cross_entropy
from limbeck.methods.declarations import Context, LossTerms, Phase, Reads
from limbeck.methods.kd import kd
from limbeck.methods.parts.blocks import Reduction
from limbeck.methods.parts.companions import like_student, outputs_of
from limbeck.methods.parts.shapes import same_logits
from limbeck.methods.terms import Term
from limbeck.outputs import Batch, Outputs


def nasty(
    student_logits: Tensor, normal_logits: Tensor, temperature: float = 4.0, reduction: Reduction = "mean"
) -> Tensor:
    """Closeness of a network to its normally trained self, to be minimized.

        L = - mean_i T^2 KL(p || p_normal),   p = softmax(z / T)

    It is negative, or zero where both networks agree, and has no lower bound. The authors' code adds the
    constant 100 to keep its printed loss positive, which this does not.

    Args:
        student_logits: (B, C), C at least 2, of the network that is trained.
        normal_logits: (B, C) of its normal self; no gradient flows into them.
        temperature: T > 0, divides both logits.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: if the shapes differ or are no rows of at least 2 classes.
    """
    same_logits("nasty", student_logits, normal_logits)
    return -kd(normal_logits.detach(), student_logits, temperature, reduction)


class Nasty(Method):
    """Trains a teacher that is right, and whose soft targets are meant to mislead whoever would distill it.

    Beside the labels, the network learns to answer unlike its normally trained self. That is a copy with
    fresh weights; a phase trains it on the labels by the authors' recipe (SGD with momentum 0.9 and weight
    decay 5e-4, its rate a tenth after a half and again after three quarters of the epochs), and then it stays
    as it is. The term's value is negative.

    The authors' pairs of weight and temperature are 0.04 and 4 on CIFAR-10, the defaults here, 0.005 and 20
    on CIFAR-100, and 0.01 and 20 on Tiny-ImageNet.

    Args:
        weight: weight of the term. The larger, the further from the normal self and the less accurate; as
            the term has no lower bound, too large a weight leaves no accuracy.
        temperature: divides both logits before the softmax.
        normal: where the normal self comes from: "phase" trains it, "teacher" takes the teacher that is
            given, a trained network of any kind.
        epochs: number of epochs of the phase; best as many as the network itself is trained.
        lr: learning rate of the phase.
    """

    recipe = "ce + nasty"
    rows = "classes"

    def __init__(
        self,
        weight: NonNegative = 0.04,
        temperature: Positive = 4.0,
        normal: Literal["phase", "teacher"] = "phase",
        epochs: Count = 160,
        lr: Positive = 0.1,
    ) -> None:
        super().__init__()
        if normal == "teacher":
            for name in ("epochs", "lr"):
                if name in self.given:
                    raise LimbeckError(f"nasty: {name} is of the phase; leave it out with normal='teacher'")
        self.weight, self.temperature, self.taught = weight, temperature, normal == "teacher"
        self.epochs, self.lr = epochs, lr
        self.reads = Reads(student=("logits",), teacher=("logits",) if self.taught else ())

    def bind(self, context: Context) -> None:
        """Makes the copy, its weights drawn from torch's global generator.

        Raises:
            LimbeckError: for a network with a part whose weights cannot be drawn anew.
        """
        if not self.taught:
            instead = "train one before and give it as the teacher, nasty(normal='teacher')"
            self.normal, self.points = like_student(self.name, context, instead)

    def phases(self) -> Sequence[Phase]:
        """The training of the copy."""
        from limbeck.optimization import SGD, MultiStep

        if self.taught:
            return []
        return [
            Phase(
                name="normal",
                trains=[self.normal],
                loss=self._learn,
                reads=Reads(student=(), batch=("targets",)),
                epochs=self.epochs,
                optimizer=SGD(lr=self.lr, momentum=0.9, weight_decay=5e-4),
                schedule=MultiStep(milestones=(self.epochs / 2, self.epochs * 3 / 4)),
                freezes=True,
            )
        ]

    def _learn(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        assert batch.targets is not None
        return cross_entropy(outputs_of(self.normal, self.points, batch).logits, batch.targets)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """One term, the closeness to the normal self."""
        if self.taught:
            normal = teacher.logits
        else:
            with torch.no_grad():
                normal = outputs_of(self.normal, self.points, batch).logits
        return {"closeness": Term(nasty(student.logits, normal, self.temperature), weight=self.weight)}
