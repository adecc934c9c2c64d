"""Cross-encoders: networks that read a query and a document together and score how well they fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.models import huggingface
from limbeck.pretrained import settings_in

HEAD = "ForSequenceClassification"


class DualPooling(nn.Module):
    """The mean of a pair's token states over the query's tokens, and over the document's. It has no weights.

    [M] Kim et al. 2023, arXiv:2301.12005, pool the two sides of a cross-encoder separately, so that it has an
    embedding for each; that the pooling is a mean over the tokens without the special ones is from memory.
    """

    def forward(self, tokens: Tensor, sides: Tensor) -> Tensor:
        """(B, 2 * D) of tokens (B, L, D) and sides (B, L); zero for a side without a token."""
        found = []
        for side in (1, 2):
            mine = (sides == side).to(tokens.dtype)
            total = (tokens * mine[..., None]).sum(1, dtype=torch.promote_types(tokens.dtype, torch.float32))
            found.append((total / mine.sum(1, keepdim=True).clamp(min=1)).to(tokens.dtype))
        return torch.cat(found, 1)


class CrossEncoder(nn.Module):
    """A network of `transformers` with one output for a pair of texts, and embeddings of both.

    The score is the output itself, before the sigmoid that sentence-transformers puts behind it.

    Args:
        body: a network for sequence classification with one output.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body, self.pooled = body, DualPooling()

    def feature_points(self) -> dict[str, str | Sequence[str]]:
        """The logits are the scores (B, 1), the embedding is that of query and document (B, 2 * D)."""
        return {"logits": "", "embedding": "pooled"}

    def forward(self, sides: Tensor, **inputs: Tensor) -> Tensor:
        """(B, 1) scores.

        Args:
            sides: (B, L) int64 whose each token is: 1 of the query, 2 of the document, 0 of none.
            inputs: what the body reads, each (B, L).
        """
        found: Any = self.body(**inputs, output_hidden_states=True)
        self.pooled(found.hidden_states[-1], sides)
        scores: Tensor = found.logits
        return scores


def is_cross_encoder(spec: str) -> bool:
    """Whether a model text names a network with one output for a text, and not how to make embeddings of it.

    That is a folder, or a name on the hub, of sequence classification, such as a `CrossEncoder` of
    sentence-transformers; with `pooling`, `normalize` or `dim` it is an encoder.
    """
    if not huggingface.is_hf(spec):
        return False
    named = huggingface.read(spec)
    if not named.brings_weights or any(x is not None for x in (named.pooling, named.normalize, named.dim)):
        return False
    config: Any = settings_in(named.place, "config.json") or {}
    headed = any(str(name).endswith(HEAD) for name in config.get("architectures") or ())
    return headed and len(config.get("id2label") or (0, 1)) == 1


def cross_encoder(spec: str, inputs: dict[str, Tensor]) -> CrossEncoder:
    """The cross-encoder of a folder or of a name on the hub, in training mode.

    Args:
        spec: a text for which `is_cross_encoder` holds.
        inputs: a few pairs as it reads them, without `sides`.
    """
    return CrossEncoder(huggingface.build(spec, inputs, 1, head=True))
