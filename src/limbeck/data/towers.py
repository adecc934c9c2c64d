"""What a network of two towers reads: queries by the tokenizer of one, documents by that of the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from limbeck.data.storage.base import Samples
from limbeck.data.storage.texts import Texts
from limbeck.data.tokenization import Tokenization, tokenization
from limbeck.errors import LimbeckError
from limbeck.outputs import Inputs

SIDES = ("query", "document")
UNBOUNDED = 1 << 20


@dataclass(frozen=True)
class TowerTokenization(Tokenization):
    """How a text becomes the tokens of the tower that embeds it.

    Inputs are named after the tower, `query_input_ids` and `document_input_ids`, each (B, L) of its own
    length, and `of_document` (B,) says which texts are documents. What a tower would read of a text of the
    other's is filled with one of its own, and nobody looks at it.

    Args:
        query: what the tower of queries reads.
        document: what the tower of documents reads.
    """

    query: Tokenization = field(default_factory=Tokenization)
    document: Tokenization = field(default_factory=Tokenization)

    @classmethod
    def of(cls, query: Tokenization, document: Tokenization) -> TowerTokenization:
        """The two as one, each with the prompt of its own kind."""
        prompts = [(kind, text) for kind, text in query.prompts if kind == "query"]
        prompts += [(kind, text) for kind, text in document.prompts if kind == "document"]
        return cls(
            place=f"{query.place} and {document.place}",
            digest=f"{query.digest}-{document.digest}",
            max_length=max(query.max_length, document.max_length),
            prompts=tuple(prompts),
            query=query,
            document=document,
        )

    def read(self, rendered: Inputs, samples: Samples, index: Tensor) -> Inputs:
        """What each tokenizer makes of the texts of its tower."""
        texts, of_document = self._kinds(samples, index)
        found = {"of_document": of_document.to(index.device).long()}
        for side, mine in zip(SIDES, (~of_document, of_document), strict=True):
            own = index[mine.to(index.device)]
            places = torch.where(mine.to(index.device), index, own[0]) if len(own) else index
            each: Tokenization = getattr(self, side)
            tokens = each.read(rendered, texts, places)
            assert not isinstance(tokens, Tensor)
            found |= {f"{side}_{name}": tensor for name, tensor in tokens.items()}
        return found

    def key(self, samples: Samples) -> str:
        """Both tokenizers and the texts."""
        return f"queries as {self.query.key(samples)}, documents as {self.document.key(samples)}"

    def lengths(self, samples: Samples, index: Tensor) -> Tensor | None:
        """(B,) int64 tokens of each text in its tower."""
        texts, of_document = self._kinds(samples, index)
        each = [side.lengths(texts, index) for side in (self.query, self.document)]
        assert each[0] is not None
        assert each[1] is not None
        return torch.where(of_document, each[1], each[0])

    def share_cut(self, samples: Samples) -> float:
        """The share of the texts that are longer than their tower reads."""
        texts, of_document = self._kinds(samples, torch.arange(len(samples)))
        parts = [texts.select(rows.nonzero().flatten()) for rows in (~of_document, of_document)]
        cut = sum(
            side.share_cut(part) * len(part)
            for side, part in zip((self.query, self.document), parts, strict=True)
        )
        return cut / len(samples)

    def share_unknown(self, samples: Samples) -> float:
        """The larger share of the two tokenizers."""
        return max(side.share_unknown(samples) for side in (self.query, self.document))

    def save(self, folder: Path) -> None:
        """Writes both tokenizers, each in a folder of its own."""
        for side in SIDES:
            getattr(self, side).save(folder / side)

    @staticmethod
    def saved(folder: Path) -> TowerTokenization:
        """What `save` wrote."""
        return TowerTokenization.of(*(tokenization(str(folder / side), UNBOUNDED) for side in SIDES))

    def _kinds(self, samples: Samples, index: Tensor) -> tuple[Texts, Tensor]:
        """The texts, and which of those asked for are documents, (B,) bool on the CPU."""
        if not isinstance(samples, Texts) or not samples.corpus.kinds:
            raise LimbeckError(
                "a network of two towers embeds queries by one and documents by the other, and this data "
                "does not say which texts are which; give data for retrieval"
            )
        return samples, samples.corpus.documents[samples.of_corpus(index)]
