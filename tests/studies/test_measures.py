from __future__ import annotations

import pytest

from limbeck.errors import LimbeckError
from limbeck.runs.result import DataResult, Metrics, Result, StudentResult
from limbeck.studies.measures import AGREEMENT, Measure, measures
from limbeck.tasks import Classification

TASK = Classification(("a", "b"))
RESULT = Result(
    objective="ce",
    arguments={},
    seed=0,
    selection="last",
    task=TASK.record(),
    student=StudentResult(model="cnn", parameters=1),
    metrics=Metrics(test={"top1": 0.75, "nll": 0.5}, validation={"top1": 0.5}),
    agreement=0.9,
    seconds=1,
    data=DataResult(
        name="d", fingerprint="f", train=1, labeled=1, validation=1, test=1, outputs=2, measured={}
    ),
)


def test_the_first_metric_on_test_where_none_is_named() -> None:
    assert measures([], TASK) == [Measure(TASK.primary, "test")]


def test_names_of_splits_and_metrics() -> None:
    found = measures(["nll", "test.top1", "validation.top1", "agreement"], TASK)
    assert [(each.metric.name, each.split) for each in found] == [
        ("nll", "test"),
        ("top1", "test"),
        ("top1", "validation"),
        ("agreement", "test"),
    ]
    assert [each.of(RESULT) for each in found] == [0.5, 75, 50, 90]
    assert [each.axis for each in found] == [
        "test NLL",
        "test top-1 (%)",
        "validation top-1 (%)",
        "test agreement with the teacher (%)",
    ]
    assert found[2].name == "validation.top1"


def test_what_was_not_measured_has_no_value() -> None:
    unmeasured = RESULT.model_copy(update={"metrics": Metrics(test=None, validation=None), "agreement": None})
    assert [each.of(unmeasured) for each in measures(["top1", "validation.top1", "agreement"], TASK)] == [
        None
    ] * 3
    assert Measure(TASK.metrics[2], "validation").of(RESULT) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("top2", "unknown metric 'top2'; did you mean 'top"),
        ("train.top1", "unknown split 'train'"),
        ("validation.agreement", "measured on the test split alone"),
    ],
)
def test_unknown_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        measures([name], TASK)


def test_agreement_is_a_share_of_which_more_is_agreement() -> None:
    assert AGREEMENT.show(0.9) == "90.0 %"
    assert AGREEMENT.better(0.9, 0.8)
