"""CES-KD: Curriculum-based Expert Selection, arXiv:2209.07606. A reconstruction: no code was published.

By Amara, Ziaeefard, Meyer, Gross & Clark, ICPR 2022. The abstract states the hypothesis, that a student
learns easy images better from a small teacher and hard ones from a large one, and the outline: one teacher is
selected for each image, of a teacher and its graded assistants, by a stratified curriculum that is driven by
how hard the image is to classify, and gradually. The measure of difficulty, the strata, the pacing and the
temperature were chosen here, and each is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.arguments import Limits, Positive
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, LossTerms, Reads
from limbeck.methods.kd import kd
from limbeck.methods.parts.blocks import Reduction, full_precision, gather
from limbeck.methods.parts.experts import check_sizes, expert_known, expert_logits, expert_names
from limbeck.methods.parts.shapes import class_ids, same_logits, same_samples, word
from limbeck.methods.terms import Term
from limbeck.notation import show
from limbeck.outputs import UNLABELED, Batch, Outputs

Measure = Literal["loss", "entropy", "disagreement"]


def ceskd(
    student_logits: Tensor,
    expert_logits: Sequence[Tensor],
    selected: Tensor,
    temperature: float = 4.0,
    reduction: Reduction = "mean",
    known: Sequence[Tensor] | None = None,
) -> Tensor:
    """Divergence of each row from the expert that was selected for it, T^2 KL(p_k(i) || p_s).

    Args:
        student_logits: (B, C), C at least 2.
        expert_logits: (B, C) of each of K experts.
        selected: (B,) int64 k(i), places in `expert_logits`.
        temperature: T > 0, divides all logits; T^2 keeps the gradient's scale.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
        known: (B, C) bool of each expert, the classes that it tells apart (see `kd`); None for all.
    Raises:
        LimbeckError: if the shapes differ or are no rows of at least 2 classes, and for no expert at all.
    """
    _one_of_each(expert_logits)
    for logits in expert_logits:
        same_logits("ceskd", student_logits, logits)
    if selected.ndim != 1 or selected.dtype != torch.int64:
        raise LimbeckError(
            "ceskd: selected must be the place of an expert for each row, int64 of shape (P,), not"
            f" {selected.dtype} of shape {tuple(selected.shape)}"
        )
    same_samples("ceskd", student_logits, selected)
    if selected.device.type == "cpu" and not bool(((selected >= 0) & (selected < len(expert_logits))).all()):
        # An accelerator's are not looked at: it would be waited for.
        raise LimbeckError(
            f"ceskd: selected holds places of experts, from 0 to {len(expert_logits) - 1}, and one is none"
        )
    rows = torch.arange(len(selected), device=selected.device)
    chosen = torch.stack(list(expert_logits))[selected, rows]
    apart = None if known is None else torch.stack(list(known))[selected, rows]
    return kd(student_logits, chosen, temperature, reduction, apart)


def difficulty_of(
    expert_logits: Sequence[Tensor], targets: Tensor | None, measure: Measure = "loss"
) -> Tensor:
    """How hard each row is, by what experts say of it: (B,), the greater the harder.

        loss           -log p_K(y), the cross-entropy of the largest expert; where there is no label the
                       entropy, which is the mean of this over labels drawn from p_K
        entropy        H(p_K) of the largest expert
        disagreement   H(mean_k p_k) - mean_k H(p_k) over all experts, zero where they say the same

    Args:
        expert_logits: (B, C) of each expert, the largest one last.
        targets: (B,) int64 class ids, `UNLABELED` where there is none; None without labels.
        measure: one of the three.
    Raises:
        LimbeckError: for targets of another number or dtype, and for no expert at all.
    """
    word("difficulty_of", "measure", measure, Measure)
    _one_of_each(expert_logits)
    probabilities = torch.stack([full_precision(logits).softmax(-1) for logits in expert_logits])
    entropies = _entropy(probabilities)
    if measure == "disagreement":
        return _entropy(probabilities.mean(0)) - entropies.mean(0)
    if measure == "entropy" or targets is None:
        return entropies[-1]
    largest = expert_logits[-1]
    class_ids("ceskd", largest, targets)
    loss = F.cross_entropy(full_precision(largest), targets, ignore_index=UNLABELED, reduction="none")
    return loss.where(targets != UNLABELED, entropies[-1])


def strata(
    difficulty: Tensor, shares: Sequence[float], pace: float = 1.0, among: Tensor | None = None
) -> Tensor:
    """The stratum of each row by its rank in difficulty: (B,) int64, 0 for the easiest.

    A row's rank is the share of all rows that are easier, with half of those that are as hard: equals get the
    same stratum, in whatever order they come. Stratum j ends at the cumulative share c_j, once the pace has
    brought the end down from 1, where all rows are in the first:

        k(i) = number of ends e_j <= rank(i),   e_j = 1 - pace (1 - c_j),   j = 1 .. K - 1

    Args:
        difficulty: (B,), the greater the harder.
        shares: how large each of the K strata is, relative to the others, from the easiest on.
        pace: in [0, 1], how far the curriculum has come.
        among: (N,) the difficulties that ranks are taken among; those of `difficulty` itself if None.
    """
    difficulty = difficulty.contiguous()
    ordered = (difficulty if among is None else among).sort().values
    below, up_to = (torch.searchsorted(ordered, difficulty, right=right) for right in (False, True))
    ends = [1 - pace * (1 - end / sum(shares)) for end in accumulate(shares[:-1])]
    scale = 2 * max(len(ordered), 1)  # by which ranks are whole numbers, and compared without rounding
    first = torch.tensor([math.ceil(scale * end - 1e-9) for end in ends], device=difficulty.device)
    return torch.bucketize(below + up_to, first, right=True)


def _entropy(probabilities: Tensor) -> Tensor:
    entropy: Tensor = torch.special.entr(probabilities).sum(-1)
    return entropy


def _one_of_each(expert_logits: Sequence[Tensor]) -> None:
    if not expert_logits:
        raise LimbeckError("ceskd: expert_logits must hold the logits of one expert at least")


class CESKD(Method):
    """Every row learns from one of several teachers: easy rows from small ones, hard rows from large ones.

    The rows of the whole batch, of all processes, are put in order of `difficulty` and split into as many
    strata as there are teachers; the k-th stratum learns from the k-th teacher. So what a row learns from
    depends on the others of its batch, and of the piece of it where a batch is accumulated in pieces. All
    rows begin with the smallest teacher, and the larger ones take over the hardest as training goes on, until
    the strata are as large as `strata` says.

    Its terms are "kd", and for each teacher the share of rows that it teaches, "share_big", to look at. The
    cross-entropy stands outside: `0.1*ce + 0.9*ceskd(...)`.

    In Python a subclass may override `difficulty` and `select`.

    Args:
        teachers: names of the teachers from the smallest to the largest.
        difficulty: "loss", the largest teacher's cross-entropy with the label, and its entropy for a row
            without one; "entropy", its entropy; or "disagreement", how far the teachers are from each other,
            which is the entropy of their mean less the mean of their entropies.
        strata: "equal", or how large they are relative to each other from the easiest on, such as [3, 2, 1].
        pacing: how the shares of the larger teachers grow: "linear", with the progress of training; "root",
            with its square root, which is fast at first; or "none", where they are whole from the start,
            which also frees it from knowing the progress.
        paced: share of training after which they are whole.
        temperature: divides both logits before the softmax.
    """

    reads = Reads(student=("logits",), teacher=("logits",), batch=("progress",))
    recipe = '0.1*ce + 0.9*ceskd(teachers=["small", "big"])'
    rows = "classes"
    partial = True

    def __init__(
        self,
        teachers: Sequence[str],
        *,
        difficulty: Measure = "loss",
        strata: Literal["equal"] | Sequence[Positive] = "equal",
        pacing: Literal["linear", "root", "none"] = "linear",
        paced: Annotated[float, Limits(gt=0, le=1)] = 0.5,
        temperature: Positive = 4.0,
    ) -> None:
        super().__init__()
        self.experts = expert_names(self.name, teachers, self.teacher_name)
        shares = [1.0] * len(self.experts) if isinstance(strata, str) else list(strata)
        if len(shares) != len(self.experts):
            count = len(self.experts)
            raise LimbeckError(
                f"{self.name}: strata={show(shares)} should have {count} sizes, one for each teacher"
            )
        if pacing == "none" and "paced" in self.given:
            raise LimbeckError(f'{self.name}: with pacing="none" nothing is paced; leave paced out')
        self.measure, self.shares, self.temperature = difficulty, shares, temperature
        self.pacing, self.paced = pacing, paced
        self.reads = Reads(
            student=("logits",),
            teacher=("logits",),
            teachers=self.experts,
            batch=() if pacing == "none" else ("progress",),
        )

    def bind(self, context: Context) -> None:
        """Refuses teachers in another order than by size."""
        check_sizes(self.name, self.experts, context)

    def difficulty(self, experts: Sequence[Tensor], batch: Batch) -> Tensor:
        """How hard each row is: (P,), the greater the harder.

        Args:
            experts: (P, C) logits of the teachers in their order.
            batch: with the targets of the rows.
        """
        return difficulty_of(experts, batch.targets, self.measure)

    def select(self, difficulty: Tensor, batch: Batch) -> Tensor:
        """The place of the teacher for each row, (P,) int64.

        Args:
            difficulty: (P,) of these rows; `limbeck.methods.parts.blocks.gather` has those of all processes.
            batch: with the progress of training, where that is read.
        """
        count = len(difficulty) if batch.rows is None else batch.rows.count
        valid = difficulty[:count]  # those that stand in where there is none have no rank
        return strata(difficulty, self.shares, self._pace(batch), among=gather(valid))

    def _pace(self, batch: Batch) -> float:
        if self.pacing == "none":
            return 1.0
        assert batch.progress is not None
        come = min(batch.progress.fraction / self.paced, 1.0)
        return come if self.pacing == "linear" else come**0.5

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The divergence, and the share of the rows that each teacher has."""
        experts = expert_logits(self.experts, teacher)
        selected = self.select(self.difficulty(experts, batch).detach(), batch)
        known = expert_known(self.experts, teacher)
        loss = ceskd(student.logits, experts, selected, self.temperature, known=known)
        shares = {
            f"share_{name}": Term((selected == place).to(loss.dtype).mean(), "monitor")
            for place, name in enumerate(self.experts)
        }
        return {"kd": loss, **shares}
