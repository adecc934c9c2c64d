"""What is found out about a network that labels words: the records."""

from __future__ import annotations

from statistics import fmean

from limbeck.tasks.measuring import Agreement, Findings


class EntityType(Findings):
    """How a network fares with one type of entities.

    Attributes:
        entities: how many there are.
        found: those that the network answers, right or wrong.
        right: how many are both, with the same first word, last word and type.
    """

    entities: int
    found: int
    right: int

    @property
    def precision(self) -> float | None:
        """Share of the found ones that are right; None without one."""
        return self.right / self.found if self.found else None

    @property
    def recall(self) -> float | None:
        """Share of the entities that are found; None without one."""
        return self.right / self.entities if self.entities else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of precision and recall; None where the type does not occur."""
        occurs = self.entities + self.found
        return 2 * self.right / occurs if occurs else None


class Missed(Findings):
    """What becomes of the entities that are not found, each counted once.

    Attributes:
        other_type: they have the right words and another type.
        other_words: they have a word in common with an entity that is answered, of any type.
        absent: no word of theirs is answered to be in an entity.
    """

    other_type: int
    other_words: int
    absent: int


class TokenFindings(Findings):
    """What is found out about a network that labels words.

    Attributes:
        types: by type, in the order of `Scheme.types`.
        missed: see `Missed`.
        words: words that have a tag.
        right: those whose tag is right.
        lost: those that the network does not read; they count as answered O.
    """

    types: tuple[EntityType, ...]
    missed: Missed
    words: int
    right: int
    lost: int

    @property
    def all(self) -> EntityType:
        """All types together."""
        return EntityType(
            entities=sum(each.entities for each in self.types),
            found=sum(each.found for each in self.types),
            right=sum(each.right for each in self.types),
        )

    @property
    def metrics(self) -> dict[str, float]:
        """The task's metrics by name; precision, recall and F1 of nothing are 0."""
        its = self.all
        scores = [f1 for each in self.types if (f1 := each.f1) is not None]
        return {
            "f1": its.f1 or 0.0,
            "precision": its.precision or 0.0,
            "recall": its.recall or 0.0,
            "macro_f1": fmean(scores) if scores else 0.0,
            "accuracy": self.right / self.words,
        }


class TokenAgreement(Agreement):
    """How close a student's answers are to its teacher's.

    Attributes:
        entity_f1: F1 of the student's entities with the teacher's for the truth; 1 where neither has one.
    """

    entity_f1: float
