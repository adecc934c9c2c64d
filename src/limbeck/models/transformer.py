"""Transformer encoder. Vaswani et al., NeurIPS 2017, arXiv:1706.03762; normalized first, arXiv:2002.04745."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.arguments import Count, Share
from limbeck.errors import LimbeckError


class Transformer(nn.Module):
    """(B, L) token ids to (B, num_classes) logits of the mean over a text's tokens, or of each token.

    Args:
        dim: size of a token's hidden state, even.
        depth: blocks of attention and feed-forward layer.
        heads: number of heads of the attention; divides `dim`.
        expansion: width of the feed-forward layer over `dim`.
        dropout: share silenced in training, of the input and of what each layer adds.
        per_token: whether each token has logits of its own, (B, L, num_classes); data of words says so.
    """

    def __init__(
        self,
        dim: Count = 128,
        depth: Count = 2,
        heads: Count = 4,
        expansion: Count = 4,
        dropout: Share = 0.1,
        *,
        per_token: bool = False,
        vocab_size: Count,
        num_classes: Count,
    ) -> None:
        super().__init__()
        if dim % heads or dim % 2:
            raise LimbeckError(f"transformer needs an even dim that heads={heads} divides, not dim={dim}")
        self.per_token = per_token
        self.embedding = nn.Embedding(vocab_size, dim)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(_Block(dim, heads, expansion * dim, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.classifier = nn.Linear(dim, num_classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Logits of the texts or tokens; `attention_mask` (B, L) is 0 where a text has ended."""
        valid = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        tokens = self.embedding(input_ids)
        states = self.dropout(tokens + _positions(tokens))
        for block in self.blocks:
            states = block(states, valid.bool())
        states = self.norm(states)
        if self.per_token:
            return self.classifier(states)  # type: ignore[no-any-return]
        weight = valid.unsqueeze(-1).to(states.dtype)
        mean = (states * weight).sum(1) / weight.sum(1).clamp(min=1)
        return self.classifier(mean)  # type: ignore[no-any-return]

    def feature_points(self) -> dict[str, str | list[str]]:
        """The hidden states after each block, zero after the end of a text."""
        return {
            "stem": "dropout:input",
            "stages": [f"blocks.{position}" for position in range(len(self.blocks))],
            "embedding": "classifier:input",
        }


class _Block(nn.Module):
    """Attention, then a feed-forward layer; each sees its input normalized and adds to it."""

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim)
        self.projections = nn.Linear(dim, 3 * dim)
        self.mixing = nn.Linear(dim, dim)
        self.feed_norm = nn.LayerNorm(dim)
        self.feed = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, valid: Tensor) -> Tensor:
        """(B, L, dim) states and (B, L) validity to (B, L, dim)."""
        states = states + self.dropout(self.mixing(self._attention(self.attention_norm(states), valid)))
        states = states + self.dropout(self.feed(self.feed_norm(states)))
        return states * valid.unsqueeze(-1)

    def _attention(self, states: Tensor, valid: Tensor) -> Tensor:
        heads = self.projections(states).unflatten(-1, (3, self.heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=valid[:, None, None])
        return mixed.transpose(1, 2).flatten(2)


def _positions(tokens: Tensor) -> Tensor:
    """(L, dim) sines and cosines of the position, in the embeddings' dtype and on their device."""
    length, dim = tokens.shape[1:]
    position = torch.arange(length, device=tokens.device, dtype=torch.float32)
    rate = torch.exp(torch.arange(0, dim, 2, device=tokens.device) * (-math.log(10_000.0) / dim))
    angle = position[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).to(tokens.dtype)
