"""Arguments out of the notation, checked against a signature."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest

from limbeck.arguments import Count, NonNegative, Positive, Share, checked_arguments
from limbeck.errors import LimbeckError
from limbeck.methods import CE, KD, Method, Objective
from limbeck.methods.parts.stages import Pairs
from limbeck.optimization import SGD


def everything(  # type: ignore[no-untyped-def]
    positive: Positive = 1.0,
    non_negative: NonNegative = 1.0,
    share: Share = 0.5,
    count: Count = 1,
    number: float = 1.0,
    flag: bool = False,
    text: str = "",
    choice: Literal["granular", "stable"] = "granular",
    maybe: int | None = None,
    widths: Sequence[Count] = (1,),
    pairs: Pairs | None = None,
    rule: SGD = SGD(),  # noqa: B008
    untyped=None,
) -> None: ...


def wrapper(base: Method, *more: Method, weight: float = 1.0, other: Method | None = None) -> None: ...


def numbers(*steps: Count) -> None: ...


def refusal(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    with pytest.raises(LimbeckError) as caught:
        checked_arguments("m", function, args, kwargs)
    return str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"positive": 1e-9},
        {"positive": 4},
        {"non_negative": 0},
        {"share": 0, "count": 1},
        {"share": 1.0},
        {"number": -3.5},
        {"flag": True, "text": "x"},
        {"choice": "stable"},
        {"maybe": 3},
        {"maybe": None},
        {"widths": [4, 8]},
        {"widths": (4, 8)},
        {"rule": SGD(lr=0.1)},
        {"untyped": object},
    ],
)
def test_right_arguments_come_back_as_they_were_given(given: dict[str, Any]) -> None:
    found = checked_arguments("m", everything, (), given)
    assert found == given
    assert all(found[name] is given[name] for name in given), "not converted: 4 stays 4 and is printed as 4"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"positive": 0}, "positive=0 should be greater than 0"),
        ({"positive": -1.5}, "positive=-1.5 should be greater than 0"),
        ({"positive": float("inf")}, "positive=inf should be a finite number"),
        ({"positive": float("nan")}, "positive=nan should be a finite number"),
        ({"positive": "4"}, 'positive="4" should be a valid number'),
        ({"positive": True}, "positive=True should be a valid number"),
        ({"positive": None}, "positive=None should be a valid number"),
        ({"positive": [4]}, "positive=[4] should be a valid number"),
        ({"non_negative": -1e-9}, "non_negative=-1e-09 should be greater than or equal to 0"),
        ({"non_negative": float("inf")}, "non_negative=inf should be a finite number"),
        ({"share": 1.01}, "share=1.01 should be less than or equal to 1"),
        ({"share": -0.1}, "share=-0.1 should be greater than or equal to 0"),
        ({"share": float("nan")}, "share=nan should be a finite number"),
        ({"count": 0}, "count=0 should be greater than or equal to 1"),
        ({"count": 2.0}, "count=2.0 should be a valid integer"),
        ({"count": True}, "count=True should be a valid integer"),
        ({"flag": 1}, "flag=1 should be a valid boolean"),
        ({"text": 1}, "text=1 should be a valid string"),
        ({"choice": "steady"}, "choice=\"steady\" should be 'granular' or 'stable'"),
        ({"maybe": "x"}, 'maybe="x" should be a valid integer'),
        ({"widths": [4, 0]}, "widths=[4, 0]: 0 should be greater than or equal to 1"),
        ({"pairs": []}, "pairs=[] should have at least 1 item, not 0"),
        ({"pairs": [0, 1]}, "pairs=[0, 1]: 0 should be a list"),
        ({"pairs": [[0, 1], [2]]}, "pairs=[[0, 1], [2]]: [2] should have at least 2 items, not 1"),
        ({"pairs": [[0, 1.5]]}, "pairs=[[0, 1.5]]: 1.5 should be a valid integer"),
        ({"widths": 4}, "widths=4 should be a list"),
        ({"rule": 4}, "rule=4 should be a valid dictionary or instance of SGD"),
    ],
)
def test_wrong_types_and_ranges(given: dict[str, Any], problem: str) -> None:
    assert refusal(everything, **given).startswith(f"m: the argument {problem}")


def test_positional_arguments_get_their_names() -> None:
    assert checked_arguments("m", everything, (2.0, 3), {"count": 4}) == {
        "positive": 2.0,
        "non_negative": 3,
        "count": 4,
    }


def test_objectives() -> None:
    ce, kd, total = CE(), KD(), CE() + KD()
    given = checked_arguments("m", wrapper, (ce, kd, total), {"other": kd})
    assert given == {"base": ce, "more": (kd, total), "other": kd}
    assert refusal(wrapper, 3) == "m: base must be an objective, not 3"
    assert refusal(wrapper, "ce") == 'm: base must be an objective, not "ce"'
    assert refusal(wrapper, ce, kd, 3) == "m: more must be an objective, not 3"
    assert refusal(wrapper, ce, other=3) == "m: other must be an objective, not 3"
    assert isinstance(total, Objective)


def test_every_item_of_a_star_parameter_is_checked() -> None:
    assert checked_arguments("m", numbers, (1, 2, 3), {}) == {"steps": (1, 2, 3)}
    assert checked_arguments("m", numbers, (), {}) == {}
    assert refusal(numbers, 1, 0, 3) == "m: the argument steps=0 should be greater than or equal to 1"


def test_surplus_missing_and_unknown() -> None:
    assert refusal(wrapper) == "m: missing a required argument: 'base'"
    assert refusal(CE.__init__, 3) == "m: too many positional arguments"
    assert refusal(wrapper, CE(), base=CE()) == "m: multiple values for argument 'base'"
    assert refusal(wrapper, wieght=3) == "unknown argument of m: 'wieght'; did you mean 'weight'?"
    assert refusal(CE.__init__, x=3) == "unknown argument of m: 'x'; there are: none"


def test_self_is_no_argument() -> None:
    assert refusal(KD.__init__, self=3).startswith("unknown argument of m: 'self'")
    assert checked_arguments("kd", KD.__init__, (), {"temperature": 2}) == {"temperature": 2}


def test_a_wrapped_function_is_checked_by_its_own_signature() -> None:
    @functools.wraps(numbers)
    def outer(*args: Any, **kwargs: Any) -> None:
        numbers(*args, **kwargs)

    assert "steps=0" in refusal(outer, 0)
