from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from limbeck.tasks.classification.calibration import calibration, ece, reliability, temperature


def naive_ece(logits: Tensor, targets: Tensor, bins: int) -> float:
    """Bins of n // bins samples in order of confidence, the first n % bins of them with one more."""
    probabilities = torch.softmax(logits.double(), dim=1)
    rows = sorted(
        (float(p.max()), float(p.argmax() == target))
        for p, target in zip(probabilities, targets, strict=True)
    )
    total, start = 0.0, 0
    for number in range(bins):
        size = len(rows) // bins + (number < len(rows) % bins)
        part = rows[start : start + size]
        start += size
        if part:
            accuracy = sum(right for _, right in part) / size
            confidence = sum(confident for confident, _ in part) / size
            total += size / len(rows) * abs(accuracy - confidence)
    return total


def random_predictions(n: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, classes, generator=generator)
    return logits, torch.randint(classes, (n,), generator=generator)


@pytest.mark.parametrize(("n", "bins"), [(1000, 15), (47, 15), (30, 15), (7, 15), (1, 15), (100, 1)])
def test_ece_is_the_naive_one(n: int, bins: int) -> None:
    logits, targets = random_predictions(n, 5)
    assert ece(logits, targets, bins) == pytest.approx(naive_ece(logits, targets, bins), abs=1e-12)


def test_ece_by_hand() -> None:
    # confidences 0.6 (wrong) and 0.9 (right), a bin each: (|0 - 0.6| + |1 - 0.9|) / 2
    logits = torch.tensor([[0.6, 0.4], [0.1, 0.9]]).log()
    assert ece(logits, torch.tensor([1, 1]), bins=2) == pytest.approx(0.35)


def test_ece_is_small_for_calibrated_and_large_for_overconfident_answers() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20_000, 4, generator=generator)
    targets = torch.multinomial(logits.softmax(1), 1, generator=generator).flatten()
    assert ece(logits, targets) < 0.02
    assert ece(5 * logits, targets) > 0.2


def test_ece_does_not_depend_on_the_order_of_equally_confident_samples() -> None:
    logits = torch.tensor([[1.0, 0.0]]).expand(300, 2)  # a constant network
    targets = torch.cat([torch.zeros(200), torch.ones(100)]).long()
    expected = abs(200 / 300 - 1 / (1 + math.exp(-1)))
    for order in (torch.arange(300), torch.randperm(300, generator=torch.Generator().manual_seed(0))):
        assert ece(logits, targets[order]) == pytest.approx(expected, abs=1e-12)


def calibrated(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits, and targets drawn from their softmax."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, 5, generator=generator)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=generator).flatten()


def test_the_curve_by_hand() -> None:
    confidence = torch.tensor([0.9, 0.6, 0.8, 0.7])
    logits = torch.stack([confidence, 1 - confidence], 1).log()
    low, high = reliability(logits, torch.tensor([0, 1, 1, 0]), bins=2)
    assert (low.samples, high.samples) == (2, 2)
    assert low.confidence == pytest.approx(0.65)
    assert high.confidence == pytest.approx(0.85)
    assert (low.accuracy, high.accuracy) == (0.5, 0.5)


def test_the_temperature_undoes_a_scale() -> None:
    logits, targets = calibrated(20_000)
    assert temperature(logits, targets) == pytest.approx(1.0, abs=0.05)
    scaled = temperature(3 * logits, targets)
    assert scaled == pytest.approx(3 * (temperature(logits, targets) or 0), rel=1e-6)


def test_no_other_temperature_has_a_lower_loss() -> None:
    logits, targets = random_predictions(300, 5)
    logits[torch.arange(300), targets] += 1.5
    best = temperature(logits, targets)
    assert best is not None

    def loss(t: float) -> float:
        return float(torch.nn.functional.cross_entropy(logits.double() / t, targets))

    assert all(loss(best) < loss(best * factor) for factor in (0.5, 0.98, 1.02, 2.0))


def test_a_network_that_is_always_right_or_never_has_no_temperature() -> None:
    logits = torch.eye(3).repeat(4, 1)
    targets = torch.arange(3).repeat(4)
    assert temperature(logits, targets) is None
    assert temperature(logits, (targets + 1) % 3) is None


def test_the_temperature_is_fitted_on_the_other_samples() -> None:
    (logits, targets), other = calibrated(4000), calibrated(4000, seed=1)
    tuning = (5 * other[0], other[1])
    found = calibration(5 * logits, targets, tuning)
    assert found.temperature is not None
    assert found.temperature == temperature(*tuning)
    assert found.ece == ece(5 * logits, targets)
    assert found.ece > 0.1
    assert found.ece_after == pytest.approx(ece(5 * logits.double() / found.temperature, targets))
    assert found.ece_after is not None
    assert found.ece_after < 0.04
    mended = torch.nn.functional.cross_entropy(5 * logits.double() / found.temperature, targets)
    assert found.nll_after == pytest.approx(float(mended))
    assert sum(part.samples for part in found.bins) == 4000


def test_without_other_samples_nothing_is_fitted() -> None:
    found = calibration(*calibrated(100))
    assert (found.temperature, found.ece_after, found.nll_after) == (None, None, None)
    assert len(found.bins) == 15
