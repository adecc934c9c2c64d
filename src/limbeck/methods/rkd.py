"""Relational Knowledge Distillation. Park et al., CVPR 2019, arXiv:1904.05068."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.arguments import NonNegative
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import LossTerms, Reads
from limbeck.methods.parts.blocks import full_precision, gather, unit
from limbeck.methods.parts.shapes import same_samples, sample_wise
from limbeck.methods.terms import Term
from limbeck.outputs import Batch, Outputs

AT_ONCE = 2**22
"""Numbers that one step through the anchors of `rkd_angle` may hold in one tensor."""


def rkd_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber loss between the two networks' distances of all pairs of samples (section 3.2).

        L = mean over i, j of h(d_s - d_t),   d_ij = ||x_i - x_j|| / (mean of all that are above 0)
        h(x) = x^2 / 2 where |x| <= 1, |x| - 1/2 elsewhere

    The mean is over B^2, as in the CRD benchmark, the zeros on the diagonal included.

    Args:
        student: (B, ...) embeddings, flattened for each sample.
        teacher: (B, ...) the same; only B must agree.
    Returns: scalar.
    Raises:
        LimbeckError: for different numbers of samples.
    """
    sample_wise("rkd_distance", student=student, teacher=teacher)
    same_samples("rkd", student, teacher)
    total = F.smooth_l1_loss(_distances(student), _distances(teacher), reduction="sum")
    return 2 * total / len(student) ** 2


def _distances(embedding: Tensor) -> Tensor:
    """(B (B-1) / 2,) distances, each pair once; their gradient where samples coincide is zero."""
    distances = F.pdist(full_precision(embedding).flatten(1))
    mean = distances.sum() / (distances > 0).sum().clamp(min=1)
    return distances / mean.where(mean > 0, math.inf)


def rkd_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber loss between the two networks' cosines of the angles in all triples of samples (section 3.2).

        L = mean over i, j, k of h(c_s - c_t),   c_ijk = cos(x_j - x_i, x_k - x_i)
        h(x) = x^2 / 2 where |x| <= 1, |x| - 1/2 elsewhere

    The angle is at sample i; where j or k coincides with i its cosine is 0, with no gradient. The mean is
    over B^3, as in the CRD benchmark. The (B, B, B) cosines of a large batch are never held at once: it is
    worked through some i at a time, forwards and once more backwards.

    Args:
        student: (B, ...) embeddings, flattened for each sample.
        teacher: (B, ...) the same; only B must agree.
    Returns: scalar.
    Raises:
        LimbeckError: for different numbers of samples.
    """
    sample_wise("rkd_angle", student=student, teacher=teacher)
    same_samples("rkd", student, teacher)
    student, teacher = full_precision(student).flatten(1), full_precision(teacher).flatten(1)
    samples, width = len(student), max(student.shape[1], teacher.shape[1])
    count = max(1, AT_ONCE // (samples * max(samples, width)))
    if count >= samples:
        return _angles_at(slice(samples), student, teacher) / samples**3
    from torch.utils.checkpoint import checkpoint  # brings sympy along where torch is older than 2.13

    sums = [
        checkpoint(
            _angles_at,
            slice(start, start + count),
            student,
            teacher,
            use_reentrant=False,
            preserve_rng_state=False,
        )
        for start in range(0, samples, count)
    ]
    return torch.stack(sums).sum() / samples**3


def _angles_at(anchors: slice, student: Tensor, teacher: Tensor) -> Tensor:
    """The loss at some anchors, summed."""
    return F.smooth_l1_loss(_cosines(anchors, student), _cosines(anchors, teacher), reduction="sum")


def _cosines(anchors: slice, embedding: Tensor) -> Tensor:
    """(A, B, B) cosines at A anchors."""
    # From the differences themselves, not from inner products, which cancel where samples are close.
    directions = unit(embedding - embedding[anchors].unsqueeze(1), dim=2)
    return directions @ directions.transpose(1, 2)


class RKD(Method):
    """Distances and angles between embeddings match the teacher's.

    Its terms are "distance" and "angle". The samples are those of the whole batch, of all processes; it takes
    three for either term to say anything.

    Args:
        distance: weight of the distances; 0 leaves them out.
        angle: weight of the angles; 0 leaves them out.
    """

    reads = Reads(student=("embedding",), teacher=("embedding",))
    recipe = "ce + rkd"  # the CRD benchmark's
    relates = True
    min_samples = 3

    def __init__(self, distance: NonNegative = 25.0, angle: NonNegative = 50.0) -> None:
        super().__init__()
        if not distance and not angle:
            raise LimbeckError(
                "rkd: distance and angle are both 0, so there is nothing left; give one a weight"
            )
        self.distance, self.angle = distance, angle

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The terms "distance" and "angle", over the batch of all processes."""
        pair = gather(student.embedding), gather(teacher.embedding)
        terms = (("distance", rkd_distance, self.distance), ("angle", rkd_angle, self.angle))
        return {name: Term(loss(*pair), weight=weight) for name, loss, weight in terms if weight}
