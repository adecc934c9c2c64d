"""Cross-entropy against its equation, and what samples without a label do to it: nothing."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck import Batch, Outputs
from limbeck.losses import cross_entropy
from limbeck.methods import CE
from limbeck.outputs import UNLABELED


def samples(count: int = 6, classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(count, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(classes, (count,), generator=generator)


def naive(row: list[float], target: list[float]) -> float:
    """-sum_c t_c log softmax(z)_c of one sample, one number after the other."""
    total = math.fsum(math.exp(z) for z in row)
    return -math.fsum(t * math.log(math.exp(z) / total) for z, t in zip(row, target, strict=True))


def one_hot(label: int, classes: int = 5) -> list[float]:
    return [float(place == label) for place in range(classes)]


def test_it_is_the_equation() -> None:
    logits, targets = samples()
    expected = [naive(row, one_hot(int(y))) for row, y in zip(logits.tolist(), targets, strict=True)]
    assert cross_entropy(logits, targets, reduction="none").tolist() == pytest.approx(expected, rel=1e-12)
    assert cross_entropy(logits, targets).item() == pytest.approx(sum(expected) / 6, rel=1e-12)
    assert cross_entropy(torch.zeros(3, 7), torch.tensor([0, 3, 6])).item() == pytest.approx(math.log(7))


def test_the_gradient_is_the_error_of_the_probabilities() -> None:
    logits, targets = samples()
    logits.requires_grad_()
    cross_entropy(logits, targets).backward()  # type: ignore[no-untyped-call]
    expected = (logits.softmax(1) - F.one_hot(targets, 5)).detach() / 6
    torch.testing.assert_close(logits.grad, expected)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_a_sample_without_a_label_counts_as_zero(epsilon: float) -> None:
    logits, targets = samples()
    whole = cross_entropy(logits, targets, epsilon, "none")
    targets[1::2] = UNLABELED
    logits.requires_grad_()
    each = cross_entropy(logits, targets, epsilon, "none")
    assert each[1::2].tolist() == [0, 0, 0]
    assert torch.equal(each[::2], whole[::2])

    mean = cross_entropy(logits, targets, epsilon)
    assert mean.item() == pytest.approx(whole[::2].sum().item() / 6), "over all samples, not the labeled ones"
    mean.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad[1::2].abs().max() == 0
    assert (logits.grad[::2].abs().sum(1) > 0).all()


def test_a_batch_without_any_label_is_zero_and_not_nan() -> None:
    logits, _ = samples()
    logits.requires_grad_()
    loss = cross_entropy(logits, torch.full((6,), UNLABELED))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0


def test_halves_of_a_batch_have_the_batchs_mean() -> None:
    logits, targets = samples()
    targets[:2] = UNLABELED
    halves = [cross_entropy(logits[half], targets[half]).item() for half in (slice(0, 3), slice(3, 6))]
    assert sum(halves) / 2 == pytest.approx(cross_entropy(logits, targets).item(), rel=1e-12)


@pytest.mark.parametrize(("epsilon", "value"), [(0.0, 1e4), (0.1, 0.9 * 1e4 + 0.1 / 3 * 2e4)])
def test_a_certain_network_that_is_wrong(epsilon: float, value: float) -> None:
    logits = torch.tensor([[1e4, 0.0, 0.0]], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([1]), epsilon)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(value)
    assert logits.grad is not None
    assert logits.grad.tolist() == [pytest.approx([1 - epsilon / 3, -1 + 2 * epsilon / 3, -epsilon / 3])]


def test_half_precision_is_left_at_the_door() -> None:
    logits, targets = samples()
    half = logits.bfloat16()
    assert cross_entropy(half, targets).dtype == torch.float32
    assert torch.equal(cross_entropy(half, targets), cross_entropy(half.float(), targets))


def test_the_method_is_the_function() -> None:
    logits, targets = samples()
    terms = CE().terms(Outputs(logits=logits), Outputs(), Batch(logits, targets))
    assert list(terms) == ["ce"]
    assert torch.equal(terms["ce"].value, cross_entropy(logits, targets))
    assert (terms["ce"].kind, terms["ce"].weight) == ("task", 1)
