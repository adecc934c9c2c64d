"""A small token model that methods are tried on."""

from __future__ import annotations

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
