"""Densely Guided Knowledge Distillation using Multiple Teacher Assistants. Son, Na, Choi & Hwang, ICCV 2021.

arXiv:2009.08825. The defaults are those of the authors' code, wonchulSon/DGKD, which takes the mean of the
divergence over all elements; here it is the batch mean, as in the equation, which is C times as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from limbeck.arguments import Limits, Positive
from limbeck.errors import LimbeckError
from limbeck.hashing import mix
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.kd import kd
from limbeck.methods.parts.blocks import Reduction, reduce
from limbeck.methods.parts.experts import check_sizes, expert_known, expert_logits, expert_names
from limbeck.methods.parts.shapes import same_logits
from limbeck.outputs import Batch, Outputs

_SALT = 0x64676B64  # no other hash of a seed starts with it


def dgkd(
    student_logits: Tensor,
    expert_logits: Sequence[Tensor],
    temperature: float = 5.0,
    kept: Tensor | None = None,
    reduction: Reduction = "mean",
    known: Sequence[Tensor] | None = None,
) -> Tensor:
    """Divergence from all experts at once; some of its terms may be dropped.

        L = mean_i T^2 sum_k kept_k KL(p_k || p_s),   p = softmax(z / T)

    Args:
        student_logits: (B, C), C at least 2.
        expert_logits: (B, C) of each of K experts, the teacher and its assistants.
        temperature: T > 0, divides all logits; T^2 keeps the gradient's scale.
        kept: (K,) truth values, the terms that count, the others are not made up for; all of them if None.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
        known: (B, C) bool of each expert, the classes that it tells apart (see `kd`); None for all.
    Raises:
        LimbeckError: if the shapes differ or are no rows of at least 2 classes, and for no expert at all.
    """
    if not expert_logits:
        raise LimbeckError("dgkd: expert_logits must hold the logits of one expert at least")
    for logits in expert_logits:
        same_logits("dgkd", student_logits, logits)
    apart: Sequence[Tensor | None] = [None] * len(expert_logits) if known is None else known
    terms = torch.stack(
        [
            kd(student_logits, logits, temperature, "none", told)
            for logits, told in zip(expert_logits, apart, strict=True)
        ]
    )
    if kept is not None:
        if kept.shape != (len(terms),) or kept.dtype != torch.bool:
            raise LimbeckError(
                f"dgkd: kept must be {len(terms)} truth values, one for each expert, not {kept.dtype} of "
                f"shape {tuple(kept.shape)}"
            )
        terms = terms.where(kept.unsqueeze(1), 0)
    return reduce(terms.sum(0), reduction)


class DGKD(Method):
    """The student follows a teacher and all its assistants at once, of whom some are left out at each step.

    The cross-entropy stands outside: (1 - lambda) CE + lambda DGKD is `0.5*ce + 0.5*dgkd(...)` for a lambda
    of 0.5. The authors' code has a lambda of 1 and so no cross-entropy. Which terms are dropped is drawn anew
    at each step, each as likely as any other, the teacher's too; what is left is not scaled up for them.

    Args:
        teachers: names of the experts from the smallest to the largest.
        temperature: divides all logits before the softmax.
        drop: how many terms are dropped at each step, fewer than there are teachers; 0 for none, which also
            frees it from knowing the step.
    """

    reads = Reads(student=("logits",), teacher=("logits",), batch=("progress",))
    recipe = 'dgkd(teachers=["small", "big"])'
    rows = "classes"
    partial = True

    def __init__(
        self,
        teachers: Sequence[str],
        *,
        temperature: Positive = 5.0,
        drop: Annotated[int, Limits(ge=0)] = 1,
    ) -> None:
        super().__init__()
        self.experts = expert_names(self.name, teachers, self.teacher_name)
        if drop >= len(self.experts):
            raise LimbeckError(
                f"dgkd: drop={drop} leaves none of {len(self.experts)} teachers to learn from; it should be"
                f" {len(self.experts) - 1} at most"
            )
        self.temperature, self.drop = temperature, drop
        self.reads = Reads(
            student=("logits",),
            teacher=("logits",),
            teachers=self.experts,
            batch=("progress",) if drop else (),
        )

    def bind(self, context: Context) -> None:
        """Draws the seed of what is dropped; refuses experts in another order than by size."""
        check_sizes(self.name, self.experts, context)
        self.draws: Tensor
        self.register_buffer("draws", torch.randint(2**62, ()))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        return dgkd(
            student.logits,
            expert_logits(self.experts, teacher),
            self.temperature,
            self._kept(batch),
            known=expert_known(self.experts, teacher),
        )

    def _kept(self, batch: Batch) -> Tensor | None:
        """(K,) the terms that this step keeps, the same in every process and piece; None for all of them."""
        if not (self.drop and self.training):
            return None
        assert batch.progress is not None
        places = torch.arange(len(self.experts), device=self.draws.device)
        drawn = mix(_SALT, self.draws, batch.progress.step, places)
        return drawn.argsort().argsort() >= self.drop
