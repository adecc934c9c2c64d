"""Figures of networks that label words, beside counts by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.tasks.token_classification.findings import EntityType, Missed
from limbeck.tasks.token_classification.meter import TokenComparison, TokenMeter
from limbeck.words import LOST, Words

NAMES = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def ids(*sentences: str) -> Tensor:
    """(B, W) tags; "_" is a word without one, and so is what fills up a sentence."""
    number = {"_": UNLABELED, **{name: place for place, name in enumerate(NAMES)}}
    rows = [[number[tag] for tag in each.split()] for each in sentences]
    longest = max(map(len, rows))
    return torch.tensor([row + [UNLABELED] * (longest - len(row)) for row in rows])


def batch(targets: Tensor, first: Tensor | None = None) -> Batch:
    tokens = torch.zeros(len(targets), 9, dtype=torch.int64)
    places = torch.arange(targets.shape[1]).expand_as(targets)
    return Batch(Words({"input_ids": tokens}, places if first is None else first), targets)


def answers(tags: Tensor, **fields: Tensor) -> Outputs:
    """Logits whose largest is that of these tags."""
    return Outputs(logits=torch.nn.functional.one_hot(tags.clamp(min=0), len(NAMES)).float(), **fields)


TARGETS = ids("B-PER I-PER O B-LOC O", "B-LOC I-LOC O B-PER", "B-PER O B-LOC I-LOC I-LOC")
ANSWERS = ids("B-PER I-PER O B-PER O", "B-LOC O O B-PER", "O O O B-LOC I-LOC")
# found: PER 0-1, PER 3; LOC 0, PER 3; LOC 3-4.  right: PER 0-1 and PER 3 of the second sentence
# missed: LOC 3 has another type; LOC 0-1 and LOC 2-4 have other words; PER 0 of the third is not seen


def test_counts_by_hand() -> None:
    meter = TokenMeter(NAMES)
    meter.update(answers(ANSWERS), batch(TARGETS))
    found = meter.findings()
    assert found.types == (
        EntityType(entities=3, found=3, right=2),
        EntityType(entities=3, found=2, right=0),
    )
    assert found.missed == Missed(other_type=1, other_words=2, absent=1)
    assert (found.words, found.right, found.lost) == (14, 9, 0)
    per = 2 * 2 / (3 + 3)
    assert meter.compute() == pytest.approx(
        {
            "f1": 2 * 2 / (6 + 5),
            "precision": 2 / 5,
            "recall": 2 / 6,
            "macro_f1": (per + 0) / 2,
            "accuracy": 9 / 14,
        }
    )
    assert list(meter.compute()) == ["f1", "precision", "recall", "macro_f1", "accuracy"]


def test_batches_of_any_size_and_width_come_to_the_same() -> None:
    whole, parts = TokenMeter(NAMES), TokenMeter(NAMES)
    whole.update(answers(ANSWERS), batch(TARGETS))
    for row, width in ((0, 5), (1, 4), (2, 5)):
        targets = TARGETS[row : row + 1, :width]
        parts.update(answers(ANSWERS[row : row + 1, :width]), batch(targets))
    assert parts.findings() == whole.findings()


def test_a_lost_word_is_answered_o() -> None:
    meter = TokenMeter(NAMES)
    targets = ids("B-PER O B-LOC I-LOC O")
    read = torch.tensor([[True, True, True, False, False]])
    meter.update(answers(targets, words=read), batch(targets))
    found = meter.findings()
    assert found.all == EntityType(entities=2, found=2, right=1)  # LOC ends too soon
    assert found.missed == Missed(other_type=0, other_words=1, absent=0)
    assert (found.lost, found.right) == (2, 4)  # the last word is O indeed
    assert meter.notes == (
        "2 of the 5 words are cut off before a network reads them; they count as answered O.",
    )


def test_a_word_without_a_tag_counts_for_nothing_and_ends_an_entity() -> None:
    meter = TokenMeter(NAMES)
    meter.update(answers(ids("B-PER I-PER I-PER O")), batch(ids("B-PER _ I-PER O")))
    assert meter.findings().all == EntityType(entities=2, found=2, right=2)
    assert meter.findings().words == 3


def test_sentences_without_tags_are_left_out() -> None:
    meter = TokenMeter(NAMES)
    untagged = batch(ids("_ _"))
    meter.update(answers(ids("B-PER I-PER")), untagged)
    meter.update(answers(ids("B-PER I-PER")), Batch(untagged.inputs, untagged.targets[:, :0]))  # type: ignore[index]
    meter.update(answers(ids("B-PER I-PER")), Batch(untagged.inputs))
    with pytest.raises(LimbeckError, match="no word of the 3 sentences has a tag"):
        meter.compute()


def test_without_an_entity_all_scores_are_zero() -> None:
    meter = TokenMeter(NAMES)
    meter.update(answers(ids("O O")), batch(ids("O O")))
    assert meter.compute() == {"f1": 0.0, "precision": 0.0, "recall": 0.0, "macro_f1": 0.0, "accuracy": 1.0}


def test_tags_of_other_words_are_refused() -> None:
    with pytest.raises(LimbeckError, match="are of 3 words a sentence, and the networks read 2"):
        TokenMeter(NAMES).update(answers(ids("O O")), batch(ids("O O O")))


def test_parts_of_speech_have_the_accuracy_for_f1() -> None:
    meter = TokenMeter(("NOUN", "VERB"))
    logits = torch.tensor([[[1.0, 0], [1, 0], [0, 1]]])
    meter.update(Outputs(logits=logits), Batch(torch.zeros(1, 3), torch.tensor([[0, 1, 1]])))
    assert meter.compute()["f1"] == meter.compute()["accuracy"] == pytest.approx(2 / 3)


def test_a_student_beside_its_teacher() -> None:
    comparison = TokenComparison(NAMES)
    right = ids("B-PER I-PER O", "B-LOC O _")
    wrong = ids("B-PER O O", "B-LOC O _")
    student, teacher = answers(wrong), answers(right)
    first = torch.tensor([[0, 1, 2], [0, 1, LOST]])
    comparison.update(student, teacher, batch(right, first))
    found = comparison.compute()
    assert found.agreement == 4 / 5
    assert found.entity_f1 == 2 * 1 / (2 + 2)  # LOC is shared, PER ends elsewhere
    one = math.e / (math.e + 4)
    other = 1 / (math.e + 4)
    divergence = one * math.log(one / other) + other * math.log(other / one)
    assert found.distance == pytest.approx(divergence / 5)
    (example,) = found.examples
    assert (example.index, example.target, example.student) == (0, "PER in words 1 to 2", "PER in word 1")


def test_words_that_one_of_the_two_does_not_read_are_left_out() -> None:
    comparison = TokenComparison(NAMES)
    targets = ids("B-PER O")
    both = torch.tensor([[True, True]])
    comparison.update(
        answers(ids("B-PER O"), words=both),
        answers(ids("B-PER B-LOC"), words=torch.tensor([[True, False]])),
        batch(targets),
    )
    found = comparison.compute()
    assert (found.agreement, found.entity_f1) == (1.0, 1.0)
    assert found.distance == pytest.approx(0, abs=1e-12)
