"""What a file of answers says of the training samples, in figures and sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from limbeck.teachers.files.answer import Answer
from limbeck.teachers.files.matching import Matched
from limbeck.teachers.files.reading import Given

ROUGH = 1e-3
"""How far a sum of probabilities is from 1 before it is said that they were divided by it."""

FORMS = {
    "label": "a label",
    "answers": "votes",
    "probabilities": "probabilities",
    "logprobs": "log-probabilities",
    "logits": "logits",
}
"""What the forms of answers are called in sentences."""


@dataclass(frozen=True)
class Coverage:
    """How far the answers reach.

    Attributes:
        samples: how many training samples there are.
        answered: how many of them have an answer.
        idle: how many have neither an answer nor a label, and teach nothing.
        forms: how many of the answers are of each form, by its name in a file.
        repeated: how many samples, those of one text counted once, have several answers.
        contradictory: how many of those have answers with different classes.
        rows: how many rows have an answer.
        elsewhere: how many rows are about samples of other splits.
        unknown: how many rows are about samples that are not in the data.
    """

    samples: int
    answered: int
    idle: int
    forms: Mapping[str, int]
    repeated: int
    contradictory: int
    rows: int
    elsewhere: int
    unknown: int

    @property
    def gaps(self) -> int:
        """How many training samples have no answer."""
        return self.samples - self.answered

    @property
    def summary(self) -> str:
        """How many samples are answered, and in which form: "answers 9 of 10 training samples, ..."."""
        forms = ", ".join(f"{count:,} with {FORMS[form]}" for form, count in self.forms.items())
        share = (
            f"{self.answered:,} of {self.samples:,} training samples" if self.gaps else "all training samples"
        )
        said = f"answers {share}, {forms}"
        if not self.gaps:
            return said
        one = self.gaps == 1
        samples = "1 sample has" if one else f"{self.gaps:,} samples have"
        if self.idle == self.gaps:
            teach = "teaches" if one else "teach"
            return f"{said}; {samples} neither an answer nor a label, and {teach} nothing"
        some = "1 of them has" if self.idle == 1 else f"{self.idle:,} of them have"
        idle = f", but {some} no label either and {'teaches' if self.idle == 1 else 'teach'} nothing"
        return (
            f"{said}; {samples} no answer and {'trains' if one else 'train'} the other terms alone"
            f"{idle if self.idle else ''}"
        )


def forms_of(answers: Sequence[Answer]) -> dict[str, int]:
    """How many answers are of each form, in the order of the forms."""
    counts = Counter(answer.form for answer in answers)
    return {form: counts[form] for form in FORMS if counts[form]}


def contradictions(matched: Matched) -> list[list[Given]]:
    """The rows about each sample whose answers have different classes."""
    several = [rows for rows in matched.of.values() if len(rows) > 1]
    return [rows for rows in several if len({_top(row) for row in rows}) > 1]


def remarks(
    name: str,
    coverage: Coverage,
    matched: Matched,
    names: Sequence[str],
    rows: Sequence[Given],
    hint: str = "",
) -> tuple[str, ...]:
    """Sentences, without a full stop, on what is odd in a file.

    Args:
        name: of the file, in quotes.
        coverage: its figures.
        matched: its rows by sample.
        names: of the classes.
        rows: all of them.
        hint: a clause on rows about no sample of the data.
    """
    said = []
    if odd := contradictions(matched):
        first, other = odd[0][0], next(row for row in odd[0] if _top(row) != _top(odd[0][0]))
        said.append(
            f"some samples have answers that contradict each other, {len(odd):,} of the "
            f"{coverage.repeated:,} with several, and learn the mean of them; for example "
            f"{names[_top(first)]!r} in {first.where} and {names[_top(other)]!r} in {other.where}"
        )
    elif coverage.repeated:
        have, learn = ("has", "learns") if coverage.repeated == 1 else ("have", "learn")
        said.append(f"{_count(coverage.repeated, 'sample')} {have} several answers, and {learn} the mean")
    if coverage.elsewhere:
        said.append(
            f"{name} has {_count(coverage.elsewhere, 'answer')} about samples that are held out for test or "
            "validation, which are not used"
        )
    if matched.unknown:
        said.append(
            f"{name} has {_count(coverage.unknown, 'answer')} about no sample of the data, "
            f"{example(matched)}{hint}"
        )
    if matched.empty:
        said.append(f"{name} has {_count(matched.empty, 'row')} without an answer")
    rough = [(row, row.answer.total) for row in rows if row.answer and abs(row.answer.total - 1) > ROUGH]
    if rough:
        farthest, total = max(rough, key=lambda each: abs(each[1] - 1))
        said.append(
            f"the probabilities of {_count(len(rough), 'answer')} do not sum to 1 and were divided by their "
            f"sum, which is {total:.3g} in {farthest.where}"
        )
    return tuple(said)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def example(matched: Matched) -> str:
    """One of the rows about samples that are not in the data: "for example the id '7' in row 1 of ..."."""
    row = matched.unknown[0]
    what = f"the id {row.id!r}" if row.text is None else f"the text {row.text!r:.60}"
    return f"for example {what} in {row.where}"


def _top(row: Given) -> int:
    assert row.answer is not None
    return int(row.answer.logits.argmax())
