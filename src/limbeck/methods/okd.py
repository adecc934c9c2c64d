"""Online KD for language models. Rao et al., 2024, arXiv:2409.12512. A reconstruction: no code was published.

Built from the abstract. It states that small online modules within the teacher are trained together with the
student, that the rest of the teacher is frozen, and that no text of the student is needed. That a module is a
low-rank addition to a linear layer, what the modules minimize, and every weight, were chosen here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from limbeck.arguments import Count, NonNegative, Positive
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.ce import cross_entropy
from limbeck.methods.declarations import Claim, Context, LossTerms, Reads
from limbeck.methods.kd import Divergence, kd
from limbeck.methods.parts.companions import copied_teacher, outputs_of
from limbeck.methods.parts.low_rank import add_to
from limbeck.methods.terms import Term
from limbeck.optimization import Adam
from limbeck.outputs import Batch, Outputs


class OKD(Method):
    """The student follows a copy of its teacher, of which small modules learn beside the student.

    The copy, p, stays near the teacher that is given, p_0, and moves to the student, q:

        student:  T^2 D(p, q)
        modules:  CE(y, p) + g KL(p || q) + r KL(p_0 || p)

    The terms are "kd" of the student, and "teacher.ce", "teacher.near" and "teacher.stays" of the modules.
    These have an optimizer of their own, Adam, and are not weighed by the objective. The student's own
    cross-entropy stands beside it: `0.5*ce + 0.5*okd`. Without g, r and a learning rate, it is `kd`. The
    teacher that is given never changes. The copy runs at every step, in eval mode.

    Args:
        temperature: T, divides both logits in the student's divergence.
        divergence: D, one of those of `kd`.
        near: g, weight of the distance of the copy from the student.
        stays: r, weight of the distance of the copy from the teacher that is given.
        rank: rank of the additions to the copy's linear layers, its head apart.
        alpha: their factor.
        lr: learning rate of the modules; 0 leaves the copy as it is.
    """

    reads = Reads(student=("logits",), teacher=("logits",), batch=("targets",))
    recipe = "0.5*ce + 0.5*okd"
    rows = "classes"
    tasks = ("language",)

    def __init__(
        self,
        temperature: Positive = 1.0,
        *,
        divergence: Divergence = "forward",
        near: NonNegative = 0.3,
        stays: NonNegative = 0.05,
        rank: Count = 8,
        alpha: Positive = 16.0,
        lr: NonNegative = 1e-4,
    ) -> None:
        super().__init__()
        self.temperature, self.divergence = temperature, divergence
        self.near, self.stays, self.rank, self.alpha, self.lr = near, stays, rank, alpha, lr

    @property
    def reads_in_training(self) -> Reads:
        """Nothing of the teacher, unless the copy is held near it."""
        return self.reads if self.stays else replace(self.reads, teacher=())

    def bind(self, context: Context) -> None:
        """Copies the teacher and adds the modules.

        Raises:
            LimbeckError: for a teacher without a network, or without a linear layer before its head.
        """
        copy, self.points = copied_teacher(self.name, context)
        head = "" if self.points.embedding is None else self.points.embedding.path
        self.modules_that_learn = add_to(copy.eval(), self.rank, self.alpha, but=head)
        if not len(self.modules_that_learn):
            raise LimbeckError(
                "okd adds modules to linear layers, and the teacher has none before its head; use kd"
            )
        self._copies = [copy]  # not a part of what is saved: all but the modules is the teacher's
        self.copied = context.teacher_name

    def claims(self) -> Sequence[Claim]:
        """The modules."""
        return [Claim(self.modules_that_learn, Adam(lr=self.lr))] if self.lr else []

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The term of the student and those of the modules."""
        assert batch.targets is not None
        copied = outputs_of(self._copies[0], self.points, batch, (), self.copied, positions=True).logits
        terms: dict[str, Tensor | Term] = {
            "kd": kd(student.logits, copied.detach(), self.temperature, divergence=self.divergence)
        }
        if self.lr:
            terms["teacher.ce"] = Term(cross_entropy(copied, batch.targets), "own")
            if self.near:
                terms["teacher.near"] = Term(kd(student.logits.detach(), copied, 1.0), "own", self.near)
            if self.stays:
                terms["teacher.stays"] = Term(kd(copied, teacher.logits, 1.0), "own", self.stays)
        return terms

    def train(self, mode: bool = True) -> OKD:
        """Sets the mode; the copy stays in eval mode."""
        super().train(mode)
        for copy in getattr(self, "_copies", ()):
            copy.eval()
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Method:
        for copy in getattr(self, "_copies", ()):
            copy._apply(fn)
        return super()._apply(fn, recurse)
