"""Convolutional networks for sentences. Kim, EMNLP 2014, arXiv:1408.5882."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from limbeck.arguments import Count, Share
from limbeck.models.inputs import Widths


class TextCNN(nn.Module):
    """(B, L) token ids to (B, num_classes) logits of a text, or of each token, whatever follows its end.

    Each position is seen in windows of several widths; of each feature the largest value in the text counts,
    or for a token those of the windows around it.

    Args:
        dim: size of a token's embedding.
        channels: features of each width of window.
        widths: widths of the windows, in tokens.
        dropout: share of the embedding silenced in training.
        per_token: whether each token has logits of its own, (B, L, num_classes); data of words says so.
    """

    def __init__(
        self,
        dim: Count = 300,
        channels: Count = 100,
        widths: Widths = (3, 4, 5),
        dropout: Share = 0.5,
        *,
        per_token: bool = False,
        vocab_size: Count,
        num_classes: Count,
    ) -> None:
        super().__init__()
        self.per_token = per_token
        self.embedding = nn.Embedding(vocab_size, dim)
        self.windows = _Windows(dim, channels, widths)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(len(widths) * channels, num_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the tokens' embeddings anew, from U(-0.25, 0.25)."""
        nn.init.uniform_(self.embedding.weight, -0.25, 0.25)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Logits of the texts or tokens; `attention_mask` (B, L) is 0 where a text has ended."""
        valid = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        features = self.relu(self.windows(self.embedding(input_ids), valid))
        return self.classifier(self.dropout(features if self.per_token else features.amax(1)))  # type: ignore[no-any-return]

    def feature_points(self) -> dict[str, str | list[str]]:
        """The features at each token are the one stage, the tokens' embeddings the stem."""
        return {
            "stem": "embedding",
            "stages": ["relu"],
            "preactivations": ["windows"],
            "embedding": "dropout:input",
        }


class _Windows(nn.Module):
    """Convolutions of several widths side by side, zero after the end of a text."""

    def __init__(self, dim: int, channels: int, widths: Widths) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(dim, channels, width, padding=width // 2) for width in widths
        )

    def forward(self, tokens: Tensor, valid: Tensor) -> Tensor:
        """(B, L, dim) embeddings and (B, L) validity to (B, L, widths * channels)."""
        mask = valid.unsqueeze(-1).to(tokens.dtype)
        columns = (tokens * mask).transpose(1, 2)
        length = columns.shape[-1]  # an even width makes one window more
        features = torch.cat([convolution(columns)[..., :length] for convolution in self.convolutions], dim=1)
        return features.transpose(1, 2) * mask
