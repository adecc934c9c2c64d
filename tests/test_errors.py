"""The one error a user sees, and the hint at the nearest right name."""

from __future__ import annotations

import pytest

from limbeck.errors import LimbeckError, unknown

METHODS = ["kd", "ce", "label_smoothing"]


@pytest.mark.parametrize(
    ("name", "known", "message"),
    [
        ("ke", METHODS, "unknown method 'ke'; did you mean 'kd'?"),
        ("label_smooting", METHODS, "unknown method 'label_smooting'; did you mean 'label_smoothing'?"),
        ("LabelSmoothing", METHODS, "unknown method 'LabelSmoothing'; did you mean 'label_smoothing'?"),
        ("CE", METHODS, "unknown method 'CE'; did you mean 'ce'?"),
        ("cross_entropy", METHODS, "unknown method 'cross_entropy'; there are: ce, kd, label_smoothing"),
        ("", METHODS, "unknown method ''; there are: ce, kd, label_smoothing"),
        ("resnet", ["ResNet8", "LeNet"], "unknown method 'resnet'; did you mean 'ResNet8'?"),
        ("x", [], "unknown method 'x'; there are: none"),
        ("x", iter(["b", "a"]), "unknown method 'x'; there are: a, b"),
    ],
)
def test_unknown_names_the_nearest_or_all(name: str, known: list[str], message: str) -> None:
    error = unknown("method", name, known)
    assert type(error) is LimbeckError
    assert str(error) == message


def test_limbeck_error_can_be_caught_as_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"^wrong$"):
        raise LimbeckError("wrong")
