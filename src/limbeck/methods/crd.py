"""Contrastive Representation Distillation. Tian, Krishnan & Isola, ICLR 2020, arXiv:1910.10699."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.arguments import Count, Positive, Share
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, gather, reduce, unit
from limbeck.methods.parts.memories import Bank
from limbeck.methods.parts.negatives import Negatives
from limbeck.methods.parts.shapes import same_samples
from limbeck.outputs import ABSENT, UNLABELED, Batch, Outputs

EPSILON = 1e-7
"""Added to probabilities by the authors' code."""


def crd(
    positive: Tensor,
    negatives: Tensor,
    log_z: Tensor | float,
    samples: int,
    temperature: float = 0.07,
    valid: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Noise-contrastive loss of telling the pair of one sample from the pairs of different ones (Eq. 18).

        e = exp(s / T) / Z,   c = K / N
        L = -log(e_0 / (e_0 + c)) - sum_k log(c / (e_k + c))

    for the similarities s_0 of the positive and s_k of the K negatives. As in the authors' code, 1e-7 is
    added to both denominators. Nothing is exponentiated, so nothing overflows.

    Args:
        positive: (B,) similarities s_0, inner products of vectors of length 1.
        negatives: (B, K) similarities s_k.
        log_z: log Z, kept from the first batch on; `log_normalizer` gives it.
        samples: N, size of the training set.
        temperature: T > 0.
        valid: (B, K) true where a negative counts; K in the equation is a sample's own number of them then.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: for different numbers of samples and for other shapes.
    """
    if positive.ndim != 1 or negatives.ndim != 2 or (valid is not None and valid.shape != negatives.shape):
        counted = "" if valid is None else f" of which {tuple(valid.shape)} says which count"
        raise LimbeckError(
            "crd compares similarities (B,) of positives with (B, K) of negatives, not "
            f"{tuple(positive.shape)} with {tuple(negatives.shape)}{counted}; one negative of each sample is "
            "negatives.unsqueeze(1)"
        )
    same_samples("crd", positive, negatives)
    hit, misses = (full_precision(scores) / temperature - log_z for scores in (positive, negatives))
    if valid is None:
        count = torch.full_like(hit, misses.shape[1])
    else:
        misses, count = misses.masked_fill(~valid, -math.inf), valid.sum(1).to(hit)
    noise = count.clamp(min=1) / samples  # of a sample that has no negative, as if it had one
    bound = (noise + EPSILON).log()
    per_sample = (
        -F.logsigmoid(hit - bound)
        - F.logsigmoid(bound[:, None] - misses).sum(1)
        + count * (bound - noise.log())
    )
    return reduce(per_sample, reduction)


@torch.no_grad()
def log_normalizer(
    positive: Tensor,
    negatives: Tensor,
    samples: int,
    temperature: float = 0.07,
    valid: Tensor | None = None,
) -> Tensor:
    """The log Z that makes e a probability: Z = N mean(exp(s / T)), over the batch of all processes.

    Args:
        positive, negatives, samples, temperature, valid: as in `crd`.
    Returns: scalar.
    """
    counted = torch.ones_like(negatives, dtype=torch.bool) if valid is None else valid
    scores = torch.cat([positive[:, None], negatives.masked_fill(~counted, -math.inf)], dim=1)
    rows = gather((full_precision(scores) / temperature).logsumexp(1))
    count = gather(counted.sum(1) + 1).sum().to(rows)
    return rows.logsumexp(0) - count.log() + math.log(samples)


class CRD(Method):
    """Student and teacher embedding of one sample belong together, those of samples of two classes do not.

    Both embeddings are projected to one space by layers that are trained, and normalized. The student's is
    scored against a bank of the teacher's vectors of all training samples, the teacher's against one of the
    student's; the loss is the sum of both. A bank's vector is a moving average that goes on at each visit of
    its sample. The first batch settles Z. With KD beside it, as in the paper: `ce + kd + 0.8*crd`.

    Negatives are samples of other classes; a sample without a label is in a class by itself, and so is every
    text of an encoder's. "exact" draws them for each sample, as the paper does; it takes a (B, N) product for
    each side. "shared" draws once for the whole batch and leaves out, for each sample, those of its own
    class: the same loss from fewer draws, for a fraction of the time and for training sets of millions. The
    authors draw with replacement where there are fewer than `size`; here those there are count once each.

    The banks, 2 x N x dim numbers, are in the state and in every checkpoint. All processes hold the same.

    Args:
        negatives: "exact" or "shared".
        size: K, negatives of a sample; at most as many as there are for the largest class, or for "shared"
            as there are training samples.
        dim: size of the space that embeddings are projected to.
        temperature: T.
        momentum: how much of a bank's vector stays at each visit.
    """

    reads = Reads(student=("embedding",), teacher=("embedding",), batch=("index",), data=("targets",))
    recipe = "ce + 0.8*crd"  # the CRD benchmark's
    rows = "classes"  # its negatives are samples of another class
    also = ("vectors",)  # or, where there are no classes, all other samples
    one_row_per_sample = True

    draws: Tensor
    log_z: Tensor

    def __init__(
        self,
        negatives: Literal["exact", "shared"] = "exact",
        size: Count = 16384,
        dim: Count = 128,
        temperature: Positive = 0.07,
        momentum: Share = 0.5,
    ) -> None:
        super().__init__()
        self.shared, self.size = negatives == "shared", size
        self.dim, self.temperature, self.momentum = dim, temperature, momentum

    def bind(self, context: Context) -> None:
        """Builds the projectors and the banks.

        Raises:
            LimbeckError: for training samples that are all of one class.
        """
        assert context.teacher is not None
        assert context.data.targets is not None
        targets = context.data.targets
        if context.task.scores == "vectors":  # every text is in a class by itself
            targets = torch.where((targets == ABSENT).all(1), ABSENT, UNLABELED)
        self.project_student = nn.Linear(context.student.embedding.shape[1], self.dim)
        self.project_teacher = nn.Linear(context.teacher.embedding.shape[1], self.dim)
        positions = len(targets)
        self.student_bank = Bank(positions, self.dim, self.momentum)
        self.teacher_bank = Bank(positions, self.dim, self.momentum)
        self.negatives = Negatives(targets)
        if not self.negatives.fewest:
            raise LimbeckError("crd contrasts samples of different classes; all training samples are of one")
        self.size = min(self.size, len(self.negatives) if self.shared else self.negatives.fewest)
        self.register_buffer("draws", torch.randint(2**62, ()))  # the seed of the next draw
        self.register_buffer("log_z", torch.full((2,), math.nan))
        self._settled = False
        self.register_load_state_dict_post_hook(_unsettle)  # type: ignore[no-untyped-call]

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar; in training mode the banks move on."""
        index = self._checked(batch.index)
        ours = unit(self.project_student(student.embedding))
        theirs = unit(self.project_teacher(teacher.embedding))
        if self.shared:
            drawn = self.negatives.for_all(self.size, self.draws)
            valid = self.negatives.differ(index, drawn)
        else:
            drawn, valid = self.negatives.of_each(index, self.size, self.draws), None
        sides = [
            self._similarities(ours, self.teacher_bank, index, drawn),
            self._similarities(theirs, self.student_bank, index, drawn),
        ]
        samples, temperature = len(self.negatives), self.temperature
        if not self._settled:  # asked once: an accelerator would be waited for
            self._settled = not bool(self.log_z.isnan().any())
        log_z = self.log_z
        if not self._settled:
            log_z = torch.stack([log_normalizer(*side, samples, temperature, valid) for side in sides])
        if self.training:
            everyone = gather(index)
            self.student_bank.visit(everyone, gather(ours.detach()))
            self.teacher_bank.visit(everyone, gather(theirs.detach()))
            self.log_z.copy_(log_z)
            self.draws += 1
        first, second = (
            crd(*side, z, samples, temperature, valid) for side, z in zip(sides, log_z, strict=True)
        )
        return first + second

    def _similarities(
        self, vectors: Tensor, bank: Bank, index: Tensor, drawn: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Inner products of (B, D) vectors with the bank's of the same samples, (B,), and others, (B, K)."""
        positive = (vectors * bank.rows[index]).sum(1)
        if self.shared:
            return positive, vectors @ bank.rows[drawn].T
        # One product with the whole bank, picked from, is far faster than B K rows of it picked first. The
        # copy is for the backward: the bank itself will have moved on.
        return positive, (vectors @ bank.rows.clone().T).gather(1, drawn)

    def _checked(self, index: Tensor | None) -> Tensor:
        assert index is not None
        positions = len(self.student_bank.rows)
        if index.device.type == "cpu" and not 0 <= int(index.min()) <= int(index.max()) < positions:
            raise LimbeckError(
                f"crd: the index of the batch runs from {int(index.min())} to {int(index.max())}, but the "
                f"training set given as data= has {positions} positions"
            )
        return index


def _unsettle(method: nn.Module, keys: object) -> None:
    """The state that was just loaded may have another Z, or none yet."""
    assert isinstance(method, CRD)
    method._settled = False
