from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.evaluation import Predictions, agreement, ece, metrics, wilson


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


def test_metrics_by_hand() -> None:
    logits = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.5, 0.4, 0.1]]).log()
    found = metrics(Predictions(logits, torch.tensor([0, 2, 1])))
    assert set(found) == {"top1", "nll", "ece"}
    assert found["top1"] == pytest.approx(2 / 3)
    assert found["nll"] == pytest.approx(-(math.log(0.7) + math.log(0.4) + math.log(0.4)) / 3)
    assert found["ece"] == pytest.approx((0.6 + 0.5 + 0.3) / 3)


def test_top5_counts_the_five_largest_logits() -> None:
    logits = torch.arange(10.0).repeat(4, 1)
    assert metrics(Predictions(logits, torch.tensor([9, 5, 4, 0])))["top5"] == 0.5
    assert "top5" not in metrics(Predictions(logits[:, :9], torch.tensor([8, 5, 4, 0])))


def test_unlabelled_samples_are_left_out() -> None:
    logits, targets = random_predictions(40, 10)
    mixed = torch.cat([targets, torch.full((20,), -100)])
    more = torch.cat([logits, 100 * torch.ones(20, 10)])
    assert metrics(Predictions(more, mixed)) == metrics(Predictions(logits, targets))


@pytest.mark.parametrize("targets", [None, torch.tensor([-100, -100])])
def test_without_a_label_is_an_error(targets: Tensor | None) -> None:
    with pytest.raises(LimbeckError, match="none of the 2 samples has a label"):
        metrics(Predictions(torch.zeros(2, 3), targets))


@pytest.mark.parametrize("wrong", [3, -1])
def test_a_label_that_is_no_class_is_named(wrong: int) -> None:
    with pytest.raises(LimbeckError, match=f"target {wrong} is no class of a network with 3 logits"):
        metrics(Predictions(torch.zeros(2, 3), torch.tensor([0, wrong])))


def test_a_diverged_network_has_no_figures_that_look_sound() -> None:
    found = metrics(Predictions(torch.full((4, 3), math.nan), torch.zeros(4, dtype=torch.long)))
    assert math.isnan(found["nll"])
    assert math.isnan(found["ece"])


def test_agreement_is_the_share_of_equal_answers() -> None:
    first = Predictions(torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [0.0, 3.0]]), None)
    second = Predictions(
        torch.tensor([[9.0, 8.0], [1.0, 0.0], [0.1, 0.0], [0.0, 0.1]]), torch.zeros(4).long()
    )
    assert agreement(first, second) == 0.75
    assert agreement(first, first) == 1.0


def test_agreement_of_different_samples_is_an_error() -> None:
    with pytest.raises(LimbeckError, match="not 2 answers and 3"):
        agreement(Predictions(torch.zeros(2, 2), None), Predictions(torch.zeros(3, 2), None))


@pytest.mark.parametrize(("successes", "total"), [(0, 10), (10, 10), (81, 263), (1, 1)])
def test_wilson_is_the_published_formula(successes: int, total: int) -> None:
    z, p = 1.959963984540054, successes / total
    centre = (p + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * (p * (1 - p) / total + z**2 / (4 * total**2)) ** 0.5
    assert wilson(successes, total) == pytest.approx((centre - half, centre + half), abs=1e-12)


def test_wilson_by_value() -> None:
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998, Table I
    assert wilson(81, 263, confidence=0.5)[0] > 0.2553


@pytest.mark.parametrize(("successes", "total"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_what_is_no_proportion(successes: int, total: int) -> None:
    with pytest.raises(LimbeckError, match=f"{successes} of {total} is no proportion"):
        wilson(successes, total)
