from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.methods.parts.memories import Bank, Queue


def vectors(count: int, dim: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, dim, generator=generator), dim=1)


def test_a_bank_begins_at_random_with_vectors_of_about_length_one() -> None:
    torch.manual_seed(0)
    rows = Bank(2000, 128, 0.5).rows
    assert rows.abs().max() <= (3 / 128) ** 0.5
    assert abs(rows.norm(dim=1).mean().item() - 1) < 0.01


def test_a_visit_moves_the_vectors_of_the_samples_and_no_others() -> None:
    bank, new = Bank(5, 3, 0.25), vectors(2)
    before = bank.rows.clone()
    bank.visit(torch.tensor([3, 1]), new)
    for place, vector in ((3, new[0]), (1, new[1])):
        moved = 0.25 * before[place] + 0.75 * vector
        torch.testing.assert_close(bank.rows[place], moved / moved.norm())
    assert torch.equal(bank.rows[[0, 2, 4]], before[[0, 2, 4]])


def test_of_a_sample_that_occurs_more_than_once_the_last_counts() -> None:
    bank, new = Bank(4, 3, 0.5), vectors(5)
    before = bank.rows.clone()
    bank.visit(torch.tensor([2, 0, 2, 2, 3]), new)
    once = Bank(4, 3, 0.5)
    once.rows.copy_(before)
    once.visit(torch.tensor([0, 2, 3]), new[[1, 3, 4]])
    assert torch.equal(bank.rows, once.rows)


def test_the_momentum_decides_what_stays() -> None:
    for momentum, kept in ((0.0, False), (1.0, True)):
        bank, new = Bank(2, 3, momentum), vectors(2)
        before = F.normalize(bank.rows, dim=1)
        bank.visit(torch.arange(2), new)
        torch.testing.assert_close(bank.rows, before if kept else new)


def test_a_queue_holds_the_last_vectors_whatever_the_batches() -> None:
    queue, came = Queue(5, 3), vectors(11)
    start = 0
    for count in (2, 1, 2, 4, 2):
        keys, filled = queue.push(came[start : start + count], keep=True)
        start += count
        held = {tuple(row) for row in keys[filled].tolist()}
        assert held == {tuple(row) for row in came[max(0, start - 5) : start].tolist()}
        assert int(filled.sum()) == min(start, 5)
        assert torch.equal(queue.rows, keys)


def test_what_is_not_kept_leaves_the_queue_as_it_is() -> None:
    queue = Queue(4, 3)
    queue.push(vectors(3), keep=True)
    before = {name: tensor.clone() for name, tensor in queue.state_dict().items()}
    keys, filled = queue.push(vectors(2, seed=1), keep=False)
    assert torch.equal(keys[[3, 0]], vectors(2, seed=1))
    assert filled.all()
    assert all(torch.equal(before[name], tensor) for name, tensor in queue.state_dict().items())
    assert set(before) == {"rows", "count"}
