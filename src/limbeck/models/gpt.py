"""A causal language model as today's are built: RMSNorm first, rotary positions, SwiGLU.

Radford et al. 2019 (GPT-2) with Zhang & Sennrich 2019 (arXiv:1910.07467), Su et al. 2021 (arXiv:2104.09864)
and Shazeer 2020 (arXiv:2002.05202).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.arguments import Count, Share
from limbeck.errors import LimbeckError
from limbeck.features.documents import places, within_documents

Positions: TypeAlias = Literal["rotary", "learned"]
Norm: TypeAlias = Literal["rms", "layer"]
Feed: TypeAlias = Literal["swiglu", "gelu"]

BASE = 10_000.0
"""The base of the wave lengths of rotary positions."""


class KVCache:
    """Keys and values of the tokens that a network has seen, for decoding token by token."""

    def __init__(self) -> None:
        self._layers: list[tuple[Tensor, Tensor]] = []

    def __len__(self) -> int:
        """How many tokens have been seen."""
        return self._layers[0][0].shape[2] if self._layers else 0

    def extended(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values of a layer (B, H, T, D), with some new ones at the end, which are kept."""
        if layer < len(self._layers):
            seen = self._layers[layer]
            key, value = torch.cat([seen[0], key], 2), torch.cat([seen[1], value], 2)
            self._layers[layer] = key, value
        else:
            self._layers.append((key, value))
        return key, value

    def select(self, rows: Tensor) -> None:
        """Keeps some of the rows (M,) of the batch, such as those that are not done."""
        self._layers = [(key[rows], value[rows]) for key, value in self._layers]


class GPT(nn.Module):
    """(B, L) token ids to (B, L, vocab_size) logits of the next token.

    Args:
        dim: size of a token's hidden state.
        depth: blocks of attention and feed-forward layer.
        heads: number of heads of the attention; divides `dim`, into even parts where positions are rotary.
        expansion: width of the feed-forward layer over `dim`; two thirds of that for "swiglu".
        positions: "rotary", turned into queries and keys, or "learned", added to the tokens.
        context: most tokens of a document where positions are learned.
        norm: "rms" or "layer".
        feed: "swiglu" or "gelu".
        tie: whether the head has the weights of the embedding.
        dropout: share silenced in training, of the input and of what each layer adds.
    """

    def __init__(
        self,
        dim: Count = 128,
        depth: Count = 4,
        heads: Count = 4,
        expansion: Count = 4,
        positions: Positions = "rotary",
        context: Count = 1024,
        norm: Norm = "rms",
        feed: Feed = "swiglu",
        tie: bool = True,
        dropout: Share = 0.0,
        *,
        vocab_size: Count,
    ) -> None:
        super().__init__()
        if dim % heads or (positions == "rotary" and dim // heads % 2):
            even = " into even parts" if positions == "rotary" else ""
            raise LimbeckError(f"gpt needs a dim that heads={heads} divides{even}, not dim={dim}")
        self.size = dim // heads
        self.embedding = nn.Embedding(vocab_size, dim)
        self.positions = nn.Embedding(context, dim) if positions == "learned" else None
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            _Block(dim, heads, expansion, norm, feed, dropout, number) for number in range(depth)
        )
        self.norm = _norm(norm, dim)
        self.head = nn.Linear(dim, vocab_size, bias=False)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
        for block in self.blocks:
            for last in (block.mixing, block.feed.out):  # type: ignore[union-attr]
                nn.init.normal_(last.weight, std=0.02 / (2 * depth) ** 0.5)  # type: ignore[arg-type, union-attr]
        if tie:
            self.head.weight = self.embedding.weight

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Logits at each position, from the tokens up to it.

        Args:
            input_ids: (B, L) int64.
            attention_mask: (B, L) int64 number of the document that each token is in, 0 for padding; 1 and 0
                for one document a row. With a cache it is (B, T + L), of the T tokens before as well.
            position_ids: (B, L) int64 place of each token in its document; counted from 0 if None.
            cache: the tokens before; these are added to it.
        Raises:
            LimbeckError: for a document that is longer than the learned positions.
        """
        seen = 0 if cache is None else len(cache)
        mask = None if attention_mask is None else within_documents(attention_mask)[:, :, seen:]
        if position_ids is None:
            plain = torch.arange(seen, seen + input_ids.shape[1], device=input_ids.device)
            counted = plain.expand_as(input_ids)
            position_ids = counted if attention_mask is None else places(attention_mask)[:, seen:]
        states = self.embedding(input_ids)
        turns = None
        if self.positions is None:
            turns = _turns(position_ids, self.size, states.dtype)
        elif (
            position_ids.shape[1] + seen > self.positions.num_embeddings
            and (longest := int(position_ids.max()) + 1) > self.positions.num_embeddings
        ):
            raise LimbeckError(
                f"this gpt has {self.positions.num_embeddings} learned positions, and a document has "
                f"{longest} tokens; take a smaller block, or a larger context"
            )
        else:
            states = states + self.positions(position_ids)
        states = self.dropout(states)
        for block in self.blocks:
            states = block(states, mask, turns, cache)
        return self.head(self.norm(states))  # type: ignore[no-any-return]

    @property
    def most_tokens(self) -> int | None:
        """How many tokens of a document it reads at most; None where it has a position for each."""
        return None if self.positions is None else self.positions.num_embeddings

    def incremental(self) -> Callable[[Tensor, Tensor, Tensor, int], Tensor]:
        """A reader of texts piece by piece, see `limbeck.generation.Stepper`."""
        cache = KVCache()

        def step(ids: Tensor, positions: Tensor, visible: Tensor, keep: int) -> Tensor:
            logits: Tensor = self(ids, visible.long(), positions, cache)
            return logits[:, -keep:]

        return step

    def feature_points(self) -> dict[str, str | list[str]]:
        """The hidden states after each block; the embedding is what the head reads."""
        return {
            "stem": "dropout",
            "stages": [f"blocks.{number}" for number in range(len(self.blocks))],
            "embedding": "head:input",
        }


class _Block(nn.Module):
    """Attention, then a feed-forward layer; each sees its input normalized and adds to it."""

    def __init__(
        self, dim: int, heads: int, expansion: int, norm: Norm, feed: Feed, dropout: float, number: int
    ) -> None:
        super().__init__()
        self.heads, self.size, self.number = heads, dim // heads, number
        self.attention_norm, self.feed_norm = _norm(norm, dim), _norm(norm, dim)
        self.projections = nn.Linear(dim, 3 * dim, bias=False)
        self.mixing = nn.Linear(dim, dim, bias=False)
        self.feed = _SwiGLU(dim, expansion) if feed == "swiglu" else _GELU(dim, expansion)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, states: Tensor, mask: Tensor | None, turns: tuple[Tensor, Tensor] | None, cache: KVCache | None
    ) -> Tensor:
        """(B, L, dim) states to (B, L, dim)."""
        mixed = self._attention(self.attention_norm(states), mask, turns, cache)
        states = states + self.dropout(self.mixing(mixed))
        return states + self.dropout(self.feed(self.feed_norm(states)))  # type: ignore[no-any-return]

    def _attention(
        self, states: Tensor, mask: Tensor | None, turns: tuple[Tensor, Tensor] | None, cache: KVCache | None
    ) -> Tensor:
        parts = self.projections(states).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        if turns is not None:
            query, key = _turned(query, *turns), _turned(key, *turns)
        if cache is not None:
            key, value = cache.extended(self.number, key, value)
        alone = mask is None and query.shape[2] == key.shape[2]
        if mask is None and not alone:
            new, every = query.shape[2], key.shape[2]
            mask = torch.ones(new, every, dtype=torch.bool, device=query.device).tril(every - new)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=alone)
        return mixed.transpose(1, 2).flatten(2)


class _SwiGLU(nn.Module):
    """out(silu(gate(x)) * inside(x))."""

    def __init__(self, dim: int, expansion: int) -> None:
        super().__init__()
        hidden = -(-2 * expansion * dim // 3)
        self.gate = nn.Linear(dim, hidden, bias=False)
        self.inside = nn.Linear(dim, hidden, bias=False)
        self.out = nn.Linear(hidden, dim, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        return self.out(F.silu(self.gate(states)) * self.inside(states))  # type: ignore[no-any-return]


class _GELU(nn.Module):
    """out(gelu(inside(x)))."""

    def __init__(self, dim: int, expansion: int) -> None:
        super().__init__()
        self.inside = nn.Linear(dim, expansion * dim, bias=False)
        self.out = nn.Linear(expansion * dim, dim, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        return self.out(F.gelu(self.inside(states)))  # type: ignore[no-any-return]


def _norm(kind: Norm, dim: int) -> nn.Module:
    return nn.RMSNorm(dim, eps=1e-6) if kind == "rms" else nn.LayerNorm(dim)


def _turns(position: Tensor, size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines (B, 1, L, size) of the angles that a position turns queries and keys by."""
    place = torch.arange(0, size, 2, device=position.device, dtype=torch.float32)
    angle = position[:, None, :, None].float() * BASE ** (-place / size)
    both = torch.cat([angle, angle], -1)
    return both.cos().to(dtype), both.sin().to(dtype)


def _turned(states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    first, second = states.chunk(2, -1)
    return states * cosine + torch.cat([-second, first], -1) * sine
