"""Texts in the tokens of another tokenizer, and what goes with what in those that a batch has them in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from limbeck.tasks import Task

APART = -1
"""The number of a token that has no counterpart in the other tokenizer."""


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """What another tokenizer has to do with that of the data.

    Attributes:
        task: what a network is for that reads its tokens; it has as many outputs as there are of them.
        common: () -> (2, M) int64 the ids of the tokens that stand for the same bytes in both, those of the
            data's tokenizer first; it refuses tokenizers whose tokens do not tell their bytes.
    """

    task: Task
    common: Callable[[], Tensor]


@dataclass(frozen=True, eq=False)
class Retold(Mapping[str, Tensor]):
    """The texts of a batch as a network with another tokenizer reads them.

    As a mapping it holds what that network is called with, and nothing else. A span is the shortest text that
    both tokenizers make whole tokens of; spans of a sample have numbers of their own, from 0.

    Attributes:
        inputs: token ids at (B, M) positions and what goes with them, such as a mask.
        targets: (B, M) int64 the next token at each position, `UNLABELED` where none is learned.
        spans: (B, M) int64 the span that this token belongs to, or `APART`.
        own_spans: (B, L) int64 the same at the positions of the batch.
        pairs: (B, L) int64 for the n-th learned token of a text the position, of M, of the n-th one here, or
            `APART`.
        vocabulary: of the other tokenizer.
    """

    inputs: Mapping[str, Tensor]
    targets: Tensor
    spans: Tensor
    own_spans: Tensor
    pairs: Tensor
    vocabulary: Vocabulary

    def map(self, function: Callable[[Tensor], Tensor]) -> Retold:
        """The texts with `function` applied to every tensor in them."""
        return Retold(
            {name: function(tensor) for name, tensor in self.inputs.items()},
            function(self.targets),
            function(self.spans),
            function(self.own_spans),
            function(self.pairs),
            self.vocabulary,
        )

    def __getitem__(self, name: str) -> Tensor:
        return self.inputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.inputs)

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True, eq=False)
class Counterparts:
    """What goes with what in the rows (P,) of a student and those (Q,) of a teacher with other tokens.

    Attributes:
        pairs: (P,) int64 the teacher's row at the same place in the text, counted in tokens, or `APART`.
        student_spans: (P,) int64 the span of text that each row is about, or `APART`.
        teacher_spans: (Q,) int64 the same of the teacher's.
        targets: (Q,) int64 the token that each row of the teacher is about.
        vocabulary: of the teacher.
    """

    pairs: Tensor
    student_spans: Tensor
    teacher_spans: Tensor
    targets: Tensor
    vocabulary: Vocabulary | None

    @classmethod
    def same(cls, targets: Tensor) -> Counterparts:
        """Those of a teacher with the student's tokens (P,): each row goes with itself."""
        rows = torch.arange(len(targets), device=targets.device)
        return cls(rows, rows, rows, targets, None)

    @classmethod
    def of(cls, texts: Retold, sample: Tensor, place: Tensor, learned: Tensor) -> Counterparts:
        """Those of the rows of a batch.

        Args:
            texts: the batch as the teacher reads it.
            sample: (P,) int64 the sample in the batch that each of the student's rows belongs to.
            place: (P,) int64 the position that it is at.
            learned: (B, M) bool, the positions that are rows of the teacher.
        """
        many = 1 + max(int(texts.spans.max()), int(texts.own_spans.max()))
        first = torch.arange(len(texts.spans), device=sample.device) * many

        def numbered(spans: Tensor, of: Tensor) -> Tensor:
            return (spans + first[of]).where(spans != APART, APART)

        number = learned.flatten().cumsum(0).view(learned.shape) - 1  # of the row at each position
        pairs = texts.pairs[sample, place]
        rows, places = learned.nonzero(as_tuple=True)
        return cls(
            number[sample, pairs.clamp(min=0)].where(pairs != APART, APART),
            numbered(texts.own_spans[sample, place], sample),
            numbered(texts.spans[rows, places], rows),
            texts.targets[rows, places],
            texts.vocabulary,
        )
