"""The teacher's text as data: written once for each sample, and learned as labels."""

from __future__ import annotations

import pytest
import torch
from language_pair import answers, batch, collected, distiller, texts

from limbeck.losses import cross_entropy
from limbeck.outputs import UNLABELED


def test_the_labels_are_the_teachers_greedy_text() -> None:
    made = distiller("seqkd(ce, length=6)").eval()
    rewritten = collected(made)
    teacher = made.teachers["teacher"].network
    assert teacher is not None
    with torch.no_grad():
        for prompt, own in texts(rewritten):
            text = [*prompt]
            for token in own:
                assert teacher(torch.tensor([text]))[0, -1].argmax().item() == token
                text.append(token)
        losses = made(batch())
        assert rewritten.targets is not None
        rows = rewritten.targets != UNLABELED
        expected = cross_entropy(answers(made.student, rewritten)[rows], rewritten.targets[rows])
    assert losses["seqkd.ce"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_text_is_written_once() -> None:
    made = distiller("seqkd(ce, temperature=1, length=6)")
    first = texts(collected(made))
    teacher = made.teachers["teacher"].network
    assert teacher is not None
    calls: list[object] = []
    teacher.register_forward_pre_hook(lambda module, args: calls.append(args))
    assert texts(collected(made, step=5)) == first, "in every epoch the same"
    assert not calls
    assert texts(collected(made, step=3, rows=[2, 0])) == [first[2], first[0]]
    assert not calls


def test_a_fresh_start_writes_the_same() -> None:
    first, other = (distiller("seqkd(ce + kd(temperature=1), temperature=1, length=6)") for _ in range(2))
    other.load_state_dict(first.state_dict())
    assert texts(collected(first)) == texts(collected(other, step=9))
