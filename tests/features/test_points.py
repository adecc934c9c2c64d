from __future__ import annotations

import pytest

from limbeck.errors import LimbeckError
from limbeck.features import FeaturePoints, Point

POINTS = {
    "": Point(""),
    "layer1": Point("layer1"),
    "layer1.0.relu#2": Point("layer1.0.relu", call=2),
    "fc:input": Point("fc", "input"),
    "relu#1:input": Point("relu", "input", call=1),
    "encoder[0]": Point("encoder", item=0),
    "bert[pooler_output]": Point("bert", item="pooler_output"),
    "decoder#3:input[mask]": Point("decoder", "input", item="mask", call=3),
    "[1]": Point("", item=1),
    ":input": Point("", "input"),
    "pool(head:input)": Point("head", "input", pool=True),
    "trunk.block1-0": Point("trunk.block1-0"),
}


@pytest.mark.parametrize("text", POINTS)
def test_text_and_point_name_each_other(text: str) -> None:
    assert Point.parse(text) == POINTS[text]
    assert str(POINTS[text]) == text


@pytest.mark.parametrize(
    "text", ["fc:output", "fc:input#1", "encoder[]", "encoder[0][1]", "relu#x", "pool(fc", "f(x)"]
)
def test_text_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(LimbeckError, match=r"names no place in a network.*'fc:input'"):
        Point.parse(text)


def test_a_copy_on_capture_does_not_make_another_point() -> None:
    assert Point("bn", overwritten=True) == Point("bn")


def test_every_field_is_given_as_points() -> None:
    points = FeaturePoints(logits=Point(""), stages=(Point("a"), Point("b")))
    assert points.of("stages") == (Point("a"), Point("b"))
    assert points.of("logits") == (Point(""),)
    assert points.of("embedding") == points.of("preactivations") == ()
