"""Representative Teacher Keys, arXiv:2206.12788. A reconstruction: of the paper, its abstract alone was used.

The paper's is the aim: an attention between the stages of both networks, that of which it is `afd_attention`
being our reading, with the useless ones among the teacher's filtered out by "representative teacher keys".
How these are found was chosen here: by the similarity of a stage's query with the mean of all, for each
sample. `RTK.select` is to be overridden for another choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from limbeck.arguments import Count, Limits
from limbeck.methods.afd_attention import AFDAttention, Places
from limbeck.methods.parts.shapes import stage_like, vectors


def representativeness(queries: Tensor) -> Tensor:
    """How much each of the teacher's stages stands for all of them, for each sample.

        r_t = q_t . mean_t' q_t' / sqrt(dim)

    The stage itself is in the mean: of two stages, neither would otherwise ever be ahead.

    Args:
        queries: (B, T, dim) of the teacher's stages.
    Returns: (B, T).
    Raises:
        LimbeckError: for queries of another rank.
    """
    stage_like("representativeness", (3,), queries=queries)
    return (queries * queries.mean(1, keepdim=True)).sum(2) / math.sqrt(queries.shape[2])


def most_representative(scores: Tensor, keep: float) -> Tensor:
    """1 for the stages with the highest scores of a sample, 0 for the others; of equal ones the shallower.

    Args:
        scores: (B, T).
        keep: share of the stages, rounded up to a whole number of them.
    Returns: (B, T).
    Raises:
        LimbeckError: for scores of another rank.
    """
    vectors("most_representative", scores=scores)
    count = math.ceil(keep * scores.shape[1] - 1e-9)  # 0.7 * 10 is above 7
    chosen = scores.argsort(dim=1, descending=True, stable=True)[:, :count]
    return torch.zeros_like(scores).scatter(1, chosen, 1)


class RTK(AFDAttention):
    """The student matches, for each sample, only the stages of the teacher that stand for all of them.

    The links are those of `afd_attention`, and its loss is summed over the teacher's stages that `select`
    keeps; with `keep=1` the two are the same. Through the selection no gradient flows.

    Args:
        keep: share of the teacher's stages to keep, rounded up; no source gives one.
        dim: width of queries, keys and position vectors.
        student_stages: those of the student to choose from, counted from 0; all unless given.
        teacher_stages: those of the teacher to keep some of, counted from 0; all unless given.
    """

    name = "rtk"
    recipe = "ce + 0.9*kd + 200*rtk"  # that of afd_attention

    def __init__(
        self,
        keep: Annotated[float, Limits(gt=0, le=1)] = 0.5,
        dim: Count = 128,
        student_stages: Places | None = None,
        teacher_stages: Places | None = None,
    ) -> None:
        super().__init__(dim, student_stages, teacher_stages)
        self.keep = keep

    def select(self, queries: Tensor) -> Tensor:
        """(B, T, dim) queries of the teacher's stages to the weights (B, T) of the stages."""
        return most_representative(representativeness(queries.detach()), self.keep)

    def links(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """(B, T, S) weight of each pair of stages."""
        queries = self.attention.queries(teacher)
        links: Tensor = self.select(queries).unsqueeze(2) * self.attention(queries, student)
        return links
