"""Static embeddings made from an encoder: each token of its vocabulary is embedded once, alone.

As in model2vec (Tulkens & van Dongen, 2024, github.com/MinishLab/model2vec): the vectors are reduced by their
principal components and weighted by smooth inverse frequency (Arora, Liang & Ma, ICLR 2017), where the
frequency of a token follows from its rank in the vocabulary by Zipf's law. Tokens that stand in no text have
no rank: with BERT's thousand placeholders counted, a comma would weigh half of what the rarest word does, and
not a hundredth.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError

Weighting: TypeAlias = Literal["sif", "none"]
"""How the vectors of tokens are weighted: by smooth inverse frequency, or not at all."""

SIF = 1e-4
"""The constant a of smooth inverse frequency, a / (a + p)."""

BATCH = 512
"""Tokens that are embedded at once."""

PLACEHOLDER = re.compile(r"\[unused\d+\]|<unused\d+>|madeupword\d+")
"""Tokens that vocabularies hold in reserve."""


def words(tokens: Sequence[str], special: Collection[int]) -> Tensor:
    """(W,) int64 the ids of tokens that a text can have, in their order: neither special nor placeholders.

    Args:
        tokens: of the vocabulary, by id.
        special: ids of the special tokens.
    """
    ids = [id for id, token in enumerate(tokens) if id not in special and not PLACEHOLDER.fullmatch(token)]
    return torch.tensor(ids, dtype=torch.int64)


@torch.no_grad()
def token_vectors(encoder: nn.Module, ids: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """(V, D) the embedding of each token as a text of its own, between the tokenizer's special tokens.

    Args:
        encoder: takes `input_ids` and `attention_mask`; is called in eval mode and stays as it was.
        ids: (V,) int64 the tokens.
        before: special tokens in front of a text.
        after: special tokens behind it.
    """
    training = encoder.training
    encoder.eval()
    found = []
    for some in torch.split(ids, BATCH):
        rows = torch.cat([before.expand(len(some), -1), some[:, None], after.expand(len(some), -1)], 1)
        found.append(encoder(input_ids=rows, attention_mask=torch.ones_like(rows)).float())
    encoder.train(training)
    return torch.cat(found)


def principal(vectors: Tensor, dim: int) -> Tensor:
    """(V, dim) the vectors, centered, in the directions of their largest variance, the largest first.

    The sign of a direction is such that its largest entry is positive, so that the result is the same
    everywhere.

    Args:
        vectors: (V, D), V and D at least `dim`.
        dim: how many directions are kept.
    Raises:
        LimbeckError: for more directions than there are.
    """
    if dim > min(vectors.shape):
        raise LimbeckError(
            f"static: {len(vectors)} vectors of {vectors.shape[1]} numbers have no {dim} principal "
            f"components; take dim={min(vectors.shape)} or less"
        )
    centered = vectors.double() - vectors.double().mean(0)
    _, directions = torch.linalg.eigh(centered.T @ centered)  # the largest last
    kept = directions[:, -dim:].flip(1)
    largest = kept.gather(0, kept.abs().argmax(0, keepdim=True))
    found: Tensor = centered @ (kept * largest.sign())
    return found.float()


def zipf_weights(count: int, a: float = SIF) -> Tensor:
    """(count,) weights a / (a + p) of tokens whose probability p falls with their rank.

        p_r = (1 / (r + 2)) / sum_s 1 / (s + 2),   r from 0

    Args:
        count: how many tokens there are.
        a: the constant; the smaller, the less a frequent token counts.
    """
    inverse = 1 / torch.arange(2, count + 2, dtype=torch.float64)
    return (a / (a + inverse / inverse.sum())).float()
