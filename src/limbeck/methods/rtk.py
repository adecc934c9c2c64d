"""Representative Teacher Keys for Knowledge Distillation. A reconstruction: no code was published.

arXiv:2206.12788, of which the abstract alone was available: the similarity of feature maps is kept, and what
is useless of the teacher is filtered out by representative teacher keys, on top of attention-based matching.
That this is `afd_attention`, that the score of a stage is its likeness to the teacher's other stages, and how
many are kept, were chosen here.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from limbeck.arguments import Count, Limits
from limbeck.methods.afd_attention import AFDAttention
from limbeck.methods.parts.blocks import unit


def representative(keys: Tensor, keep: float = 0.5) -> Tensor:
    """Which of the teacher's keys are most like the others: the mean cosine with them, sample by sample.

    Args:
        keys: (B, T, D) one for each stage of the teacher.
        keep: share of the T that is kept, rounded up.
    Returns: (B, T) bool, without gradient; of equal scores the shallower stages are kept.
    """
    vectors = unit(keys.detach(), dim=2)
    cosines = vectors @ vectors.transpose(1, 2)
    cosines = cosines + cosines.transpose(1, 2)  # which makes those of a pair equal to the last bit
    others = cosines.masked_fill(torch.eye(keys.shape[1], dtype=torch.bool, device=keys.device), 0).sum(2)
    kept = math.ceil(round(keep * keys.shape[1], 9))
    place = others.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return place < kept


class RTK(AFDAttention):
    """`afd_attention` with the representative of the teacher's stages alone, for each sample its own.

    The keys of the teacher's stages are their queries. A subclass may choose otherwise by overriding
    `select`.

    Args:
        keep: share of the teacher's stages that are kept, rounded up; with 1 it is `afd_attention`.
        dim: size of queries and keys.
    """

    name = "rtk"
    recipe = "ce + 0.9*kd + 200*rtk"

    def __init__(self, keep: Annotated[float, Limits(gt=0, le=1)] = 0.5, dim: Count = 128) -> None:
        super().__init__(dim)
        self.keep = keep

    def select(self, queries: Tensor) -> Tensor:
        """(B, T) true for the stages that are kept."""
        return representative(queries, self.keep).to(queries.dtype)
