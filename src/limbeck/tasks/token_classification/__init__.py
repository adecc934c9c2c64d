"""Token classification: a tag for each word of a sentence, such as named entities have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.tasks.base import Task
from limbeck.tasks.measuring import Agreement, Findings, Meter, Metric
from limbeck.tasks.parts.chance import most_by_chance
from limbeck.tasks.rows import Rows, masked
from limbeck.tasks.sections import Section
from limbeck.tasks.targets import as_tensor, same_size
from limbeck.tasks.token_classification.findings import TokenAgreement, TokenFindings
from limbeck.tasks.token_classification.meter import TokenComparison, TokenMeter
from limbeck.tasks.token_classification.places import words_of
from limbeck.tasks.token_classification.sections import compared, sections, weaknesses
from limbeck.tasks.token_classification.spans import Scheme


@dataclass(frozen=True)
class TokenClassification(Task):
    """Targets are (N, W) int64 tag ids of words, `UNLABELED` where none is known and behind the last word.

    A network answers each token, (B, L, C); the answer to a word is that to its first token. One row is one
    word that all networks read. Targets (N, 0) say that no tag of any word is known. What the tags say
    of entities follows from their names (see `limbeck.tasks.token_classification.spans`).

    Args:
        names: names of the tags, at least 2, such as "O", "B-PER" and "I-PER"; none for data without tags.
    """

    name = "token_classification"
    hub_tag: ClassVar[str | None] = "token-classification"
    columns_hold: ClassVar[Literal["classes", "labels", "values", "tags"]] = "tags"
    one_row_per_sample: ClassVar[bool] = False
    even: ClassVar[bool] = False
    dense: ClassVar[bool] = True
    distance: ClassVar[str] = "mean KL(teacher, student) of a word in nats"
    findings = TokenFindings
    agreement = TokenAgreement
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("f1", "entity F1", 100, "%"),
        Metric("precision", "entity precision", 100, "%"),
        Metric("recall", "entity recall", 100, "%"),
        Metric("macro_f1", "macro F1", 100, "%"),
        Metric("accuracy", "token accuracy", 100, "%"),
    )

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.names) == 1:
            raise LimbeckError("there should be at least 2 tags, not 1")

    @classmethod
    def of(cls, names: Sequence[str] | None, width: int | None, targets: Tensor) -> TokenClassification:
        """The task with the names given, or with numbers for as many tags as there are.

        Raises:
            LimbeckError: if names and number differ, and if neither is given and no word has a tag.
        """
        if names is not None:
            if width not in (None, len(names)):
                raise LimbeckError(f"there are {len(names)} names of tags for {width} tags")
            return cls(tuple(names))
        known = targets[targets != UNLABELED]
        if width is None and not len(known):
            raise LimbeckError("no training sentence has tags, so their number is unknown; give names=[...]")
        return cls(tuple(map(str, range(int(known.max()) + 1 if width is None else width))))

    @classmethod
    def of_width(cls, width: int) -> TokenClassification:
        """The task of so many tags, with numbers for names."""
        if width < 2:
            raise LimbeckError(
                "the student has one output for a token, and a choice among tags needs 2 or more"
            )
        return cls(tuple(map(str, range(width))))

    @staticmethod
    def width_of(logits: Tensor) -> int:
        """How many outputs raw logits have, along the last axis."""
        return logits.shape[-1]

    @property
    def summary(self) -> str:
        """For example "9 tags"."""
        return f"{self.width} tags"

    @cached_property
    def scheme(self) -> Scheme:
        """How the tags become entities."""
        return Scheme(self.names)

    # Targets

    @classmethod
    def as_targets(cls, targets: Any, size: int, which: str) -> Tensor:
        """(N, W) int64; (N, 0) for None."""
        if targets is None:
            return torch.empty(size, 0, dtype=torch.int64)
        ids = as_tensor(targets, which, "tag ids, integers (N, W), filled up with -100")
        if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool or ids.ndim != 2:
            raise LimbeckError(
                f"the {which} targets should be tag ids of each word, integers (N, W), filled up with "
                f"{UNLABELED}, not {ids.dtype} of shape {tuple(ids.shape)}"
            )
        same_size(ids, size, which)
        return ids.long()

    def check(self, targets: Tensor, which: str) -> None:
        """Refuses a target that is neither a tag id nor `UNLABELED`."""
        wrong = ((targets < 0) | (targets >= self.width)) & (targets != UNLABELED)
        if wrong.any():
            sample, word = wrong.nonzero()[0].tolist()
            raise LimbeckError(
                f"the {which} target {int(targets[sample, word])} of sentence {sample}, word {word}, is "
                f"out of range: with {self.width} tags it should be 0 to {self.width - 1}, or {UNLABELED} "
                "for no tag"
            )

    def check_batch(self, targets: Tensor, size: int) -> None:
        """Refuses anything but (B, W) int64."""
        if targets.dtype != torch.int64 or targets.ndim != 2 or len(targets) != size:
            raise LimbeckError(
                f"the targets of a batch of {size} must be int64 of shape ({size}, words), "
                f"not {str(targets.dtype).removeprefix('torch.')} of shape {tuple(targets.shape)}"
            )

    def check_outputs(self, logits: Tensor, role: str) -> None:
        """Refuses anything but (B, L, C) with C the number of tags."""
        if logits.ndim != 3 or logits.shape[2] != self.width:
            raise LimbeckError(
                f"the logits of the {role} have the shape {tuple(logits.shape)}, and token_classification "
                f"with {self.summary} takes those of each token, (B, L, {self.width})"
            )

    @classmethod
    def labeled(cls, targets: Tensor) -> Tensor:
        """Which sentences have a word with a tag."""
        return (targets != UNLABELED).any(1)

    @classmethod
    def strata(cls, targets: Tensor) -> Tensor:
        """The rarest tag in each sentence."""
        known, labeled = targets != UNLABELED, cls.labeled(targets)
        if not labeled.any():
            return torch.full((len(targets),), UNLABELED, device=targets.device)
        number = int(targets[known].max()) + 1
        has = torch.zeros(len(targets), number + 1, dtype=torch.bool, device=targets.device)
        has = has.scatter(1, targets.where(known, number), True)[:, :number]
        rarest_first = has.sum(0).argsort(stable=True)
        return rarest_first[has[:, rarest_first].int().argmax(1)].where(labeled, UNLABELED)

    def counts(self, targets: Tensor) -> tuple[int, ...]:
        """Words with each tag."""
        return tuple(targets[targets != UNLABELED].bincount(minlength=self.width).tolist())

    # Rows

    def rows(self, batch: Batch, outputs: Outputs) -> Rows:
        """The words that all networks read, those of a sentence one after the other."""
        valid, targets = words_of(batch), batch.targets
        if targets is not None and not targets.shape[1]:
            targets = targets.new_full(valid.shape, UNLABELED)
        return masked(valid, targets)

    def count(self, batch: Batch) -> Tensor | int:
        """How many words those are."""
        return words_of(batch).sum()

    # Measuring

    def meter(self, *, quick: bool = False) -> TokenMeter:
        """Counts entities and words, quick or not: the first metric needs all of it."""
        return TokenMeter(self.names)

    def comparison(self) -> TokenComparison:
        """Agreement and divergence over all words, and the student's entities beside the teacher's."""
        return TokenComparison(self.names)

    def measure(self, meter: Meter, validation: Meter | None) -> TokenFindings:
        """By type and over all; nothing is chosen on the validation split."""
        assert isinstance(meter, TokenMeter)
        return meter.findings()

    def at_chance(self, metrics: Mapping[str, float], targets: Tensor) -> bool:
        """Whether the entity F1 is within 3 standard errors of that of one tag for every word, or below."""
        known = targets != UNLABELED
        best, entities = 0.0, 0
        for tag in range(self.width):
            meter = TokenMeter(self.names)
            meter.count(targets, torch.full_like(targets, tag), known)
            found = meter.findings()
            best, entities = max(best, found.metrics["f1"]), found.all.entities
        error: float = (best * (1 - best) / max(entities, 1)) ** 0.5
        return entities > 0 and best < 1 and metrics["f1"] <= most_by_chance(best, error)

    def weaknesses(self, found: Findings) -> tuple[str, ...]:
        """The worst type, how entities are missed, and words that are cut off."""
        assert isinstance(found, TokenFindings)
        return tuple(weaknesses(self.scheme, found))

    def sections(self, found: Mapping[str, Findings], agreement: Agreement | None) -> Sequence[Section]:
        """Figures by type, what becomes of the entities, and the agreement with the teacher."""
        return sections(self.scheme, found, agreement)

    def compared(self, found: Mapping[str, Sequence[Findings]]) -> Sequence[Section]:
        """F1 by type, means over the seeds."""
        return compared(self.scheme, found)

    def recipe(self, *, teacher: bool) -> str:
        """Tags and teacher in equal parts; without a teacher the cross-entropy."""
        return "0.5*ce + 0.5*kd(temperature=2)" if teacher else "ce"
