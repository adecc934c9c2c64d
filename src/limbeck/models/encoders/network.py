"""Sentence encoders: a transformer with its pooling, dense layers and normalization as one network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from limbeck.models.encoders.pooling import Pooling, pool

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "torch.nn.modules.activation.Tanh": nn.Tanh,
    "torch.nn.modules.linear.Identity": nn.Identity,
    "torch.nn.modules.activation.GELU": nn.GELU,
    "torch.nn.modules.activation.ReLU": nn.ReLU,
    "torch.nn.modules.activation.SiLU": nn.SiLU,
}
"""The activations of a dense layer by the names that sentence-transformers writes."""


class DenseSettings(BaseModel):
    """A dense layer behind the pooling.

    Attributes:
        in_features: width of what it reads.
        out_features: width of what it gives.
        bias: whether it has one.
        activation_function: one of `ACTIVATIONS`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    in_features: int
    out_features: int
    bias: bool = True
    activation_function: str = "torch.nn.modules.activation.Tanh"


class EncoderSettings(BaseModel):
    """What a sentence encoder does behind its transformer.

    Attributes:
        pooling: how the tokens become a vector; several are put one after the other.
        dense: layers behind the pooling, in their order.
        normalize: whether the embedding has length 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pooling: tuple[Pooling, ...] = ("mean",)
    dense: tuple[DenseSettings, ...] = ()
    normalize: bool = True


class Dense(nn.Module):
    """A linear layer and an activation, with the keys that sentence-transformers has."""

    def __init__(self, settings: DenseSettings) -> None:
        super().__init__()
        self.settings = settings
        self.linear = nn.Linear(settings.in_features, settings.out_features, bias=settings.bias)
        self.activation_function = ACTIVATIONS[settings.activation_function]()

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, out_features) of (B, in_features)."""
        activated: Tensor = self.activation_function(self.linear(vectors))
        return activated


class SentenceEncoder(nn.Module):
    """A transformer whose output is one embedding for each text.

    Args:
        body: of `transformers`, without a head; its pooler, which no pooling here reads, is taken off.
        settings: what is done behind it.
    """

    def __init__(self, body: nn.Module, settings: EncoderSettings) -> None:
        super().__init__()
        if getattr(body, "pooler", None) is not None:
            body.pooler = None  # type: ignore[assignment]
        self.body = body
        self.settings = settings
        self.dense = nn.ModuleList(map(Dense, settings.dense))

    @property
    def width(self) -> int:
        """How many numbers the embedding has."""
        if self.settings.dense:
            return self.settings.dense[-1].out_features
        hidden: int = self.config.hidden_size
        return hidden * len(self.settings.pooling)

    def append(self, dim: int) -> None:
        """Puts a linear layer before the normalization, so that the embedding has `dim` numbers."""
        identity = "torch.nn.modules.linear.Identity"
        layer = DenseSettings(
            in_features=self.width, out_features=dim, bias=False, activation_function=identity
        )
        self.dense.append(Dense(layer))
        self.settings = self.settings.model_copy(update={"dense": (*self.settings.dense, layer)})

    @property
    def config(self) -> Any:
        """The config of the transformer."""
        return self.body.config

    def feature_points(self) -> dict[str, str | Sequence[str]]:
        """The embedding is what the network returns."""
        return {"logits": "", "embedding": ""}

    def forward(self, **inputs: Tensor) -> Tensor:
        """(B, D) embeddings.

        Args:
            inputs: `input_ids` and `attention_mask`, (B, L) int64, and what else the transformer reads.
        """
        tokens = self.body(**inputs).last_hidden_state
        mask = inputs.get("attention_mask")
        mask = torch.ones(tokens.shape[:2], device=tokens.device) if mask is None else mask
        vectors = pool(tokens, mask, self.settings.pooling)
        for layer in self.dense:
            vectors = layer(vectors)
        return F.normalize(vectors, dim=-1) if self.settings.normalize else vectors
