from __future__ import annotations

import math

import pytest

from limbeck.tasks import Metric
from limbeck.tasks.parts.rates import Rate
from limbeck.tasks.wording import (
    Cell,
    a,
    axis,
    digits,
    figure,
    heading,
    interval,
    point,
    show,
    told,
    unit_of_difference,
)

SHARE = Metric("top1", "top-1", 100, "%")
ERROR = Metric("rmse", "RMSE", unit="mm", higher=False)
RATE = Rate(value=0.85, low=0.8093, high=0.8832, samples=360)


def test_labels() -> None:
    assert (axis(SHARE), heading(SHARE), unit_of_difference(SHARE)) == ("top-1 (%)", "Top-1", "points")
    assert (axis(ERROR), heading(ERROR), unit_of_difference(ERROR)) == ("RMSE (mm)", "RMSE", "mm")
    assert axis(Metric("nll", "NLL")) == "NLL"
    labels = ("mAP", "mIoU", "nDCG@10", "entity F1", "mean recall")
    assert [heading(Metric("it", label)) for label in labels] == [
        "mAP",
        "mIoU",
        "nDCG@10",
        "Entity F1",
        "Mean recall",
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0.000"),
        (0.00123, "0.00123"),
        (0.5, "0.500"),
        (1.9, "1.900"),
        (54.21, "54.21"),
        (12345.6, "12346"),
    ],
)
def test_digits_by_the_size_of_the_value(value: float, shown: str) -> None:
    assert figure(ERROR, value) == shown


def test_digits_of_several_are_those_of_the_largest() -> None:
    assert digits(ERROR, [0.001, 23.0, math.nan]) == 2
    assert digits(SHARE, [0.00001]) == 2


def test_percentages_and_what_is_missing() -> None:
    assert figure(SHARE, 0.8512) == "85.12"
    assert figure(SHARE, 0.8512, percent=1) == "85.1"
    assert figure(SHARE, None) is None
    assert told(SHARE, 0.8512) == "85.1\N{NO-BREAK SPACE}%"
    assert told(ERROR, 54.21) == "54.21\N{NO-BREAK SPACE}mm"


def test_intervals() -> None:
    assert interval(SHARE, RATE) == "80.9 to 88.3"
    assert list(point(SHARE, 0.85, RATE)) == [85, pytest.approx(80.93), pytest.approx(88.32)]
    assert point(ERROR, 3.0, None) == (3.0, None, None)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (61706, "61,706"),
        (0.123456, "0.1235"),
        (12345.6, "12,346"),
        (1e-7, "1e-07"),
        (0, "0"),
        (math.nan, "nan"),
        (None, "\N{EN DASH}"),
        ("85.1 ± 3.3", "85.1 ± 3.3"),
    ],
)
def test_cells_as_text(cell: Cell, text: str) -> None:
    assert show(cell) == text


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("top-1", "a top-1"),
        ("entity F1", "an entity F1"),
        ("accuracy", "an accuracy"),
        ("RMSE", "an RMSE"),
        ("mAP", "an mAP"),
        ("ECE", "an ECE"),
        ("PSNR", "a PSNR"),
        ("R²", "an R²"),
    ],
)
def test_the_article_of_a_label(label: str, said: str) -> None:
    assert a(Metric("x", label)) == said
