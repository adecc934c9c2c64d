"""Relative Difficulty Distillation for Semantic Segmentation. 2024, arXiv:2407.03719."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from limbeck.arguments import NonNegative, Share
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, LossTerms, Reads
from limbeck.methods.parts.blocks import full_precision, gather
from limbeck.methods.parts.maps import logit_maps
from limbeck.methods.parts.shapes import class_ids, same_logits
from limbeck.methods.terms import Term
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.sides import Side, Size

Combine = Literal["xor", "or", "and", "student"]


def rdd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    combine: Combine = "xor",
    threshold: float = 0.7,
    hardest: float = 0.05,
) -> Tensor:
    """Cross-entropy of the pixels that are hard for one of both networks, the second stage.

        L    = mean over the pixels that count of -log p_s,   p = softmax(z)_y
        hard where p <= max(threshold, p_(k)),   k = floor(hardest P)

    Of the probabilities p of the right class that a network gives to the P pixels, p_(k) is the k-th
    smallest; it is 0 where k is 0. No gradient flows into what is hard.

    Args:
        student_logits: (P, C).
        teacher_logits: (P, C).
        targets: (P,) int64 class ids; a pixel with -100 does not count.
        combine: pixels that count, which are hard for one network alone ("xor"), for one or both ("or"), for
            both ("and"), or for the student ("student").
        threshold: probability in [0, 1].
        hardest: share in [0, 1] of the pixels of the batch that are hard in any case.
    Returns: scalar, the mean over the pixels that count; 0 if there is none.
    Raises:
        LimbeckError: for other shapes, and an unknown way to combine.
    """
    same_logits("rdd", student_logits, teacher_logits)
    class_ids("rdd", student_logits, targets)
    losses = F.cross_entropy(full_precision(student_logits), targets, reduction="none")
    ours, theirs = (probabilities(each, targets) for each in (student_logits, teacher_logits))
    return _of_hard(losses, ours, theirs, targets != UNLABELED, combine, threshold, hardest)


def probabilities(logits: Tensor, targets: Tensor) -> Tensor:
    """(P,) what a network gives the right class of each pixel, detached; of class 0 where none is known."""
    classes = targets.where(targets != UNLABELED, 0)[:, None]
    return full_precision(logits.detach()).softmax(1).gather(1, classes)[:, 0]


def _of_hard(
    losses: Tensor,
    ours: Tensor,
    theirs: Tensor,
    known: Tensor,
    combine: Combine,
    threshold: float,
    hardest: float,
) -> Tensor:
    """The mean of losses (P,) over the pixels that count, by the probabilities (P,) of both networks."""
    of_student, of_teacher = (hard(each, known, threshold, hardest) for each in (ours, theirs))
    chosen = {
        "xor": of_student ^ of_teacher,
        "or": of_student | of_teacher,
        "and": of_student & of_teacher,
        "student": of_student,
    }
    if combine not in chosen:
        raise LimbeckError(f"rdd combines by {', '.join(chosen)}, not {combine!r}")
    counts = chosen[combine]
    return losses.where(counts, 0).sum() / counts.sum().clamp(min=1)


def hard(right: Tensor, known: Tensor, threshold: float, hardest: float) -> Tensor:
    """(P,) bool, the pixels that are hard for a network, by its `probabilities`; see `rdd`."""
    count = int(hardest * len(right))
    least = right.where(known, 1).kthvalue(count).values if count else right.new_zeros(())
    return (right <= least.clamp(min=threshold)) & known


def relative_difficulty(teacher_maps: Tensor, auxiliary_maps: Tensor) -> Tensor:
    """(B, h, w) weight exp(-KL(auxiliary || main)) of each position, by the two heads of a teacher.

    Args:
        teacher_maps: (B, C, h, w) logits of the main head.
        auxiliary_maps: (B, C, h, w) logits of the auxiliary head.
    """
    main, auxiliary = (full_precision(each).log_softmax(1) for each in (teacher_maps, auxiliary_maps))
    return F.kl_div(main, auxiliary, log_target=True, reduction="none").sum(1).neg().exp()


class RDD(Method):
    """The teacher says which pixels the student's cross-entropy counts: first the easy, then the hard ones.

        L = a mean_i w_i CE(z_s,i, y_i) + (1 - a) rdd(z_s, z_t, y)

    In the first stage a is 1, and w is how much the heads of the teacher agree on a pixel
    (`relative_difficulty`). In the second a is 0, or falls to it, and the pixels count that are hard for one
    network alone (`rdd`). Both networks return an auxiliary head's logits as `aux`. It stands in place of
    `ce`; its terms are "main" and "aux", L for each of the student's heads. The paper's weights of the
    classes of Cityscapes are left out. The share `hardest` is of the batch of all processes, so that
    accumulation changes the loss; in the code it is 100,000 pixels, about 5 % of a batch. A cache keeps the
    teacher's logits, and of the auxiliary head the weights alone: nothing else is made of its logits.

    Args:
        switch: share of training in which the second stage begins; in the code a tenth.
        smooth: whether the first stage goes over into the second linearly until the end.
        combine: which pixels count in the second stage, see the function `rdd`.
        threshold: probability up to which a pixel is hard.
        hardest: share of the pixels of a batch that are hard in any case.
        aux_weight: factor of the term of the auxiliary head.
    """

    reads = Reads(student=("logits", "aux"), teacher=("logits", "aux"), batch=("targets", "progress"))
    recipe = "rdd + kd(temperature=1)"
    rows = "classes"
    tasks = ("segmentation",)
    kind = "task"

    def __init__(
        self,
        switch: Share = 0.1,
        smooth: bool = False,
        combine: Combine = "xor",
        threshold: Share = 0.7,
        hardest: Share = 0.05,
        aux_weight: NonNegative = 0.4,
    ) -> None:
        super().__init__()
        self.switch, self.smooth, self.combine = switch, smooth, combine
        self.threshold, self.hardest, self.aux_weight = threshold, hardest, aux_weight

    def bind(self, context: Context) -> None:
        """Says that the teacher's auxiliary head is read for the weights alone.

        Raises:
            LimbeckError: for logits that are no maps.
        """
        logit_maps(self.name, context)
        self.sides = (Side("aux, weights by relative difficulty", "aux", _difficulty),)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The two terms."""
        assert batch.targets is not None
        assert batch.progress is not None
        assert batch.rows is not None
        rows, targets = batch.rows, batch.targets
        first = self.share_of_first_stage(batch.progress.fraction)
        weights = rows.logits(self.sides[0].of(teacher)[:, None])[:, 0]
        terms: dict[str, Term] = {}
        for name, ours, factor in (
            ("main", student.logits, 1.0),
            ("aux", rows.logits(student["aux"]), self.aux_weight),
        ):
            value = ours.new_zeros(())
            if first > 0:
                losses = F.cross_entropy(full_precision(ours), targets, reduction="none")
                value = value + first * (weights * losses).mean()
            if first < 1:
                value = value + (1 - first) * self._second_stage(ours, teacher.logits, targets, rows.count)
            terms[name] = Term(value, "task", factor)
        return terms

    def _second_stage(self, ours: Tensor, theirs: Tensor, targets: Tensor, count: int) -> Tensor:
        """`rdd` of the pixels of all processes; of this one, the first `count` are no stand-ins."""
        of_each = (
            F.cross_entropy(full_precision(ours), targets, reduction="none"),
            probabilities(ours, targets),
            probabilities(theirs, targets),
            targets != UNLABELED,
        )
        losses, of_student, of_teacher, known = (gather(each[:count]) for each in of_each)
        return _of_hard(losses, of_student, of_teacher, known, self.combine, self.threshold, self.hardest)

    def share_of_first_stage(self, fraction: float) -> float:
        """How much of the loss is that of the first stage.

        Args:
            fraction: share of training that is done.
        """
        if fraction < self.switch:
            return 1.0
        return (1 - fraction) / (1 - self.switch) if self.smooth and self.switch < 1 else 0.0


def _difficulty(teacher: Outputs, size: Size) -> Tensor:
    """(B, h, w) weights, of outputs in rows or as the network gives them."""
    return relative_difficulty(teacher.maps if "maps" in teacher else teacher.logits, teacher["aux"])
