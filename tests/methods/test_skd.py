"""Text by the student with its teacher's corrections; generation/test_interleaving.py has the rule."""

from __future__ import annotations

import pytest
import torch
from language_pair import END, VOCABULARY, batch, collected, distiller, texts

from limbeck import LimbeckError
from limbeck.generation import Drawing, write
from limbeck.methods import KD, SKD
from limbeck.methods.parts.rewriting import prompts_of


def test_every_token_is_among_the_teachers_best() -> None:
    made = distiller("skd(kd(temperature=1), k=3, temperature=1, top_p=1, length=10)")
    teacher = made.teachers["teacher"].network
    assert teacher is not None
    for prompt, own in texts(collected(made)):
        logits = teacher(torch.tensor([prompt + own]))[0, len(prompt) - 1 : -1]
        assert all(token in best for token, best in zip(own, logits.topk(3).indices.tolist(), strict=True)), (
            "the corrections of a sharp teacher are among its best, too"
        )


def test_with_all_tokens_allowed_nothing_is_replaced() -> None:
    made = distiller(f"skd(kd(temperature=1), k={VOCABULARY}, temperature=1, top_p=1, length=8)")
    plain = distiller("on_policy(kd(temperature=1), length=8)")
    assert texts(collected(made)) == texts(collected(plain)), "the seeds of both are the first that is drawn"
    assert made(batch())["skd.replaced"].item() == 0


def test_with_one_token_allowed_a_greedy_teacher_writes() -> None:
    made = distiller("skd(kd(temperature=1), k=1, teacher_temperature=0, length=8)")
    teacher = made.teachers["teacher"].network
    assert teacher is not None
    prompts = prompts_of(batch(), 16)
    with torch.no_grad():
        expected = write(
            teacher,
            prompts.ids,
            prompts.mask,
            length=8,
            ends={END},
            noise=lambda role, place: torch.zeros(place.shape),
            drawing=Drawing(temperature=0),
        )
    found = texts(collected(made))
    lengths = expected.lengths.tolist()
    rows = [row[:n].tolist() for row, n in zip(expected.ids, lengths, strict=True)]
    assert [own for _, own in found] == rows


def test_figures_and_loss() -> None:
    losses = distiller("skd(kd(temperature=1), k=2, length=8)")(batch())
    assert list(losses) == ["skd.kd", "skd.tokens", "skd.replaced"]
    assert 0 < losses["skd.replaced"].item() <= 1
    assert losses.terms["skd.replaced"].kind == "monitor"
    losses.backward()


def test_the_published_settings_are_the_defaults() -> None:
    made = SKD(KD())
    assert (made.k, made.block) == (25, 5)
    assert made.drawing == Drawing(0.5, 0.5)
    assert made.correction == Drawing(0.2, 0.5)


def test_a_rank_is_a_number_above_zero() -> None:
    with pytest.raises(LimbeckError, match=r"^skd: the argument k=0"):
        distiller("skd(kd, k=0)")
