from __future__ import annotations

import math

import pytest

from limbeck.tasks import Metric
from limbeck.training.patience import Patience

TOP1 = Metric("top1", "top-1", 100, "%")
ERROR = Metric("rmse", "RMSE", higher=False)


def stops(patience: Patience, metric: Metric, values: list[float]) -> tuple[int, str] | None:
    """The first epoch after which training ends, and why."""
    for epoch, value in enumerate(values, 1):
        if (why := patience.over(metric, {metric.name: value}, epoch)) is not None:
            return epoch, why
    return None


def test_it_ends_when_nothing_has_improved_for_so_many_epochs() -> None:
    values = [0.5, 0.7, 0.7, 0.6, 0.71, 0.5, 0.71, 0.7]
    assert stops(Patience(3), TOP1, values) == (
        8,
        "stopped early after epoch 8: top-1 on the validation split has not improved since epoch 5, when it "
        "was 71.0 %",
    )
    assert stops(Patience(2), TOP1, values) == (
        4,
        "stopped early after epoch 4: top-1 on the validation split has not improved since epoch 2, when it "
        "was 70.0 %",
    )
    assert stops(Patience(4), TOP1, values) is None


def test_it_may_begin_to_count_later() -> None:
    values = [0.5, 0.5, 0.5, 0.5, 0.6, 0.5, 0.5, 0.5]
    found = stops(Patience(2, start=3), TOP1, values)
    assert found is not None
    assert found[0] == 7, "after epochs 4 and 5, of which one improves"
    assert stops(Patience(2, start=6), TOP1, values) == (8, found[1].replace("epoch 7:", "epoch 8:"))


def test_of_an_error_less_is_better() -> None:
    found = stops(Patience(2), ERROR, [3.0, 2.0, 1.0, 1.5, 1.0])
    assert found is not None
    assert found[0] == 5
    assert "RMSE on the validation split has not improved since epoch 3, when it was 1.000" in found[1]


@pytest.mark.parametrize(
    ("metric", "values"), [(TOP1, [0.5, 0.505, 0.509, 0.52]), (ERROR, [2, 1.995, 1.991, 1.98])]
)
def test_an_improvement_is_larger_than_min_delta(metric: Metric, values: list[float]) -> None:
    assert stops(Patience(3, 0.01), metric, values) is None
    found = stops(Patience(2, 0.01), metric, values)
    assert found is not None
    assert (found[0], "not improved by more than 0.01 since epoch 1" in found[1]) == (3, True)


def test_nan_is_no_improvement_and_everything_improves_on_it() -> None:
    found = stops(Patience(2), TOP1, [math.nan, 0.1, math.nan, math.nan])
    assert found is not None
    assert found[0] == 4


def test_a_metric_that_is_nan_from_the_start_runs_out_of_patience() -> None:
    assert stops(Patience(3), TOP1, [math.nan] * 5) == (
        3,
        "stopped early after epoch 3: top-1 on the validation split has been NaN from the first epoch on",
    )


def test_it_goes_on_from_a_checkpoint() -> None:
    first, second = Patience(2), Patience(2)
    for epoch, value in enumerate([0.5, 0.4], 1):
        assert first.over(TOP1, {"top1": value}, epoch) is None
    second.load_state_dict(first.state_dict())
    assert second.over(TOP1, {"top1": 0.45}, 3) is not None
