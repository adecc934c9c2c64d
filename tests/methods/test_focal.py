"""The focal loss against its equation, and the weights of classes."""

from __future__ import annotations

import math

import pytest
import torch
from method_setting import CLASSES, SAMPLES, make_setting
from torch import Tensor

from limbeck import Distiller, LimbeckError
from limbeck.losses import cross_entropy, focal
from limbeck.methods import DataFacts, Focal
from limbeck.methods.parts.weighting import balanced
from limbeck.outputs import UNLABELED


def samples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(6, 4, generator=generator, dtype=torch.float64)
    return logits, torch.tensor([0, 1, 2, 3, UNLABELED, 1])


def naive(row: list[float], label: int, gamma: float, weight: float) -> float:
    p = math.exp(row[label]) / math.fsum(math.exp(z) for z in row)
    return float(-weight * (1 - p) ** gamma * math.log(p))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 2.0, 0.0]])
def test_it_is_the_equation(gamma: float, weights: list[float] | None) -> None:
    logits, targets = samples()
    a = weights or [1.0] * 4
    expected = [
        0.0 if y == UNLABELED else naive(row, y, gamma, a[y])
        for row, y in zip(logits.tolist(), targets.tolist(), strict=True)
    ]
    given = None if weights is None else torch.tensor(weights)
    assert focal(logits, targets, gamma, given, "none").tolist() == pytest.approx(expected, rel=1e-9)
    assert focal(logits, targets, gamma, given).item() == pytest.approx(sum(expected) / 6, rel=1e-9)


def test_without_the_exponent_it_is_cross_entropy() -> None:
    logits, targets = samples()
    torch.testing.assert_close(focal(logits, targets, 0.0), cross_entropy(logits, targets))


def test_the_gradient_is_right_and_finite_where_the_answer_is_sure() -> None:
    logits, targets = samples()
    torch.autograd.gradcheck(lambda z: focal(z, targets, 2.0), logits.requires_grad_())
    sure = torch.tensor([[1000.0, 0.0], [0.0, 1000.0]], requires_grad=True)
    loss = focal(sure, torch.tensor([0, 0]), 0.5)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(500)
    assert sure.grad is not None
    assert sure.grad[0].tolist() == [0, 0]
    assert sure.grad[1].tolist() == pytest.approx([-0.5, 0.5])


def test_balanced_weights_give_all_classes_the_same_weight() -> None:
    weights = balanced([10, 30, 0, 60])
    assert weights == pytest.approx([2.5, 100 / 120, 0, 100 / 240])
    assert [w * n for w, n in zip(weights, [10, 30, 0, 60], strict=True)] == pytest.approx([25, 25, 0, 25])


def weights_of(text: str, facts: DataFacts | None = None) -> list[float]:
    setting = make_setting()
    distiller = Distiller(setting.student, None, text, example=setting.inputs, data=facts)
    _, method = distiller.objective.summands[0]
    assert isinstance(method, Focal)
    assert isinstance(method.weights, Tensor)
    return list(method.weights.tolist())


def test_the_method_takes_weights_or_counts_labels() -> None:
    counts = tuple(range(1, CLASSES + 1))
    facts = DataFacts(SAMPLES, class_counts=counts)
    assert weights_of('focal(class_weights="balanced")', facts) == pytest.approx(balanced(counts))
    given = [float(at) for at in range(CLASSES)]
    assert weights_of(f"focal(class_weights={given})") == given


def test_wrong_weights_are_refused() -> None:
    with pytest.raises(
        LimbeckError, match=rf"^focal has 2 class_weights, and the logits have {CLASSES} classes$"
    ):
        weights_of("focal(class_weights=[1, 2])")
    with pytest.raises(LimbeckError, match=r'^focal\(class_weights="balanced"\) needs the number of labels'):
        weights_of('focal(class_weights="balanced")')
    with pytest.raises(LimbeckError, match=r"^focal: the argument class_weights="):
        weights_of("focal(class_weights=[-1, 2])")
    with pytest.raises(LimbeckError, match=r"^focal: the argument gamma=-1"):
        weights_of("focal(gamma=-1)")
