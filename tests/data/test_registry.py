from __future__ import annotations

from collections.abc import Callable

import pytest

from limbeck.data.registry import construct, written
from limbeck.errors import LimbeckError
from limbeck.notation import parse_call


def box(width: int, height: int = 2, data_dir: str = "here") -> tuple[int, int, str]:
    return width, height, data_dir


def dot() -> tuple[int, int, str]:
    return 1, 1, ""


def lid(shape: tuple[int, int, str], /, height: int = 1) -> tuple[int, int, str]:
    return shape[0], shape[1] + height, shape[2]


def make(text: str, **facts: str | None) -> tuple[int, int, str]:
    makers: dict[str, Callable[..., tuple[int, int, str]]] = {"box": box, "dot": dot, "lid": lid}
    return construct(parse_call(text, "shape"), makers, "shape", **facts)


def test_calls_the_named_maker() -> None:
    assert make("box(width=3)") == (3, 2, "here")
    assert make("box(width=3, height=5)", data_dir="there") == (3, 5, "there")
    assert make("dot", data_dir=None) == (1, 1, "")


def test_what_is_taken_by_position_is_a_call_too() -> None:
    assert make("lid(box(width=3))") == (3, 3, "here")
    assert make("lid(lid(box(width=3), height=4))", data_dir="there") == (3, 7, "there")


@pytest.mark.parametrize(
    ("text", "facts", "message"),
    [
        ("bx", {}, "unknown shape 'bx'; did you mean 'box'?"),
        ("box(widht=3)", {}, "unknown argument of box 'widht'; did you mean 'width'?"),
        ("box(3)", {}, r"box takes its arguments by name \(width, height"),
        ("box", {}, "shape 'box' needs width"),
        ('box(width="3")', {}, 'box: the argument width="3" should be a valid integer'),
        ("dot(width=3)", {}, "unknown argument of dot 'width'; there are: none"),
        ("dot", {"data_dir": "there"}, "shape 'dot' has no use for data_dir"),
        ("lid(height=3)", {}, r"lid takes one shape and then arguments by name; here it is lid\(height=3\)"),
        ("lid(dot, dot)", {}, r"lid takes one shape and then arguments by name; here it is lid\(dot, dot\)"),
        ("lid(dot, shape=dot)", {}, "unknown argument of lid 'shape'; there are: height"),
        ("lid(3)", {}, "lid takes one shape and then arguments by name"),
        ("lid(bx)", {}, "unknown shape 'bx'; did you mean 'box'?"),
        ("lid(dot)", {"data_dir": "there"}, "shape 'dot' has no use for data_dir"),
        ("box(width=1, data_dir=2)", {"data_dir": None}, "unknown argument of box 'data_dir'"),
    ],
)
def test_refuses(text: str, facts: dict[str, str | None], message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        make(text, **facts)


def test_a_call_is_written_without_what_goes_without_saying() -> None:
    assert written("box", box, {"width": 3, "height": 2}) == "box(width=3)"
    assert written("box", box, {"width": 3, "height": 5, "data_dir": "here"}) == "box(width=3, height=5)"
    assert written("dot", dot, {}) == "dot"
