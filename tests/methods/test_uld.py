"""ULD against a loop, values by hand, and what is compared with what."""

from __future__ import annotations

import pytest
import torch

from limbeck import Batch, LimbeckError, Outputs
from limbeck.losses import uld
from limbeck.methods import ULD
from limbeck.retold import APART, Counterparts


def test_it_is_the_distance_of_sorted_probabilities_with_zeros_behind_them() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(4, n, generator=generator, dtype=torch.float64) for n in (5, 8))
    expected = []
    for s, t in zip(student, teacher, strict=True):
        p, q = (sorted((z / 2).softmax(0).tolist(), reverse=True) for z in (t, s))
        q += [0.0] * (len(p) - len(q))
        expected.append(sum(abs(a - b) for a, b in zip(p, q, strict=True)))
    assert uld(student, teacher, 2.0, "none").tolist() == pytest.approx(expected, rel=1e-12)
    assert uld(teacher, student, 2.0).item() == pytest.approx(sum(expected) / 4, rel=1e-12)


def test_a_value_by_hand() -> None:
    # (1/2, 1/4, 1/4) and (3/4, 1/4), whatever the places: 1/4 + 0 + 1/4
    student = torch.tensor([[0.25, 0.5, 0.25]]).log()
    teacher = torch.tensor([[0.25, 0.75]]).log()
    assert uld(student, teacher).item() == pytest.approx(0.5)
    assert uld(student, student.roll(1, 1)).item() == pytest.approx(0, abs=1e-7)


def test_rows_without_a_counterpart_count_as_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(4, 5, generator=generator), torch.randn(3, 7, generator=generator)
    nothing = torch.full((4,), APART)
    both = Counterparts(torch.tensor([2, APART, 0, APART]), nothing, nothing[:3], nothing[:3], None)
    batch = Batch(student, torch.zeros(4, dtype=torch.int64))
    found = ULD(temperature=2)(Outputs(logits=student), Outputs(logits=teacher, retold=both), batch)
    assert found.item() == pytest.approx(uld(student[[0, 2]], teacher[[2, 0]], 2.0).item() / 2)


def test_no_counterpart_at_all_leaves_a_gradient_of_zero() -> None:
    student = torch.randn(2, 5, requires_grad=True)
    nothing = torch.full((2,), APART)
    both = Counterparts(nothing, nothing, nothing[:0], nothing[:0], None)
    loss = ULD()(
        Outputs(logits=student), Outputs(logits=torch.zeros(0, 7), retold=both), Batch(student, nothing)
    )
    loss.backward()
    assert loss.item() == 0
    assert student.grad is not None
    assert student.grad.abs().sum() == 0


def test_one_tokenizer_pairs_each_row_with_itself() -> None:
    student, teacher = torch.randn(2, 4, 5)
    batch = Batch(student, torch.zeros(4, dtype=torch.int64))
    found = ULD()(Outputs(logits=student), Outputs(logits=teacher), batch)
    assert found.item() == pytest.approx(uld(student, teacher).item())


def test_it_compares_as_many_rows() -> None:
    with pytest.raises(LimbeckError, match="uld compares the same samples, not 2 and 3 of them"):
        uld(torch.zeros(2, 4), torch.zeros(3, 4))
