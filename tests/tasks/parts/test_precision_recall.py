"""Precision and recall, against scikit-learn and by hand."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from torch import Tensor

from limbeck.tasks.parts.precision_recall import (
    POINTS,
    average_precision,
    best_threshold,
    curve,
    precision_recall,
)


def drawn(count: int, levels: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Scores with that many levels, so that some are equal, and whether the label applies."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(levels, (count,), generator=generator) / levels
    return scores, torch.rand(count, generator=generator) < scores * 0.7


def test_by_hand_with_equal_scores() -> None:
    scores = torch.tensor([0.5, 0.9, 0.5, 0.1])
    applies = torch.tensor([True, True, False, False])
    found = precision_recall(scores, applies)
    assert [part.tolist() for part in found] == [
        pytest.approx([0.9, 0.5, 0.1]),
        pytest.approx([1, 2 / 3, 1 / 2]),
        [0.5, 1, 1],
    ]
    assert average_precision(scores, applies) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


@pytest.mark.parametrize("levels", [1, 3, 20, 10_000])
def test_average_precision_is_that_of_scikit_learn(levels: int) -> None:
    scores, applies = drawn(300, levels, levels)
    applies[0] = True
    expected = average_precision_score(applies.numpy(), scores.numpy())
    assert average_precision(scores, applies) == pytest.approx(expected, rel=1e-12)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    assert average_precision(scores[order], applies[order]) == pytest.approx(expected, rel=1e-12)


def test_a_label_that_never_applies_has_none() -> None:
    scores, nothing = torch.rand(4), torch.zeros(4, dtype=torch.bool)
    assert average_precision(scores, nothing) is None
    assert best_threshold(scores, nothing) == 0.5
    assert curve(scores, nothing) == ()
    assert average_precision(scores, ~nothing) == 1


@pytest.mark.parametrize("levels", [3, 20, 10_000])
def test_no_threshold_has_a_larger_f1(levels: int) -> None:
    scores, applies = drawn(200, levels, levels)
    threshold = best_threshold(scores, applies)
    found = f1_score(applies.numpy(), (scores > threshold).numpy())
    candidates = torch.cat([scores, scores.new_tensor([-1.0])])
    assert found == max(f1_score(applies.numpy(), (scores > each).numpy()) for each in candidates)
    assert 0 <= threshold <= 1


def test_a_threshold_is_half_way_between_the_scores() -> None:
    scores = torch.tensor([0.9, 0.6, 0.2], dtype=torch.float64)
    assert best_threshold(scores, torch.tensor([True, True, False])) == pytest.approx(0.4)
    assert best_threshold(scores, torch.tensor([True, True, True])) == pytest.approx(0.1)
    one = torch.ones(2, dtype=torch.float64)
    assert best_threshold(one, torch.tensor([True, False])) == 0.5
    below = torch.tensor([1.0, 1.0 - 2**-53], dtype=torch.float64)
    assert best_threshold(below, torch.tensor([True, False])) < 1, "so that the score above it is taken"


def test_a_curve_has_few_points_from_end_to_end() -> None:
    scores, applies = drawn(5000, 100_000)
    points = curve(scores, applies)
    assert len(points) == POINTS
    _, precision, recall = precision_recall(scores, applies)
    assert points[0] == (float(recall[0]), float(precision[0]))
    assert points[-1] == (1, float(precision[-1]))
    assert [x for x, _ in points] == sorted(x for x, _ in points)
