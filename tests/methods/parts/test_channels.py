from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from limbeck import LimbeckError
from limbeck.methods.parts.channels import Sums, channel_assignment, channel_regression


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("more", [0, 3])
def test_a_known_permutation_is_recovered(more: int) -> None:
    student = normal(40, 6)
    order = torch.randperm(6 + more, generator=torch.Generator().manual_seed(2))
    known = torch.cat([3 * student + 1, normal(40, more, seed=3)], 1)  # in other units, and with others
    teacher = known[:, order]
    assert torch.equal(order[channel_assignment(student, teacher)], torch.arange(6))


def test_an_assignment_has_the_largest_sum_of_correlations() -> None:
    student, teacher = normal(9, 3), normal(9, 5, seed=2)
    correlation: list[list[float]] = torch.corrcoef(torch.cat([student, teacher], 1).T)[:3, 3:].tolist()

    def total(channels: tuple[int, ...]) -> float:
        return sum(row[channel] for row, channel in zip(correlation, channels, strict=True))

    best = max(itertools.permutations(range(5), 3), key=total)
    assert channel_assignment(student, teacher).tolist() == list(best)
    assert channel_assignment(student.float(), teacher.bfloat16().float()).dtype == torch.int64


def test_a_channel_that_never_changes_correlates_with_none() -> None:
    student, teacher = normal(20, 3), normal(20, 4, seed=2)
    student[:, 1], teacher[:, 0] = 0.1, 0
    teacher[:, 3], teacher[:, 1] = student[:, 0], student[:, 2]
    found = channel_assignment(student, teacher)
    assert found[[0, 2]].tolist() == [3, 1]
    assert len(set(found.tolist())) == 3


def test_a_known_linear_map_is_recovered() -> None:
    teacher, transform = normal(50, 6), normal(4, 6, seed=2)
    student = teacher @ transform.T
    torch.testing.assert_close(channel_regression(student, teacher), transform, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(channel_regression(student, teacher, 0.0), transform, rtol=1e-10, atol=1e-12)
    assert channel_regression(student.float(), teacher.float()).dtype == torch.float64


def test_a_regression_minimizes_its_penalized_error() -> None:
    student, teacher, ridge = normal(12, 2), normal(12, 3, seed=2), 0.3
    penalty = ridge * teacher.square().sum(0).mean()

    def value(transform: Tensor) -> Tensor:
        return (student - teacher @ transform.T).square().sum() + penalty * transform.square().sum()

    found = channel_regression(student, teacher, ridge).requires_grad_()
    (gradient,) = torch.autograd.grad(value(found), found)
    assert gradient.abs().max() < 1e-12
    assert value(channel_regression(student, teacher, 0.0)) > value(found)


def test_channels_that_say_the_same_share_a_regression() -> None:
    teacher = normal(30, 2)
    student = teacher[:, :1] * 2
    found = channel_regression(student, torch.cat([teacher, teacher[:, :1]], 1), 0.0)
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64))
    assert not channel_regression(student, torch.zeros(30, 2)).any()


def test_responses_of_other_shapes_and_too_few_channels_are_refused() -> None:
    for function in (channel_assignment, channel_regression):
        with pytest.raises(LimbeckError, match="compares the same samples, not 5 and 4 of them"):
            function(normal(5, 2), normal(4, 3))
        with pytest.raises(LimbeckError, match=r"teacher has the shape \(5, 3, 2\)"):
            function(normal(5, 2), normal(5, 3, 2))
    with pytest.raises(
        LimbeckError, match="takes no channel twice, and the teacher has 2 for the student's 3"
    ):
        channel_assignment(normal(5, 3), normal(5, 2))


@pytest.mark.parametrize("match", ["assignment", "regression"])
def test_sums_over_parts_are_those_of_the_whole_and_a_pass_begins_anew(match: Any) -> None:
    student, teacher = normal(12, 3), normal(12, 4, seed=2)
    whole, parts = Sums(3, 4, match), Sums(3, 4, match)
    whole.add(student, teacher, 0)
    for step in range(2):  # a pass that is broken off
        parts.add(9 * normal(3, 3, seed=3), 9 * normal(3, 4, seed=4), step)
    for step, rows in enumerate([slice(0, 5), slice(5, 12)]):
        parts.add(student[rows], teacher[rows], step)
    torch.testing.assert_close(parts.solved(0.1), whole.solved(0.1), check_dtype=False)
    found = parts.solved(0.1)
    if match == "regression":
        expected = channel_regression(student, teacher, 0.1)
    else:
        expected = torch.eye(4)[channel_assignment(student, teacher)]
    torch.testing.assert_close(found, expected, check_dtype=False)
    assert {buffer.dtype for buffer in parts.half().buffers()} == {torch.float64, torch.int64}
