"""Measures networks that label words: one alone, and a student beside its teacher."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.tasks.measuring import Comparison, Example, Meter
from limbeck.tasks.parts.worst import Worst
from limbeck.tasks.token_classification.findings import EntityType, Missed, TokenAgreement, TokenFindings
from limbeck.tasks.token_classification.places import same_words, words_of
from limbeck.tasks.token_classification.spans import Entities, Scheme


class TokenMeter(Meter):
    """Counts entities and words; all figures are exact, and nothing is kept of a sentence.

    A word that the network does not read, because the sentence is cut off before it, is answered O: an entity
    in it is missed. A word whose tag is not known counts for nothing and ends an entity before it, in the
    tags and in the answers.

    Args:
        names: names of the tags.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._scheme = Scheme(names)
        self._by_type = torch.zeros(3, len(self._scheme.types), dtype=torch.int64)  # entities, found, right
        self._missed = [0, 0, 0]
        self._words = self._right = self._lost = self._sentences = 0

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Takes in logits (B, W, C) and targets (B, W)."""
        self._sentences += len(batch)
        if batch.targets is None or not batch.targets.shape[1]:
            return
        targets, answers = batch.targets.cpu(), outputs.logits.argmax(2).cpu()
        same_words(targets, answers)
        known = targets != UNLABELED
        read = outputs["words"].cpu() if "words" in outputs else torch.ones_like(known)
        answers = answers.where(read, self._scheme.outside)
        self._lost += int((known & ~read).sum())
        self.count(targets, answers, known)

    def count(self, targets: Tensor, answers: Tensor, known: Tensor) -> None:
        """Takes in answers to the words of some sentences.

        Args:
            targets: (B, W) tag ids.
            answers: (B, W) tag ids, that of no tag for none.
            known: (B, W) bool, the words that count.
        """
        self._words += int(known.sum())
        self._right += int((answers == targets)[known].sum())
        targets, answers = (tags.where(known, self._scheme.none) for tags in (targets, answers))
        kinds = len(self._scheme.types)
        there, found = self._scheme.entities(targets), self._scheme.entities(answers)
        right = torch.isin(there.code(kinds), found.code(kinds))
        rows = [each.kind.bincount(minlength=kinds) for each in (there, found)]
        self._by_type += torch.stack([*rows, there.kind[right].bincount(minlength=kinds)])
        same_words = torch.isin(there.place, found.place)
        touched = _touched(there, found, targets)
        for place, some in enumerate((same_words, touched & ~same_words, ~touched)):
            self._missed[place] += int((some & ~right).sum())

    def compute(self) -> dict[str, float]:
        """`f1`, `precision`, `recall`, `macro_f1` and `accuracy`."""
        return self.findings().metrics

    def findings(self) -> TokenFindings:
        """All there is to say."""
        if not self._words:
            raise LimbeckError(
                f"no word of the {self._sentences} sentences has a tag, and entities are measured by tags"
            )
        entities, found, right = self._by_type.tolist()
        other_type, other_words, absent = self._missed
        return TokenFindings(
            types=tuple(
                EntityType(entities=one, found=two, right=three)
                for one, two, three in zip(entities, found, right, strict=True)
            ),
            missed=Missed(other_type=other_type, other_words=other_words, absent=absent),
            words=self._words,
            right=self._right,
            lost=self._lost,
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What the network did not read."""
        if not self._lost:
            return ()
        return (
            f"{self._lost:,} of the {self._words:,} words are cut off before a network reads them; they "
            "count as answered O.",
        )


class TokenComparison(Comparison):
    """Measures how a student agrees with its teacher on the words that both read, whether tagged or not.

    Args:
        names: names of the tags.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._scheme = Scheme(names)
        self._worst = Worst()
        self._sentences = self._words = self._alike = 0
        self._entities = self._shared = 0
        self._distance = 0.0

    def update(self, student: Outputs, teacher: Outputs, batch: Batch) -> None:
        """Takes in logits (B, W, C) of both, and targets (B, W) if there are any."""
        read = words_of(batch).cpu()
        for each in (student, teacher):
            read = read & each["words"].cpu() if "words" in each else read
        mine, its = (each.logits.float().cpu()[read] for each in (student, teacher))
        self._alike += int((mine.argmax(1) == its.argmax(1)).sum())
        self._words += len(mine)
        ours, theirs = (logits.double().log_softmax(1) for logits in (mine, its))
        self._distance += float(F.kl_div(ours, theirs, log_target=True, reduction="sum"))
        outside = self._scheme.outside
        answers = [each.logits.argmax(2).cpu().where(read, outside) for each in (student, teacher)]
        first, second = (self._scheme.entities(tags).code(len(self._scheme.types)) for tags in answers)
        self._shared += int(torch.isin(first, second).sum())
        self._entities += len(first) + len(second)
        if batch.targets is not None and batch.targets.shape[1]:
            self._look(batch.targets.cpu(), *answers)
        self._sentences += len(batch)

    def _look(self, targets: Tensor, ours: Tensor, theirs: Tensor) -> None:
        """Takes in the sentences that the teacher gets right and the student wrong."""
        known = targets != UNLABELED
        wrong, worse = ((answers != targets) & known for answers in (ours, theirs))
        said = [tags.where(known, self._scheme.none) for tags in (targets, ours, theirs)]

        def example(place: int, first: int = self._sentences) -> Example:
            target, student, teacher = (self._said(tags[place : place + 1]) for tags in said)
            return Example(index=first + place, target=target, student=student, teacher=teacher)

        self._worst.add(wrong.sum(1).double(), wrong.any(1) & ~worse.any(1), example)

    def compute(self) -> TokenAgreement:
        """The share of equal tags, the mean divergence, and the sentences with the most wrong tags."""
        return TokenAgreement(
            agreement=self._alike / max(self._words, 1),
            distance=self._distance / max(self._words, 1),
            examples=self._worst.examples,
            entity_f1=2 * self._shared / self._entities if self._entities else 1.0,
        )

    def _said(self, tags: Tensor) -> str:
        """The entities of one sentence, for people: "PER in words 1 to 2, LOC in word 5"."""
        found = self._scheme.entities(tags)
        parts = [
            f"{self._scheme.types[kind]} in word"
            + (f" {first + 1}" if first == last else f"s {first + 1} to {last + 1}")
            for first, last, kind in zip(*(each.tolist() for each in found[2:]), strict=True)
        ]
        return ", ".join(parts) or "no entity"


def _touched(there: Entities, found: Entities, tags: Tensor) -> Tensor:
    """(E,) bool, the entities of which a word is in one that was found."""
    sentences, width = tags.shape
    steps = torch.zeros(sentences, width + 1, dtype=torch.int64)
    steps.index_put_((found.sentence, found.first), torch.tensor(1), accumulate=True)
    steps.index_put_((found.sentence, found.last + 1), torch.tensor(-1), accumulate=True)
    covered = F.pad(steps[:, :width].cumsum(1).cumsum(1), (1, 0))
    return covered[there.sentence, there.last + 1] > covered[there.sentence, there.first]
