"""GOLD against a loop, values by hand, and its limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from limbeck import Batch, LimbeckError, Outputs
from limbeck.losses import gold, kd
from limbeck.methods import GOLD
from limbeck.retold import APART

STUDENT, TEACHER = torch.tensor([0, 0, APART, 1, 2, 2, 2]), torch.tensor([APART, 0, 1, 1, 1, 2])
WORDS, THEIRS = torch.tensor([3, 1, 0, 2, 4, 4, 0]), torch.tensor([5, 2, 0, 6, 1, 3])
COMMON = torch.tensor([[0, 2, 4], [6, 1, 0]])


def logits() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(len(STUDENT), 5, generator=generator, dtype=torch.float64)
    return first, torch.randn(len(TEACHER), 7, generator=generator, dtype=torch.float64)


def merged(rows: Tensor, spans: Tensor, words: Tensor, span: int, temperature: float) -> list[float]:
    """What a network says of a span: of its first token all, times the others that are there."""
    first, *others = [place for place, each in enumerate(spans.tolist()) if each == span]
    made = (rows[first] / temperature).softmax(0)
    for place in others:
        made = made * (rows[place] / temperature).softmax(0)[words[place]]
    return made.tolist()


def naive(student: Tensor, teacher: Tensor, span: int, temperature: float, weight: float) -> float:
    p = merged(teacher, TEACHER, THEIRS, span, temperature)
    q = merged(student, STUDENT, WORDS, span, temperature)
    alike: float = 0.0
    for ours, theirs in COMMON.T.tolist():
        alike += p[theirs] * math.log(p[theirs] / q[ours]) - p[theirs] + q[ours]
    rest = [
        sorted((each for place, each in enumerate(row) if place not in ids), reverse=True)
        for row, ids in ((p, COMMON[1].tolist()), (q, COMMON[0].tolist()))
    ]
    rest[1] += [0.0] * (len(rest[0]) - len(rest[1]))
    apart: float = sum(abs(a - b) for a, b in zip(*rest, strict=True))
    return weight * alike + (1 - weight) * apart


@pytest.mark.parametrize("matched", [None, 0.3, 0.0, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_it_is_its_equation(matched: float | None, temperature: float) -> None:
    student, teacher = logits()
    given = (student, teacher, WORDS, THEIRS, STUDENT, TEACHER, COMMON, temperature, matched)
    weight = 3 / 7 if matched is None else matched
    values = [naive(student, teacher, span, temperature, weight) for span in range(3)]
    expected = [values[span] if span >= 0 else 0.0 for span in STUDENT.tolist()]
    assert gold(*given, "none").tolist() == pytest.approx(expected, rel=1e-10)
    assert gold(*given).item() == pytest.approx(sum(expected) / len(expected), rel=1e-10)


def test_a_value_by_hand() -> None:
    # The student has a word in two tokens, of which it gives the second 1/4; the teacher has it in one. Of
    # the token 0 that both have the student says 1/2 * 1/4, the teacher 1/2: 1/2 ln 4 - 1/2 + 1/8.
    tiny = 1e-30
    student = torch.tensor([[0.5, 0.5, tiny], [0.25, 0.5, 0.25]]).log()
    teacher = torch.tensor([[0.5, 0.5]]).log()
    words, theirs = torch.tensor([1, 0]), torch.tensor([0])
    spans, their_spans = torch.tensor([4, 4]), torch.tensor([4])
    common = torch.tensor([[0], [0]])
    found = gold(student, teacher, words, theirs, spans, their_spans, common, matched=1.0)
    assert found.item() == pytest.approx(0.5 * math.log(4) - 0.375)
    # The others are 1/8 and 0 beside 1/2 and nothing.
    rest = gold(student, teacher, words, theirs, spans, their_spans, common, matched=0.0)
    assert rest.item() == pytest.approx(0.375)


def test_one_vocabulary_and_single_tokens_make_it_kl() -> None:
    student, teacher = logits()[0], logits()[0].flip(0)
    every = torch.arange(len(student))
    found = gold(student, teacher, WORDS, WORDS, every, every, torch.arange(5).expand(2, -1))
    assert found.item() == pytest.approx(kd(student, teacher, 1.0).item(), rel=1e-12)
    method, batch = GOLD(), Batch(student, WORDS)
    method.register_buffer("common", torch.arange(5).expand(2, -1))
    assert method(Outputs(logits=student), Outputs(logits=teacher), batch).item() == pytest.approx(
        found.item()
    )


def test_equal_networks_are_at_zero_and_others_never_below() -> None:
    student, _ = logits()
    given = (WORDS, WORDS, STUDENT, STUDENT)
    some = torch.tensor([[0, 2], [0, 2]])
    assert gold(student, student, *given, some).item() == pytest.approx(0, abs=1e-12)
    assert (gold(student, -3 * student, *given, some, matched=1.0, reduction="none") >= 0).all()


def test_no_span_at_all_leaves_a_gradient_of_zero() -> None:
    student, teacher = logits()
    student.requires_grad_()
    none = torch.full_like(STUDENT, APART)
    loss = gold(student, teacher, WORDS, THEIRS, none, none[: len(TEACHER)], COMMON)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert student.grad is not None
    assert student.grad.abs().sum() == 0


def test_spans_of_one_side_alone_are_refused() -> None:
    student, teacher = logits()
    with pytest.raises(LimbeckError, match="student_spans and teacher_spans must have the same numbers"):
        gold(student, teacher, WORDS, THEIRS, STUDENT, torch.zeros_like(TEACHER), COMMON)
