from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.evaluation import Predictions, accuracy, confusion, metrics, wilson


def random_predictions(n: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, classes, generator=generator)
    return logits, torch.randint(classes, (n,), generator=generator)


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


def test_unlabeled_samples_are_left_out() -> None:
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


def test_accuracy_and_confusion_are_those_of_torchmetrics() -> None:
    from torchmetrics.functional import classification as functional  # takes two seconds

    logits, targets = random_predictions(400, 12)
    targets[targets == 7] = 8  # a class without a sample
    found = accuracy(logits, targets)

    def theirs(**settings: Any) -> Tensor:
        return functional.multiclass_accuracy(logits, targets, num_classes=12, **settings)

    assert found.top1.value == pytest.approx(float(theirs(average="micro")))
    assert found.top5 is not None
    assert found.top5.value == pytest.approx(float(theirs(average="micro", top_k=5)))
    assert found.per_class[7] is None
    for label, (rate, value) in enumerate(zip(found.per_class, theirs(average="none"), strict=True)):
        if rate is not None:
            assert rate.value == pytest.approx(float(value))
            assert rate.samples == int((targets == label).sum())
            assert (rate.low, rate.high) == wilson(round(rate.value * rate.samples), rate.samples)
    matrix = functional.multiclass_confusion_matrix(logits, targets, num_classes=12)
    mistaken = confusion(logits, targets)
    assert mistaken.matrix == tuple(map(tuple, matrix.tolist()))
    assert [count for _, _, count in mistaken.cells] == matrix[matrix > 0].tolist()


def test_top5_needs_ten_classes() -> None:
    assert accuracy(*random_predictions(20, 9)).top5 is None


def test_the_most_confused_pairs_come_first() -> None:
    answers = torch.tensor([1, 1, 0, 2, 2, 2, 2, 0, 1])
    targets = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    pairs = confusion(torch.eye(3)[answers], targets).pairs
    found = [(pair.target, pair.predicted, pair.samples) for pair in pairs]
    assert found == [(1, 2, 3), (0, 1, 2), (2, 0, 1), (2, 1, 1)]
    assert len(confusion(torch.eye(3)[answers], targets, pairs=2).pairs) == 2


@pytest.mark.parametrize(("successes", "total"), [(0, 10), (10, 10), (81, 263), (1, 1)])
def test_wilson_is_the_published_formula(successes: int, total: int) -> None:
    z, p = 1.959963984540054, successes / total
    center = (p + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * (p * (1 - p) / total + z**2 / (4 * total**2)) ** 0.5
    assert wilson(successes, total) == pytest.approx((center - half, center + half), abs=1e-12)


def test_wilson_by_value() -> None:
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998, Table I
    assert wilson(81, 263, confidence=0.5)[0] > 0.2553


@pytest.mark.parametrize(("successes", "total"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_what_is_no_proportion(successes: int, total: int) -> None:
    with pytest.raises(LimbeckError, match=f"{successes} of {total} is no proportion"):
        wilson(successes, total)
