"""Measuring networks that give values, against torchmetrics, scikit-learn and by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score
from torch import Tensor
from torchmetrics.functional import mean_absolute_error as mae
from torchmetrics.functional import mean_squared_error

from limbeck import LimbeckError
from limbeck.outputs import Batch, Outputs
from limbeck.tasks import Regression
from limbeck.tasks.regression.findings import RegressionFindings
from limbeck.tasks.regression.meter import BINS, RegressionMeter, histogram

NAN = float("nan")
ONE = Regression(("y",), (100.0,), (20.0,))
SIZES = Regression(("height", "width"), (100.0, 0.0), (20.0, 0.5))


def drawn(count: int, seed: int = 0, *, unknown: float = 0.0) -> tuple[Tensor, Tensor]:
    """Answers and targets (N, 2) in the units of `SIZES`."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randn(count, 2, generator=generator) * torch.tensor(SIZES.std) + torch.tensor(SIZES.mean)
    answers = targets + 0.3 * torch.randn(count, 2, generator=generator) * torch.tensor(SIZES.std)
    return answers, targets.where(torch.rand(count, 2, generator=generator) >= unknown, NAN)


def batches(answers: Tensor, targets: Tensor, size: int = 17) -> Iterator[tuple[Outputs, Batch]]:
    for start in range(0, len(targets), size):
        some, wanted = answers[start : start + size], targets[start : start + size]
        yield Outputs(logits=some), Batch(torch.zeros(len(some), 1), wanted)


def measured(task: Regression, answers: Tensor, targets: Tensor, *, quick: bool = False) -> RegressionMeter:
    meter = task.meter(quick=quick)
    for outputs, batch in batches(answers, targets):
        meter.update(outputs, batch)
    return meter


@pytest.mark.parametrize("quick", [True, False])
def test_one_value_is_measured_in_its_own_units(quick: bool) -> None:
    answers, targets = (part[:, :1] for part in drawn(200))
    found = measured(ONE, answers, targets, quick=quick).compute()
    assert found == pytest.approx(
        {
            "rmse": float(mean_squared_error(answers, targets, squared=False)),
            "mae": float(mae(answers, targets)),
            "r2": r2_score(targets.numpy(), answers.numpy()),
        },
        rel=1e-5,
    )
    assert list(found) == [metric.name for metric in ONE.metrics]
    assert 5 < found["rmse"] < 7


def test_several_values_are_measured_in_standard_deviations() -> None:
    answers, targets = drawn(200)
    found = measured(SIZES, answers, targets).compute()
    std = torch.tensor(SIZES.std)
    each = mean_squared_error(answers / std, targets / std, squared=False, num_outputs=2)
    assert found == pytest.approx(
        {
            "rmse": float(each.mean()),
            "mae": mean_absolute_error((targets / std).numpy(), (answers / std).numpy()),
            "r2": r2_score(targets.numpy(), answers.numpy()),
        },
        rel=1e-5,
    )
    assert 0.25 < found["rmse"] < 0.35


def test_what_is_not_known_does_not_count() -> None:
    answers, targets = drawn(300, unknown=0.3)
    found = measured(SIZES, answers, targets)
    known = [~targets[:, place].isnan() for place in range(2)]
    r2 = [r2_score(targets[k, i].numpy(), answers[k, i].numpy()) for i, k in enumerate(known)]
    assert found.compute()["r2"] == pytest.approx(sum(r2) / 2, rel=1e-6)
    values = found.findings().values
    for place, value in enumerate(values):
        assert value is not None
        assert value.known == int(known[place].sum())
        assert value.r2 == pytest.approx(r2[place], rel=1e-6)


def test_findings_are_by_value_and_in_its_units() -> None:
    answers, targets = drawn(1000)
    meter = measured(SIZES, answers, targets)
    found = SIZES.measure(meter, None)
    assert {"rmse": found.rmse, "mae": found.mae, "r2": found.r2} == meter.compute()
    for place, value in enumerate(found.values):
        assert value is not None
        error = (answers.double() - targets.double())[:, place]
        assert value.rmse == pytest.approx(float(error.square().mean().sqrt()), rel=1e-12)
        assert value.mae == pytest.approx(float(error.abs().mean()), rel=1e-12)
        assert value.bias == pytest.approx(float(error.mean()), rel=1e-9)
        ordered = error.abs().sort().values.tolist()
        assert value.quantiles == {
            0.5: ordered[499],
            0.9: ordered[899],
            0.95: ordered[949],
            0.99: ordered[989],
        }
        residuals = value.residuals
        assert len(residuals.counts) == BINS
        assert sum(residuals.counts) + residuals.below + residuals.above == 1000
        assert residuals.below + residuals.above <= 10
        assert len(value.points) == 500
        assert value.points[0] == (float(targets[0, place]), float(answers[0, place]))
        assert value.points[-1] == (float(targets[-1, place]), float(answers[-1, place]))


def test_a_histogram_counts_what_is_in_it_and_beside_it() -> None:
    found = histogram(torch.arange(1000.0, dtype=torch.float64))
    assert (found.low, found.high, found.below, found.above) == (4, 994, 4, 5)
    assert sum(found.counts) == 991
    assert found.counts[0] == 25, "4 to 28, as the bins are 24.75 wide"
    same = histogram(torch.full((5,), 2.0, dtype=torch.float64))
    assert (same.low, same.high, sum(same.counts)) == (1.5, 2.5, 5)
    diverged = histogram(torch.tensor([NAN, float("inf")], dtype=torch.float64))
    assert (sum(diverged.counts), diverged.above) == (0, 1)


def test_a_constant_target_has_no_r2() -> None:
    targets = torch.tensor([[1.0, 0.1], [2.0, 0.1], [3.0, 0.1]])
    answers = targets + torch.tensor([[1.0, 0.5]])
    meter = measured(SIZES, answers, targets)
    assert meter.compute() == pytest.approx({"rmse": (1 / 20 + 1) / 2, "mae": (1 / 20 + 1) / 2, "r2": -0.5})
    assert [value and value.r2 for value in meter.findings().values] == [pytest.approx(-0.5), None]
    constant = measured(ONE, answers[:, 1:], targets[:, 1:])
    assert constant.compute() == pytest.approx({"rmse": 0.5, "mae": 0.5})
    assert constant.findings().r2 is None


def test_a_value_that_no_sample_has_is_left_out() -> None:
    targets = torch.tensor([[1.0, NAN], [3.0, NAN]])
    meter = measured(SIZES, targets + 2, targets)
    assert meter.compute() == pytest.approx({"rmse": 0.1, "mae": 0.1, "r2": -3})
    found = meter.findings()
    assert found.values[1] is None


def test_a_network_that_diverged_is_not_made_to_look_better() -> None:
    answers, targets = drawn(40)
    answers[3, 0] = NAN
    meter = measured(SIZES, answers, targets)
    assert all(value != value for value in meter.compute().values())
    assert meter.findings().rmse != meter.findings().rmse


def test_findings_are_read_back_from_json() -> None:
    found = measured(SIZES, *drawn(50)).findings()
    assert RegressionFindings.model_validate(json.loads(found.model_dump_json())) == found


@pytest.mark.parametrize("targets", [None, torch.empty(3, 0), torch.full((3, 2), NAN)])
def test_without_a_target_nothing_can_be_measured(targets: Tensor | None) -> None:
    meter = SIZES.meter()
    meter.update(Outputs(logits=torch.zeros(3, 2)), Batch(torch.zeros(3, 1), targets))
    with pytest.raises(LimbeckError, match="none of the 3 samples has a target, and errors need targets"):
        meter.compute()


def test_beyond_the_bound_only_histograms_and_quantiles_are_of_a_sample() -> None:
    answers, targets = drawn(2000)
    whole = measured(SIZES, answers, targets)
    meter = RegressionMeter(SIZES.std, bound=800)
    for outputs, batch in batches(answers, targets):
        meter.update(outputs, batch)
    assert meter.compute() == whole.compute()
    found, expected = meter.findings().values[0], whole.findings().values[0]
    assert found is not None
    assert expected is not None
    assert found.known == 2000
    assert found.rmse == expected.rmse
    assert found.quantiles[0.5] == pytest.approx(expected.quantiles[0.5], rel=0.15)
    assert sum(found.residuals.counts) + found.residuals.below + found.residuals.above == 400
    assert whole.notes == ()
    assert meter.notes == (
        "Histograms and quantiles are of a random sample of 400 of the 2,000 samples with targets.",
    )


def test_distance_of_student_and_teacher_is_in_standard_deviations() -> None:
    ours, targets = drawn(60)
    theirs, _ = drawn(60, 5)
    comparison = SIZES.comparison()
    for places in torch.arange(60).tensor_split(5):
        comparison.update(
            Outputs(logits=ours[places]), Outputs(logits=theirs[places]), Batch(ours[places], targets[places])
        )
    found = comparison.compute()
    assert found.agreement is None
    expected = ((ours - theirs) / torch.tensor(SIZES.std)).square().mean().sqrt()
    assert found.distance == pytest.approx(float(expected), rel=1e-6)


def test_examples_are_the_samples_where_the_teacher_is_closer_and_the_student_worst() -> None:
    targets = torch.tensor([[100.0, 0.5], [100.0, NAN], [123.456, 0.0], [100.0, 0.0]])
    student = torch.tensor([[120.0, 0.5], [100.0, 9.0], [23.456, 0.0], [101.0, 0.0]])
    teacher = torch.tensor([[100.0, 0.25], [100.0, 0.0], [122.0, 1 / 3], [102.0, 0.0]])
    comparison = SIZES.comparison()
    comparison.update(Outputs(logits=teacher), Outputs(logits=teacher), Batch(targets))
    comparison.update(Outputs(logits=student), Outputs(logits=teacher), Batch(targets, targets))
    found = [(each.index, each.target, each.student, each.teacher) for each in comparison.compute().examples]
    assert found == [
        (6, "height 123.5, width 0", "height 23.46, width 0", "height 122, width 0.3333"),
        (4, "height 100, width 0.5", "height 120, width 0.5", "height 100, width 0.25"),
    ]


def test_an_example_of_one_value_is_a_number() -> None:
    comparison = ONE.comparison()
    one = torch.tensor([[NAN], [1.0]])
    comparison.update(Outputs(logits=one + 1), Outputs(logits=one), Batch(one, one))
    (example,) = comparison.compute().examples
    assert (example.index, example.target, example.student, example.teacher) == (1, "1", "2", "1")
