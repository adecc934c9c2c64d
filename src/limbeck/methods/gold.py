"""General Online Logit Distillation: tokens of two tokenizers, aligned by the bytes that they cover.

As the GOLD trainer of TRL describes it (https://huggingface.co/docs/trl/gold_trainer), an extension of ULD
(Boizard et al., 2024, arXiv:2402.12030).
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from limbeck.arguments import Limits, Positive
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.shapes import class_logits, same_samples
from limbeck.methods.uld import counterparts, sorted_distance
from limbeck.outputs import Batch, Outputs
from limbeck.retold import APART

Part = Annotated[float, Limits(ge=0, le=1, allow_inf_nan=False)]
"""A share."""


def gold(
    student_logits: Tensor,
    teacher_logits: Tensor,
    student_targets: Tensor,
    teacher_targets: Tensor,
    student_spans: Tensor,
    teacher_spans: Tensor,
    common: Tensor,
    temperature: float = 1.0,
    matched: float | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Divergence of two networks with different tokenizers, for each span of text that both have tokens of.

    What a network says of a span of the tokens a_1 ... a_n is what it says of the first of them, times what
    it gives the others (`uld_token_merge_strategy="observed"` of TRL):

        P(v) = p(v | before) prod_{k=2..n} p(a_k | before, a_1 ... a_{k-1})

    Of the tokens M that stand for the same bytes in both vocabularies the divergence is that of Kullback and
    Leibler, and of all others the distance of what is left, in descending order (`uld`):

        m sum_{v in M} [P_t(v) log(P_t(v) / P_s(v)) - P_t(v) + P_s(v)] + (1 - m) sum_i |P_t(i) - P_s(i)|

    The sums over M need not be 1. TRL leaves out their difference, and can then fall below zero; with it the
    first term is 0 where both are equal, and above elsewhere. Where all tokens are common and each span is a
    token, it is KL(p_t || p_s).

    Args:
        student_logits: (P, C) of the student's predictions.
        teacher_logits: (Q, D) of the teacher's.
        student_targets: (P,) int64 the tokens that are there.
        teacher_targets: (Q,) int64 the same of the teacher.
        student_spans: (P,) int64 number of the span that each row belongs to, in order, -1 for none.
        teacher_spans: (Q,) int64 the same of the teacher, with the same numbers.
        common: (2, M) int64 ids of the student and of the teacher of the tokens M, each of them once.
        temperature: divides both logits; nothing else is scaled by it.
        matched: m; if None the share of the teacher's vocabulary that is in M, TRL's choice.
        reduction: "mean" for the mean over the student's rows, a scalar; "none" for (P,), where each row has
            the value of its span, and one in no span 0.
    Raises:
        LimbeckError: for shapes that do not fit, and spans of one side alone.
    """
    class_logits("gold", student_logits=student_logits, teacher_logits=teacher_logits)
    same_samples("gold", student_logits, student_targets, student_spans)
    same_samples("gold", teacher_logits, teacher_targets, teacher_spans)
    inside = student_spans != APART
    there = teacher_spans != APART
    numbers, group = torch.unique(student_spans[inside], return_inverse=True)
    theirs, their_group = torch.unique(teacher_spans[there], return_inverse=True)
    if not torch.equal(numbers, theirs):
        raise LimbeckError("gold: student_spans and teacher_spans must have the same numbers beside -1")
    student = _of_spans(student_logits[inside], student_targets[inside], group, temperature)
    teacher = _of_spans(teacher_logits[there], teacher_targets[there], their_group, temperature)
    log_p, log_q = teacher[:, common[1]], student[:, common[0]]
    p, q = log_p.exp(), log_q.exp()
    alike = (p * (log_p - log_q) - p + q).sum(-1)
    rest = sorted_distance(_without(student.exp(), common[0]), _without(teacher.exp(), common[1]))
    share = common.shape[1] / teacher_logits.shape[1] if matched is None else matched
    values = share * alike + (1 - share) * rest
    rows = values.new_zeros(len(student_logits)).masked_scatter(inside, values[group])
    return reduce(rows, reduction)


def _of_spans(logits: Tensor, targets: Tensor, group: Tensor, temperature: float) -> Tensor:
    """(G, C) log P of each span.

    Args:
        logits: (P, C) of the rows in spans.
        targets: (P,) the tokens that are there.
        group: (P,) which span each row is in, 0 to G - 1.
        temperature: divides the logits.
    """
    logs = (full_precision(logits) / temperature).log_softmax(-1)
    count = int(group.max()) + 1 if len(group) else 0
    rows = torch.arange(len(group), device=group.device)
    first = rows.new_full((count,), len(group)).scatter_reduce(0, group, rows, "amin")
    given = logs.gather(1, targets.unsqueeze(1)).squeeze(1)
    later = logs.new_zeros(count).index_add(0, group, given.masked_fill(first[group] == rows, 0.0))
    return logs[first] + later.unsqueeze(1)


def _without(probabilities: Tensor, ids: Tensor) -> Tensor:
    """The columns of (G, C) but for some."""
    kept = torch.ones(probabilities.shape[1], dtype=torch.bool, device=ids.device)
    kept[ids] = False
    return probabilities[:, kept]


class GOLD(Method):
    """Probabilities of the spans of text match that both tokenizers delimit at the same bytes.

    The tokens are aligned by the bytes of the text that they cover, and those that stand for the same bytes
    in both vocabularies are compared one by one; see the function `gold`. Where both have one tokenizer, it
    is `kd(temperature=1)`.

    Args:
        temperature: divides both logits before the softmax.
        matched: weight of the tokens that both have, and 1 less that of the others; if None it is the share
            of the teacher's tokens that the student has, too.
    """

    name = "gold"
    reads = Reads(student=("logits",), teacher=("logits",), batch=("targets",))
    recipe = "0.5*ce + 0.5*gold"
    rows = "classes"
    tasks = ("language",)
    retold = True

    def __init__(self, temperature: Positive = 1.0, *, matched: Part | None = None) -> None:
        super().__init__()
        self.temperature, self.matched = temperature, matched

    def bind(self, context: Context) -> None:
        """Finds the tokens that both have."""
        assert context.teacher is not None, "it is read"
        told = context.teacher.get("retold")
        every = torch.arange(context.task.width).expand(2, -1)
        self.common: Tensor
        self.register_buffer("common", every if told is None else told.vocabulary.common(), persistent=False)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        assert batch.targets is not None, "they are read"
        both = counterparts(teacher, batch)
        return gold(
            student.logits,
            teacher.logits,
            batch.targets.clamp(min=0),  # a row that stands in has none, and is in no span
            both.targets.clamp(min=0),
            both.student_spans,
            both.teacher_spans,
            self.common,
            self.temperature,
            self.matched,
        )
