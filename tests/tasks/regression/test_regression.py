"""Regression: targets, and rows of standardized values."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from limbeck import LimbeckError
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.tasks import Regression, from_record, named

NAN = float("nan")
SIZES = Regression(("height", "width"), (10.0, -1.0), (2.0, 0.5))


def test_it_is_in_the_table_and_its_record_makes_it_again() -> None:
    assert named("regression") is Regression
    assert from_record(json.loads(json.dumps(SIZES.record()))) == SIZES
    assert (SIZES.width, SIZES.columns, SIZES.scores, SIZES.primary.name) == (2, 2, "values", "rmse")
    assert (SIZES.summary, Regression(("y",), (0.0,), (1.0,)).summary) == ("2 values", "1 value")
    assert SIZES.identity == "regression 2 (10.0, -1.0) (2.0, 0.5)"


def test_mean_and_deviation_are_those_of_the_known_training_targets() -> None:
    targets = torch.tensor([[1.0, 5.0, NAN], [3.0, 5.0, NAN], [NAN, 5.0, NAN], [8.0, NAN, NAN]])
    task = Regression.of(None, None, targets)
    assert task.names == ("0", "1", "2")
    assert task.mean == (4.0, 5.0, 0.0)
    assert task.std == pytest.approx((math.sqrt((9 + 1 + 16) / 3), 1.0, 1.0), rel=1e-15)
    assert Regression.of(["y"], None, torch.empty(3, 0)) == Regression(("y",), (0.0,), (1.0,))
    assert Regression.of_width(2) == Regression(("0", "1"), (0.0, 0.0), (1.0, 1.0))
    with pytest.raises(LimbeckError, match="not 2 names, 3 target columns"):
        Regression.of(["a", "b"], None, targets)
    with pytest.raises(LimbeckError, match="no training sample has a value, so their number is unknown"):
        Regression.of(None, None, torch.empty(3, 0))


def test_mean_and_deviation_of_large_targets_are_exact() -> None:
    targets = 1e6 + torch.arange(5).float().unsqueeze(1)
    task = Regression.of(None, None, targets)
    assert task.mean == (1e6 + 2,)
    assert task.std == pytest.approx((math.sqrt(2),), rel=1e-12)
    assert Regression.of(None, None, torch.full((7, 1), 0.1)).std == (1.0,)


@pytest.mark.parametrize("given", [[1, 2], torch.tensor([1.0, 2.0]), np.array([[1.0], [2.0]])])
def test_numbers_are_targets(given: Any) -> None:
    targets = Regression.as_targets(given, 2, "training")
    assert targets.dtype == torch.float32
    assert targets.tolist() == [[1], [2]]


def test_no_targets_are_targets_without_columns() -> None:
    targets = Regression.as_targets(None, 2, "training")
    assert (targets.dtype, targets.shape) == (torch.float32, (2, 0))
    assert Regression.labeled(targets).tolist() == [False, False]
    assert Regression.strata(targets).tolist() == [UNLABELED] * 2
    assert SIZES.counts(targets) == (0, 0)
    SIZES.check(targets, "training")
    SIZES.check_batch(targets, 2)
    rows = SIZES.rows(Batch(torch.rand(2, 4), targets), Outputs())
    assert rows.targets is not None
    assert rows.targets.isnan().tolist() == [[True, True]] * 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            [[1.0, 2.0], [3.0, NAN]],
            "the test target of sample 1, value 1, is nan, not a finite number; leave",
        ),
        ([1.0, math.inf], "the test target of sample 1, value 0, is inf, not a finite number"),
        (["a", "b"], r"the test targets should be numbers, \(N,\) or \(N, K\): "),
        (np.array(["1", "2"]), r"the test targets should be numbers, \(N,\) or \(N, K\): "),
        ([True, False], r"should be numbers, \(N,\) or \(N, K\), not torch.bool of shape \(2,\)"),
        (torch.zeros(2, 1, 1), r"not torch.float32 of shape \(2, 1, 1\)"),
        ([1.0], "there are 2 test inputs but 1 targets"),
    ],
)
def test_other_targets_are_refused(given: Any, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        Regression.as_targets(given, 2, "test")


def test_a_value_that_is_no_target_is_named_with_its_sample() -> None:
    SIZES.check(torch.tensor([[0.0, NAN]]), "training")
    with pytest.raises(
        LimbeckError, match="the training target of sample 1, value 'width', is inf, not a fin"
    ):
        SIZES.check(torch.tensor([[0.0, 1.0], [0.0, math.inf]]), "training")
    with pytest.raises(LimbeckError, match="the test targets have 1 values, not 2"):
        SIZES.check(torch.zeros(3, 1), "test")


def test_a_batch_of_other_targets_is_refused_with_the_remedy() -> None:
    one = Regression(("y",), (0.0,), (1.0,))
    one.check_batch(torch.zeros(4, 1), 4)
    with pytest.raises(LimbeckError) as caught:
        one.check_batch(torch.zeros(4), 4)
    assert str(caught.value) == (
        "the targets of a batch of 4 must be floats of shape (4, 1), not float32 of shape (4,); "
        "use targets.unsqueeze(-1)"
    )
    for targets in (torch.zeros(4, 2, dtype=torch.int64), torch.zeros(3, 2), torch.zeros(4, 1)):
        with pytest.raises(LimbeckError, match=r"must be floats of shape \(4, 2\), not "):
            SIZES.check_batch(targets, 4)


def test_outputs_of_another_shape_are_refused_with_the_remedy() -> None:
    SIZES.check_outputs(torch.zeros(4, 2), "student")
    with pytest.raises(LimbeckError, match=r"the outputs of the teacher .* for each value, \(B, 2\)$"):
        SIZES.check_outputs(torch.zeros(4, 1), "teacher")
    with pytest.raises(LimbeckError, match=r"\(B, 1\); end the network with .unsqueeze\(-1\)"):
        Regression(("y",), (0.0,), (1.0,)).check_outputs(torch.zeros(4), "student")


def test_strata_are_ranges_of_the_first_value_with_as_many_samples() -> None:
    values = torch.randperm(105, generator=torch.Generator().manual_seed(0)).float()
    strata = Regression.strata(values.unsqueeze(1))
    assert strata.bincount().tolist() == [11, 10] * 5
    assert (strata[values.argsort()].diff() >= 0).all()
    assert Regression.strata(values[:35].unsqueeze(1)).bincount().tolist() == [12, 12, 11]
    assert Regression.strata(values[:7].unsqueeze(1)).tolist() == [0] * 7
    equal = Regression.strata(torch.zeros(20, 1))
    assert equal.tolist() == [0] * 10 + [1] * 10, "as many samples whatever the values"
    partly = torch.tensor([[NAN, 2.0], [1.0, 1.0], [NAN, NAN], [2.0, NAN]])
    assert Regression.strata(partly).tolist() == [1, 0, UNLABELED, 0]
    assert SIZES.counts(partly) == (2, 2)
    assert Regression.labeled(partly).tolist() == [True, True, False, True]


def test_rows_are_in_standard_deviations() -> None:
    raw = torch.tensor([[12.0, -1.0], [10.0, 0.0]])
    targets = torch.tensor([[6.0, -2.0], [NAN, -1.0]])
    rows = SIZES.rows(Batch(raw, targets), Outputs(logits=raw))
    assert rows.count == 2
    assert rows.sample is None
    assert rows.of(Outputs(logits=raw)).logits.tolist() == [[1, 0], [0, 2]]
    assert rows.targets is not None
    assert rows.targets.nan_to_num(9).tolist() == [[-2, -2], [9, 0]]
    assert rows.decisions(raw) is raw
    assert SIZES.rows(Batch(raw), Outputs(logits=raw)).targets is None


@pytest.mark.parametrize(
    ("dtype", "expected"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)]
)
def test_values_are_standardized_in_full_precision(dtype: torch.dtype, expected: torch.dtype) -> None:
    values: Tensor = SIZES.standardized(torch.tensor([[11.0, -1.25]], dtype=dtype))
    assert values.dtype == expected
    assert values.tolist() == [[0.5, -0.5]]


def test_it_has_a_recipe_with_a_teacher_and_without() -> None:
    assert SIZES.recipe(teacher=True) == "0.5*mse + 0.5*imitation"
    assert SIZES.recipe(teacher=False) == "mse"


@pytest.mark.parametrize(
    ("names", "mean", "std", "message"),
    [
        ((), (), (), "there should be at least 1 value"),
        (("y",), (), (1.0,), "there are 1 names, 0 means and 1 standard deviations"),
        (("y",), (0.0,), (0.0,), r"the standard deviations should be positive, not \(0.0,\)"),
    ],
)
def test_an_impossible_one_is_refused(names: Any, mean: Any, std: Any, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        Regression(names, mean, std)
