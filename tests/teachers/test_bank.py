from __future__ import annotations

import pytest
import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.teachers import SoftTargetBank


def known_bank(classes: int = 3, size: int = 7) -> SoftTargetBank:
    """Logits 100 c + k in row k of class c, whatever the column."""
    bank = SoftTargetBank(classes, size)
    bank.logits += 100 * torch.arange(classes)[:, None, None] + torch.arange(size)[:, None]
    return bank


def rows(drawn: Tensor, targets: Tensor) -> Tensor:
    """Which rows were drawn; they must be of the class, and whole."""
    assert (drawn == drawn[:, :1]).all()
    found = drawn[:, 0].long() - 100 * targets
    assert ((found >= 0) & (found < 100)).all()
    return found


def test_a_draw_is_a_function_of_seed_index_and_step() -> None:
    bank = known_bank()
    targets, index = torch.arange(600) % 3, torch.arange(600)
    drawn = bank.draw(targets, index, 5, seed=1)
    assert drawn.dtype == torch.float32
    assert torch.equal(bank.draw(targets, index, 5, seed=torch.tensor(1)), drawn)
    shares = [bank.draw(targets[part], index[part], 5, seed=1) for part in (slice(0, 17), slice(17, 600))]
    assert torch.equal(torch.cat(shares), drawn), "a batch in two pieces gets the same"
    for other in (bank.draw(targets, index, 6, seed=1), bank.draw(targets, index, 5, seed=2)):
        assert 0.1 < (rows(drawn, targets) == rows(other, targets)).float().mean() < 0.2  # 1/7 by chance


@pytest.mark.parametrize("stateless", [True, False])
def test_draws_are_uniform_and_independent(stateless: bool) -> None:
    bank, index = known_bank(), torch.arange(7000)
    targets = torch.zeros_like(index)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, second = (
            rows(bank.draw(targets, index, step, seed=3) if stateless else bank.draw(targets), targets)
            for step in (0, 1)
        )
    table = (7 * first + second).bincount(minlength=49)
    statistic = ((table - 7000 / 49) ** 2 / (7000 / 49)).sum()
    assert statistic < 85, "chi squared of 48 degrees of freedom; 85 has a probability of 0.001"


def test_without_an_index_the_global_generator_draws() -> None:
    bank, targets = known_bank(size=50), torch.arange(60) % 3
    with torch.random.fork_rng():
        torch.manual_seed(4)
        first, second = bank.draw(targets), bank.draw(targets, torch.arange(60), None)
        torch.manual_seed(4)
        assert torch.equal(bank.draw(targets), first)
        assert torch.equal(bank.draw(targets), second)
    assert not torch.equal(first, second)


def test_the_class_mean_is_of_probabilities() -> None:
    bank = SoftTargetBank(3, 5)
    bank.logits.normal_(generator=torch.Generator().manual_seed(0))
    logits = bank.class_mean(torch.tensor([2, 0, 2]), temperature=2.5)
    means = (bank.logits.double() / 2.5).softmax(-1).mean(1)
    torch.testing.assert_close((logits / 2.5).softmax(-1).double(), means[[2, 0, 2]], rtol=1e-5, atol=1e-6)


def test_it_is_filled_with_right_answers_in_the_order_they_come() -> None:
    bank = SoftTargetBank(4, 6)
    asked = torch.zeros(4, dtype=torch.int64)

    def answer(labels: Tensor) -> Tensor:
        """Right on all of classes 0 and 1, on every second of class 2 and every third of class 3."""
        logits = torch.zeros(len(labels), 4)
        for row, label in enumerate(labels.tolist()):
            right = asked[label] % max(1, label) == 0
            logits[row, label if right else 0] = 1 + asked[label]
            asked[label] += 1
        return logits

    bank.fill(answer)
    assert (bank.logits.argmax(2) == torch.arange(4)[:, None]).all()
    assert asked.tolist() == [6, 6, 12, 18], "a class that has enough is not asked for again"
    assert bank.logits.amax(2).tolist() == [
        [1, 2, 3, 4, 5, 6],
        [1, 2, 3, 4, 5, 6],
        [1, 3, 5, 7, 9, 11],
        [1, 4, 7, 10, 13, 16],
    ]


def test_a_teacher_that_is_never_right_is_an_error() -> None:
    bank = SoftTargetBank(3, 10)

    def answer(labels: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(labels.where(labels != 1, 0), 3).float()

    with pytest.raises(LimbeckError, match="right on 0 of 50 samples of class 1, and the bank needs 10"):
        bank.fill(answer, attempts=5)


def test_it_stays_in_half_precision_and_moves() -> None:
    bank = known_bank()
    before = bank.logits.clone()
    for moved in (bank.double(), bank.to(torch.bfloat16), bank.to("cpu", torch.float32)):
        assert torch.equal(moved.logits, before)
        assert moved.logits.dtype == torch.float16
    assert bank.to("meta").logits.device.type == "meta"
    assert list(known_bank().state_dict()) == ["logits"]
