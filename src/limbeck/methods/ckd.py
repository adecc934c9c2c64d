"""Comparative Knowledge Distillation. Wilf, Xu, Liang, Obolenskiy, Fried & Morency, arXiv:2311.02253.

WACV 2025. Equations and constants as in the authors' code, alextxu/ckd. There a data set of tuples is drawn
once and each tuple brings samples of its own; here the tuples are drawn anew in each step, among the samples
of the batch.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.arguments import Count, NonNegative
from limbeck.errors import LimbeckError
from limbeck.hashing import below
from limbeck.methods.base import Method, Objective, inner_first
from limbeck.methods.cc import CC
from limbeck.methods.declarations import Context, LossTerms, Reads
from limbeck.methods.fitnet import FitNet
from limbeck.methods.kd import KD
from limbeck.methods.parts.blocks import full_precision, gather, places
from limbeck.methods.parts.shapes import same_logits
from limbeck.methods.terms import Term
from limbeck.methods.vid import VID
from limbeck.outputs import UNLABELED, Batch, Outputs


def comparative(
    student_logits: Tensor, teacher_logits: Tensor, positives: Tensor, negatives: Tensor
) -> Tensor:
    """Mean squared difference of what two networks say of the difference between groups of samples.

        mean over tuples and classes of (d_s - d_t)^2,   d = mean of z over P - mean of z over N

    The mean is over the classes too, as in the authors' code.

    Args:
        student_logits: (B, C), C at least 2.
        teacher_logits: (B, C).
        positives: (N, p) int64 rows of the samples in the first group P of each tuple.
        negatives: (N, n) int64 rows of those in the second.
    Returns: scalar.
    Raises:
        LimbeckError: if the logits differ in shape or are no rows of at least 2 classes, and for groups that
            are no rows of them, or of different numbers.
    """
    same_logits("comparative", student_logits, teacher_logits)
    for name, group in (("positives", positives), ("negatives", negatives)):
        if group.ndim != 2 or not group.numel() or group.dtype != torch.int64:
            raise LimbeckError(
                f"comparative: {name} must be int64 rows of the logits, a group of at least one for each "
                f"tuple, not {str(group.dtype).removeprefix('torch.')} of shape {tuple(group.shape)}"
            )
        on_cpu = group.device.type == "cpu"  # an accelerator would be waited for
        if on_cpu and not 0 <= int(group.min()) <= int(group.max()) < len(student_logits):
            raise LimbeckError(
                f"comparative: {name} must be rows from 0 to {len(student_logits) - 1} of the logits, and "
                f"they go from {int(group.min())} to {int(group.max())}"
            )
    if len(positives) != len(negatives):
        raise LimbeckError(
            "comparative: each tuple has positives and negatives, but there are groups for "
            f"{len(positives)} and {len(negatives)} tuples"
        )
    student, teacher = (
        group_means(full_precision(logits), positives) - group_means(full_precision(logits), negatives)
        for logits in (student_logits, teacher_logits)
    )
    return F.mse_loss(student, teacher)


def group_means(rows: Tensor, groups: Tensor) -> Tensor:
    """(N, ...) means of the rows (B, ...) in each of the groups (N, g)."""
    return rows[groups].mean(1)


def tuples(rows: int, size: int, each: int, seed: Tensor, step: int) -> Tensor:
    """Tuples of different rows: each row begins `each` of them, with partners that a hash draws.

    Args:
        rows: how many rows there are; tuples that are larger repeat some.
        size: samples in a tuple, 2 or 3.
        each: tuples that a row begins.
        seed: scalar int64 on the device where the tuples are needed.
        step: number of the step.
    Returns: (rows * each, size) int64, those that a row begins one after the other.
    """
    number = torch.arange(rows * each, device=seed.device)
    second = 1 + below(max(rows - 1, 1), seed, step, number, 0)
    offsets = [torch.zeros_like(second), second]
    if size == 3:
        third = 1 + below(max(rows - 2, 1), seed, step, number, 1)
        offsets.append(third + (third >= second))
    return (number.unsqueeze(1) // each + torch.stack(offsets, 1)) % rows


class CKD(Method):
    """Differences between the logits of two samples match the teacher's.

    A tuple is two groups of samples, one against one or two against one, and its difference that of the
    groups' mean logits. The terms are "label", the mean squared difference of the student's from that of the
    one-hot labels, and "relation", from the teacher's. In the paper the label term stands in place of
    cross-entropy, and the recipe is the paper's.

    Differences say nothing of an offset that the logits of all samples share: the last layer's bias gets no
    gradient of them, and an offset of the student's may well decide its answers. Beside cross-entropy or KD,
    `ce + ckd` or `kd + ckd`, it is settled.

    One answer of the teacher serves all tuples that a sample is in, and only logits are read, so a cache of
    them is all the teacher that is needed. The tuples are among the rows of all processes, and their draw is
    a function of the run's seed and the step. A tuple with an unlabeled sample counts as zero in the label
    term. With accumulation the batch is each of its pieces.

    Inside it, fitnet, vid, cc and kd see the differences in place of the samples: `ckd(100*fitnet)`,
    `ckd(vid)` and `ckd(0.02*cc)` are the paper's for teachers whose features can be read, and `ckd(kd)` is
    the code's optional divergence of differences. As in the code, the regressor of fitnet's maps ends in a
    ReLU and follows differences only where they are positive.

    Args:
        base: what else is to be compared by differences, of fitnet, vid, cc and kd.
        samples: how many make a tuple: 2, or 3 of which two are in the first group.
        tuples: how many a row of the batch begins.
        label: weight of the label term; with 0 no labels are needed.
        relation: weight of the relation term.
        combine: what is made of the groups' means x and y; but for "difference" they are the paper's
            ablations: "add" is (x + y) / 2, and "mixup" lx + (1 - l)y with a uniform l for each step.
    """

    fits_labels = True
    recipe = "ckd"
    rows = "classes"
    relates = True
    alters_teacher = True

    def __init__(
        self,
        base: Method | None = None,
        *,
        samples: Literal[2, 3] = 2,
        tuples: Count = 1,
        label: NonNegative = 1.0,
        relation: NonNegative = 1.0,
        combine: Literal["difference", "add", "mixup"] = "difference",
    ) -> None:
        super().__init__()
        for method in inner_first(base) if base else ():
            if not isinstance(method, (CC, FitNet, KD, Objective, VID)):
                raise LimbeckError(
                    f"ckd shows differences of samples to fitnet, vid, cc or kd, not to {method.name}; write "
                    f"ckd + {method.name} to have both"
                )
            if method.teacher_name is not None:
                raise LimbeckError(
                    f"ckd shows {method.name} differences between the answers of its own teacher; name that, "
                    f"ckd(..., teacher={method.teacher_name!r}), and not the one of {method.name}"
                )
        known = ("targets", "progress") if label else ("progress",)
        self.reads = Reads(student=("logits",), teacher=("logits",), batch=known)
        self.base, self.min_samples = base, samples
        self.samples, self.tuples, self.combine = samples, tuples, combine
        self.label, self.relation = label, relation

    def bind(self, context: Context) -> None:
        """Draws the seed of the draws.

        Raises:
            LimbeckError: for stages of sequences with padding, which differ in length.
        """
        if self.base and "stages" in self.base.all_reads.student and "mask" in context.student:
            raise LimbeckError(
                "ckd compares samples place by place, and sequences with padding have no places in common; "
                "compare their embeddings with ckd(cc), or their logits with ckd alone"
            )
        self.draws: Tensor
        self.register_buffer("draws", torch.randint(2**62, ()))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The two terms over the batch of all processes, and those of what is inside."""
        assert batch.progress is not None
        step = batch.progress.step
        ours = self._combined(gather(student.logits), step)
        theirs = self._combined(gather(teacher.logits), step)
        terms = {"relation": Term(F.mse_loss(ours, theirs), weight=self.relation)}
        if self.label:
            assert batch.targets is not None
            targets = gather(batch.targets)
            labeled = targets != UNLABELED
            one_hot = F.one_hot(targets.where(labeled, 0), ours.shape[1]).to(ours)
            known = labeled[self._tuples(len(targets), step)].all(1)
            error = (ours - self._combined(one_hot, step)).square().mean(1)
            terms["label"] = Term(error.where(known, 0).mean(), "task", self.label)
        if self.base is None:
            return terms
        fields = self.base.all_reads
        compared = (
            self._compared(student, fields.student, step),
            self._compared(teacher, fields.teacher, step),
        )
        return {**terms, **self.base.terms(*compared, batch)}

    def _compared(self, outputs: Outputs, fields: tuple[str, ...], step: int) -> Outputs:
        """Outputs whose samples are this process's share of the tuples."""

        def of(tensor: Tensor) -> Tensor:
            own = places(len(tensor), tensor.device)
            share = slice(own.start * self.tuples, own.stop * self.tuples)
            return self._combined(gather(tensor), step)[share]

        return Outputs(**{name: outputs[name] for name in fields}).map(of)

    def _tuples(self, rows: int, step: int) -> Tensor:
        return tuples(rows, self.samples, self.tuples, self.draws, step)

    def _combined(self, rows: Tensor, step: int) -> Tensor:
        """(N, ...) what is made of the two groups of each tuple of the rows (B, ...)."""
        first, second = self._tuples(len(rows), step).tensor_split([self.samples - self.samples // 2], 1)
        x, y = group_means(rows, first), group_means(rows, second)
        if self.combine == "difference":
            return x - y
        if self.combine == "add":
            return (x + y) / 2
        share = below(2**24, self.draws, step, -1) / 2**24
        return share * x + (1 - share) * y
