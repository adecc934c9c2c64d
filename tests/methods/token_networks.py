"""Small token models that methods are tried on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn


class WordNet(nn.Module):
    """Token ids and their mask to logits; two stages of hidden states (B, L, width), each token by itself."""

    def __init__(self, width: int, classes: int = 3) -> None:
        super().__init__()
        self.words = nn.Embedding(20, width)
        self.layer1 = nn.Sequential(nn.Linear(width, width), nn.Tanh())
        self.layer2 = nn.Sequential(nn.Linear(width, width), nn.Tanh())
        self.classifier = nn.Linear(width, classes)

    def feature_points(self) -> dict[str, str | list[str]]:
        return {"stages": ["layer1", "layer2"], "embedding": "classifier:input"}

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.layer2(self.layer1(self.words(input_ids)))
        mask = attention_mask.unsqueeze(2).to(hidden.dtype)
        logits: Tensor = self.classifier((hidden * mask).sum(1) / mask.sum(1))
        return logits

    @staticmethod
    def batch(padding: int = 0) -> dict[str, Tensor]:
        """Three sentences of at most six tokens, with so much more padding."""
        ids = torch.randint(1, 20, (3, 6), generator=torch.Generator().manual_seed(4))
        mask = (torch.arange(6) < torch.tensor([[6], [4], [2]])).long()
        more = torch.zeros(3, padding, dtype=torch.int64)
        return {"input_ids": torch.cat([ids, more], 1), "attention_mask": torch.cat([mask, more], 1)}


class Attending(nn.Module):
    """Blocks of attention, whose maps it returns beside the logits, one of each block."""

    def __init__(self, width: int, blocks: int, heads: int = 2, classes: int = 3) -> None:
        super().__init__()
        self.words = nn.Embedding(20, width)
        self.blocks = nn.ModuleList(
            nn.MultiheadAttention(width, heads, batch_first=True) for _ in range(blocks)
        )
        self.outs = nn.ModuleList(nn.Identity() for _ in range(blocks))
        self.classifier = nn.Linear(width, classes)

    def feature_points(self) -> dict[str, str | list[str]]:
        stages = [f"outs.{place}" for place in range(len(self.outs))]
        return {"stages": stages, "stem": "words", "embedding": "classifier:input"}

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor | tuple[Tensor, ...]]:
        hidden, maps = self.words(input_ids), []
        for block, out in zip(self.blocks, self.outs, strict=True):
            ended = attention_mask == 0
            mixed, attention = block(hidden, hidden, hidden, ended, average_attn_weights=False)
            hidden = out(hidden + mixed)
            maps.append(attention)
        return {"logits": self.classifier(hidden[:, 0]), "attentions": tuple(maps)}


def tiny_bert(layers: int, width: int, **settings: Any) -> nn.Module:
    """A fresh BERT of Hugging Face for the same words; without transformers the test is skipped."""
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=16,
        num_labels=3,
        **settings,
    )
    network: nn.Module = transformers.BertForSequenceClassification(config)
    return network
