"""What a cache keeps of a language model's answers, bit by bit and in nats."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from limbeck.losses import kd
from limbeck.teachers.ranks import Ranks


def logits(samples: int, length: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(samples, length, width, generator=generator)


def kept(ranks: Ranks, answers: Tensor) -> Tensor:
    flat = answers.flatten(0, 1)
    return torch.from_numpy(ranks.pack(flat.__getitem__, torch.ones(answers.shape[:2], dtype=torch.bool)))


@pytest.mark.parametrize(("width", "top"), [(50, 16), (70_000, 32), (262_144, 64), (12, 64), (152_064, 16)])
def test_the_most_probable_tokens_come_back(width: int, top: int) -> None:
    answers = logits(2, 3, width)
    ranks = Ranks.of(top, 5, width)
    words = kept(ranks, answers)
    assert words.shape == (2, 5 * ranks.words)
    found = ranks.unpack(words, 3)
    logs = answers.log_softmax(-1)
    best, ids = logs.topk(min(top, width), -1)
    assert torch.equal(found.ids, ids)
    torch.testing.assert_close(found.logs, best, rtol=1e-3, atol=1e-3)
    others = 1 - best.exp().sum(-1, keepdim=True)
    torch.testing.assert_close(found.tail.exp(), others.clamp(min=0), rtol=2e-3, atol=1e-5)


def test_a_position_takes_no_more_than_promised() -> None:
    assert 2 * Ranks.of(64, 1, 152_064).words == 274
    assert 2 * Ranks.of(64, 1, 49_152).words == 258
    assert Ranks.of(50, 1, 49_152).top == 64
    assert Ranks.of(64, 1, 40).top == 40


def test_rows_become_logits_of_the_known_and_a_sum() -> None:
    answers = logits(1, 4, 30)
    ranks = Ranks.of(16, 4, 30)
    found = ranks.unpack(kept(ranks, answers), 4).map(lambda tensor: tensor.flatten(0, 1))
    dense, known = found.dense(slice(1, 3))
    assert known.sum(1).tolist() == [16, 16]
    torch.testing.assert_close(dense.exp().sum(1), torch.ones(2), rtol=1e-3, atol=1e-3)
    logs = answers[0, 1:3].log_softmax(-1)
    torch.testing.assert_close(dense[known], logs[known], rtol=1e-3, atol=1e-3)


def test_the_loss_is_that_of_the_live_teacher_with_as_many_tokens() -> None:
    student, teacher = logits(1, 8, 500)[0], 2 * logits(1, 8, 500)[0].roll(3, 1)
    ranks = Ranks.of(64, 8, 500)
    dense, known = ranks.unpack(kept(ranks, teacher[None]), 8).map(lambda tensor: tensor[0]).dense()
    from limbeck.methods.kd import largest

    expected = kd(student, teacher, 1.0, known=largest(teacher, 64)).item()
    assert kd(student, dense, 1.0, known=known).item() == pytest.approx(expected, rel=1e-3)
    assert kd(student, teacher, 1.0).item() == pytest.approx(expected, abs=0.05)


def test_all_tokens_may_be_known() -> None:
    answers = logits(1, 2, 9)
    ranks = Ranks.of(64, 2, 9)
    dense, known = ranks.unpack(kept(ranks, answers), 2).map(lambda tensor: tensor[0]).dense()
    assert known.all()
    torch.testing.assert_close(dense, answers[0].log_softmax(-1), rtol=1e-3, atol=2e-3)


def test_nothing_is_kept_of_padding() -> None:
    answers, ranks = logits(2, 4, 30), Ranks.of(16, 5, 30)
    read = torch.tensor([[True] * 4, [True, True, False, False]])
    words = torch.from_numpy(ranks.pack(answers.flatten(0, 1).__getitem__, read))
    found, every = (each.view(torch.int16).view(2, 5, -1) for each in (words, kept(ranks, answers)))
    assert torch.equal(found[:, :4][read], every[:, :4][read])
    assert not found[:, 4:].any()
    assert not found[1, 2:].any()
