from __future__ import annotations

import pytest
import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.tasks.classification.fidelity import (
    agreement,
    class_correlation,
    correlation_difference,
    divergence,
)


def logits(seed: int, n: int = 200, classes: int = 4) -> Tensor:
    return torch.randn(n, classes, generator=torch.Generator().manual_seed(seed))


def test_agreement_is_the_share_of_equal_answers() -> None:
    first = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [0.0, 3.0]])
    second = torch.tensor([[9.0, 8.0], [1.0, 0.0], [0.1, 0.0], [0.0, 0.1]])
    assert agreement(first, second) == 0.75
    assert agreement(first, first) == 1.0


def test_agreement_of_different_samples_is_an_error() -> None:
    with pytest.raises(LimbeckError, match="not 2 answers and 3"):
        agreement(torch.zeros(2, 2), torch.zeros(3, 2))


def test_the_divergence_is_from_the_teacher() -> None:
    student, teacher = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.9, 0.1]]).log()
    by_hand = 0.9 * torch.tensor(0.9 / 0.5).log() + 0.1 * torch.tensor(0.1 / 0.5).log()
    assert divergence(student, teacher) == pytest.approx(float(by_hand), rel=1e-6)
    both = [torch.cat([each, each + 7]) for each in (student, teacher)]  # softmax forgets a constant
    assert divergence(*both) == pytest.approx(float(by_hand), rel=1e-6)
    assert divergence(teacher, teacher) == 0


def test_the_correlation_of_classes_is_pearsons() -> None:
    values = logits(0)
    found = class_correlation(values)
    centered = values.double() - values.double().mean(0)
    for i in range(4):
        for j in range(4):
            a, b = centered[:, i], centered[:, j]
            assert found[i, j] == pytest.approx(float((a * b).sum() / (a.norm() * b.norm())), abs=1e-12)


def test_the_difference_of_correlations() -> None:
    student, teacher = logits(1), logits(2)
    found = correlation_difference(student, teacher)
    torch.testing.assert_close(found, class_correlation(student) - class_correlation(teacher))
    assert found.diagonal().abs().max() < 1e-12
    assert correlation_difference(3 * teacher + 1, teacher).abs().max() < 1e-6


def test_a_logit_that_never_changes_is_uncorrelated() -> None:
    values = logits(3)
    values[:, 2] = 1
    found = class_correlation(values)
    assert found[2].tolist() == [0, 0, 0, 0]
    assert found[0, 1] == pytest.approx(float(class_correlation(logits(3))[0, 1]))
