"""Two towers: one encoder for queries and another for documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError, unknown
from limbeck.notation import Call, parse_call

QUERY, DOCUMENT, KIND = "query_", "document_", "of_document"
"""What stands before the names of the inputs of each tower, and the name of what tells the texts apart."""


class Towers(nn.Module):
    """Embeds queries by one encoder and all other texts by another, into one space.

    With the teacher as a frozen document tower this is EmbedDistill's asymmetric student (arXiv:2301.12005):
    the documents' index is the teacher's, and only the encoder of queries, which runs for each search, is
    small.

    Args:
        query: encoder of the queries.
        document: encoder of the documents.
        freeze: whether the document tower stays as it is.
    """

    def __init__(self, query: nn.Module, document: nn.Module, *, freeze: bool = False) -> None:
        super().__init__()
        self.query, self.document, self.freeze = query, document, freeze
        if freeze:
            document.requires_grad_(False)

    def train(self, mode: bool = True) -> Towers:
        """Sets the mode; a frozen document tower stays in eval mode."""
        super().train(mode)
        if self.freeze:
            self.document.eval()
        return self

    def feature_points(self) -> dict[str, str | Sequence[str]]:
        """The embedding is what the network returns."""
        return {"logits": "", "embedding": ""}

    def forward(self, **inputs: Tensor) -> Tensor:
        """(B, D) embeddings.

        Args:
            inputs: `of_document` (B,), 1 for documents; and what each tower reads of the texts, by names that
                begin with `query_` or `document_`.
        """
        chosen = inputs[KIND].bool()
        rows = [(~chosen).nonzero().flatten(), chosen.nonzero().flatten()]
        parts = [
            tower(**{name: each[some] for name, each in named(inputs, prefix).items()})
            for tower, some, prefix in zip((self.query, self.document), rows, (QUERY, DOCUMENT), strict=True)
            if len(some)
        ]
        if len({part.shape[1] for part in parts}) > 1:
            raise LimbeckError(
                f"the query tower gives {parts[0].shape[1]} numbers and the document tower "
                f"{parts[1].shape[1]}; give towers of one width"
            )
        order = torch.cat(rows).argsort()
        return torch.cat([part.float() for part in parts])[order]


def named(inputs: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The inputs of one tower, under the names that it has for them."""
    return {name.removeprefix(prefix): each for name, each in inputs.items() if name.startswith(prefix)}


def towers_of(spec: str) -> Call | None:
    """The call that a model text is, if it is `towers("hf:SMALL", "hf:LARGE", freeze=true)`.

    Raises:
        LimbeckError: for anything but two networks in quotes, and for other arguments than `freeze`.
    """
    if not spec.startswith("towers("):
        return None
    call = parse_call(spec, "model")
    if strange := [name for name in call.kwargs if name != "freeze"]:
        raise unknown("argument of towers", strange[0], ("freeze",))
    right = len(call.args) == 2 and all(isinstance(each, str) for each in call.args)
    if not right or not isinstance(call.kwargs.get("freeze", False), bool):
        raise LimbeckError(
            "towers names the encoder of queries and that of documents, in quotes: "
            'towers("hf:SMALL", "hf:LARGE", freeze=true); freeze keeps the document tower as it is'
        )
    return call
