"""Label smoothing against its paper's equation and torch's."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck import Batch, LimbeckError, Outputs
from limbeck.losses import cross_entropy
from limbeck.methods import LabelSmoothing


def samples(count: int = 6, classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(count, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(classes, (count,), generator=generator)


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.5, 1.0])
def test_it_is_the_papers_equation(epsilon: float) -> None:
    logits, targets = samples()
    expected = []
    for row, label in zip(logits.tolist(), targets.tolist(), strict=True):
        log_total = math.log(math.fsum(map(math.exp, row)))
        smooth = [(1 - epsilon) * (place == label) + epsilon / 5 for place in range(5)]
        expected.append(math.fsum(share * (log_total - z) for share, z in zip(smooth, row, strict=True)))
    assert cross_entropy(logits, targets, epsilon, "none").tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0])
def test_it_is_torchs(epsilon: float) -> None:
    logits, targets = samples(count=64, classes=10)
    expected = F.cross_entropy(logits, targets, label_smoothing=epsilon)
    assert cross_entropy(logits, targets, epsilon).item() == pytest.approx(expected.item(), rel=1e-14)


def test_nobody_is_asked_to_be_certain() -> None:
    """The best logits are finite: those of probability 1 - eps + eps/C for the label (section 7)."""
    targets = torch.tensor([0])
    best = torch.tensor([[0.9 + 0.02, 0.02, 0.02, 0.02, 0.02]], dtype=torch.float64).log().requires_grad_()
    cross_entropy(best, targets, 0.1).backward()  # type: ignore[no-untyped-call]
    assert best.grad is not None
    assert best.grad.abs().max() < 1e-15


@pytest.mark.parametrize(("method", "epsilon"), [(LabelSmoothing(), 0.1), (LabelSmoothing(epsilon=0.3), 0.3)])
def test_the_method_is_the_function(method: LabelSmoothing, epsilon: float) -> None:
    logits, targets = samples()
    terms = method.terms(Outputs(logits=logits), Outputs(), Batch(logits, targets))
    assert list(terms) == ["label_smoothing"]
    assert torch.equal(terms["label_smoothing"].value, cross_entropy(logits, targets, epsilon))
    assert terms["label_smoothing"].kind == "task"


@pytest.mark.parametrize("epsilon", [-0.1, 1.1, float("nan")])
def test_epsilon_is_a_share(epsilon: float) -> None:
    with pytest.raises(LimbeckError, match=r"^label_smoothing: the argument epsilon="):
        LabelSmoothing(epsilon=epsilon)
