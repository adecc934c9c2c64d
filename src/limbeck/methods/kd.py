"""Distilling the Knowledge in a Neural Network. Hinton, Vinyals & Dean, 2015, arXiv:1503.02531.

The divergences beside the paper's are those that language models are distilled by: the reverse one, and the
Jensen-Shannon divergence with its mixture, of GKD (Agarwal et al., 2024, arXiv:2306.13649), and the total
variation distance of f-distill (Wen et al., 2023, arXiv:2307.15190).
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.arguments import Count, Limits, Positive
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.shapes import same_classes, same_logits
from limbeck.outputs import NEVER, Batch, Outputs
from limbeck.ranked import Ranked

Divergence = Literal["forward", "reverse", "jsd", "tv"]
Inner = Annotated[float, Limits(gt=0, lt=1, allow_inf_nan=False)]
"""A share that is neither nothing nor all."""


def kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 4.0,
    reduction: Reduction = "mean",
    known: Tensor | None = None,
    divergence: Divergence = "forward",
    beta: float = 0.5,
) -> Tensor:
    """Divergence of the student's softened output from the teacher's, T^2 D(p_t, p_s) (section 2).

        forward   KL(p_t || p_s), the paper's
        reverse   KL(p_s || p_t)
        jsd       beta KL(p_t || m) + (1 - beta) KL(p_s || m)   with m = beta p_t + (1 - beta) p_s
        tv        1/2 sum |p_t - p_s|, times T instead of T^2

    Where a teacher tells the probabilities of some classes and of the others their sum, the others are one
    class on both sides, whose probability is the sum of theirs, `pooled`. At temperature 1 that is at most
    the divergence of all classes, whichever it is: to add up classes is a map of the outcomes, and none of
    them grows under one (data processing). It is equal where both part the sum alike.

    Args:
        student_logits: (B, C), C at least 2.
        teacher_logits: (B, C).
        temperature: T > 0, divides both logits; T^2 (T for tv) keeps the gradient's scale.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
        known: (B, C) bool, the classes whose probabilities the teacher tells; None for all.
        divergence: D, by the names above.
        beta: share of the teacher in the mixture of jsd, in (0, 1).
    Raises:
        LimbeckError: for an unknown divergence, a beta beyond its limits, and if the shapes differ or are no
            rows of at least 2 classes.
    """
    same_logits("kd", student_logits, teacher_logits)
    if known is not None:
        same_classes("kd", student_logits, known)
        student_logits, teacher_logits = pooled(student_logits, known), pooled(teacher_logits, known)
    student = F.log_softmax(full_precision(student_logits) / temperature, dim=-1)
    teacher = F.log_softmax(full_precision(teacher_logits) / temperature, dim=-1)
    if divergence == "forward":
        rows = _kl(teacher, student)
    elif divergence == "reverse":
        rows = _kl(student, teacher)
    elif divergence == "jsd":
        if not 0 < beta < 1:
            raise LimbeckError(
                f"kd: beta should be above 0 and below 1, not {beta}; at both ends jsd is 0, and what others "
                "give for a beta of 0 is divergence='forward', for 1 'reverse'"
            )
        mixture = torch.logaddexp(teacher + math.log(beta), student + math.log1p(-beta))
        rows = beta * _kl(teacher, mixture) + (1 - beta) * _kl(student, mixture)
    elif divergence == "tv":
        return reduce(temperature * (teacher.exp() - student.exp()).abs().sum(-1) / 2, reduction)
    else:
        raise LimbeckError(f"kd: the divergence is forward, reverse, jsd or tv, not {divergence!r}")
    return reduce(temperature**2 * rows, reduction)


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """(B,) KL(p || q) of rows of log-probabilities."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)


def largest(logits: Tensor, count: int) -> Tensor:
    """(B, C) bool, the `count` classes of each row with the largest logits; all where there are no more."""
    known = torch.zeros_like(logits, dtype=torch.bool)
    return known.scatter_(-1, logits.topk(min(count, logits.shape[-1]), dim=-1).indices, True)


def pooled(logits: Tensor, known: Tensor) -> Tensor:
    """(B, C + 1) logits of the classes that are known and, in the last column, of all others as one class.

        z_other = log sum_{c not known} exp(z_c)

    Their softmax at temperature 1 is that of (B, C) with the probabilities of the others added up. What is no
    class of its own any more, and the last column where all are known, has the logit `NEVER`.

    Args:
        logits: (B, C).
        known: (B, C) bool.
    """
    logits = full_precision(logits)
    others = logits.masked_fill(known, NEVER).logsumexp(-1, keepdim=True)
    return torch.cat([logits.masked_fill(~known, NEVER), others], -1)


def told(logits: Tensor, ids: Tensor) -> Tensor:
    """(B, k + 1) logits of some classes and, in the last column, of all others as one class.

    As `pooled`, without the columns of the classes that are not told.

    Args:
        logits: (B, C).
        ids: (B, k) int64, other classes in each column of a row.
    """
    logits = full_precision(logits)
    others = logits.scatter(-1, ids, NEVER).logsumexp(-1, keepdim=True)
    return torch.cat([logits.gather(-1, ids), others], -1)


class KD(Method):
    """The student's softened class probabilities follow the teacher's.

    Of a teacher that is a file of answers, all forms of an answer are taken; the reverse divergence, which is
    without bound where the teacher gives a class no probability, takes logits and probabilities alone. Of the
    cache of a language model it takes the most probable tokens and the sum of all others, as the rest does.

    Args:
        temperature: divides both logits before the softmax.
        divergence: which divergence of the two, see the function `kd`: "forward", "reverse", "jsd" or "tv".
        beta: share of the teacher in the mixture of "jsd"; 0.5 if left out, and no other divergence has one.
        top: the teacher's classes with the largest probabilities that count each by itself; all others are
            one class. None for all classes by themselves.
    """

    reads = Reads(student=("logits",), teacher=("logits",))
    recipe = "0.1*ce + 0.9*kd"  # the CRD benchmark's
    rows = "classes"
    row_wise = True
    partial = True
    ranked = True

    def __init__(
        self,
        temperature: Positive = 4.0,
        *,
        divergence: Divergence = "forward",
        beta: Inner | None = None,
        top: Count | None = None,
    ) -> None:
        super().__init__()
        if beta is not None and divergence != "jsd":
            raise LimbeckError(f'kd: beta belongs to divergence="jsd", not to {divergence!r}; leave it out')
        self.temperature, self.divergence, self.top = temperature, divergence, top
        self.beta = 0.5 if beta is None else beta
        self.partial = divergence != "reverse"

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        if "logits" not in teacher:
            answers: Ranked = teacher["ranked"]
            answers = answers if self.top is None else answers.first(self.top)
            return self._divergence(told(student.logits, answers.ids), answers.pooled(), None)
        known = teacher.known
        if self.top is not None:
            among = largest(teacher.logits, self.top)
            known = among if known is None else among & known
        return self._divergence(student.logits, teacher.logits, known)

    def _divergence(self, student: Tensor, teacher: Tensor, known: Tensor | None) -> Tensor:
        return kd(
            student,
            teacher,
            self.temperature,
            known=known,
            divergence=self.divergence,
            beta=self.beta,
        )
