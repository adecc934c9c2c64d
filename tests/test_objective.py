"""Objectives: the same one from text, from YAML and from Python, and back to text."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from limbeck import Batch, LimbeckError, Outputs
from limbeck.methods import CE, KD, METHODS, LabelSmoothing, Method, Objective, table
from limbeck.objective import parse, resolved

generator = torch.Generator().manual_seed(0)
STUDENT = Outputs(logits=torch.randn(6, 5, generator=generator))
TEACHER = Outputs(logits=torch.randn(6, 5, generator=generator))
BATCH = Batch(torch.zeros(6, 1), torch.arange(6) % 5)


class Ensemble(Method):
    """Any number of objectives, and settings of every shape."""

    def __init__(
        self, *bases: Method, shares: list[float] | None = None, also: Method | None = None, tag: str = "x"
    ) -> None:
        super().__init__()

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        raise AssertionError("only ever parsed and printed")


@pytest.fixture(autouse=True)
def ensemble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "ensemble", Ensemble)


def values_of(objective: Objective) -> dict[str, tuple[float, str, float]]:
    terms = objective.terms(STUDENT, TEACHER, BATCH)
    return {name: (term.value.item(), term.kind, term.weight) for name, term in terms.items()}


SAME: list[tuple[str, Callable[[], Method]]] = [
    ("ce", lambda: CE()),
    ("0.1*ce + 0.9*kd(temperature=4)", lambda: 0.1 * CE() + 0.9 * KD(temperature=4)),
    (
        "0.1*(0.2*ce + kd) + label_smoothing(epsilon=0.2)",
        lambda: 0.1 * (0.2 * CE() + KD()) + LabelSmoothing(0.2),
    ),
    ("kd(2) + kd(temperature=8)", lambda: KD(2) + KD(8)),
    ("3*0.1*ce", lambda: 3 * (0.1 * CE())),
    ("0*ce + kd", lambda: 0 * CE() + KD()),
]


@pytest.mark.parametrize(("text", "python"), SAME)
def test_text_yaml_and_python_give_the_same_objective(text: str, python: Callable[[], Method]) -> None:
    folded = yaml.safe_load("objective: >\n  " + text.replace(" + ", "\n  + "))["objective"]
    block = yaml.safe_load("objective: |\n  " + text.replace(" + ", " +\n  "))["objective"]
    plain = yaml.safe_load(f"objective: {text}")["objective"]
    expected = parse(python())
    for objective in (parse(text), parse(folded), parse(block), parse(plain), parse(str(expected))):
        assert str(objective) == str(expected)
        assert resolved(objective) == resolved(expected)
        assert objective.weights == expected.weights
        assert values_of(objective) == values_of(expected)


def test_values_of_the_papers_mix() -> None:
    found = values_of(parse("0.1*ce + 0.9*kd(temperature=4)"))
    assert {name: (kind, weight) for name, (_, kind, weight) in found.items()} == {
        "ce": ("task", 0.1),
        "kd": ("distillation", 0.9),
    }


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_methods_recipe_is_printed_as_it_is_written(name: str) -> None:
    recipe = METHODS[name].recipe or name
    assert str(parse(recipe)) == recipe
    assert str(parse(parse(recipe))) == recipe
    for weight, method in parse(recipe).summands:
        assert type(method) is table()[method.name]
        assert weight > 0


@pytest.mark.parametrize(
    "text",
    [
        'mgd(0.2*ce + 0.8*kd(temperature=4), scheme="stable")',
        "0.5*mgd(mgd(ce), low=8)",
        "ensemble",
        'ensemble(ce, 2*kd, ce + kd, tag="it\'s \\"so\\"")',
        "ensemble(shares=[0.5, 1e-05])",
        "ensemble(kd, also=0.5*ce + kd)",
        "ensemble(also=ce)",
    ],
)
def test_arguments_are_printed_as_they_were_given(text: str) -> None:
    assert str(parse(text)) == text


def test_what_is_no_text() -> None:
    kd, total = KD(), CE() + KD()
    assert parse(total) is total
    assert parse(kd).summands == [(1.0, kd)]
    for wrong in (None, 3, KD, ["ce"]):
        with pytest.raises(LimbeckError, match=r"^an objective is text in the notation or a method, not "):
            parse(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ke", "unknown method 'ke'; did you mean 'kd'?"),
        ("ce + labelsmoothing", "unknown method 'labelsmoothing'; did you mean 'label_smoothing'?"),
        ("mgd(ke)", "unknown method 'ke'; did you mean 'kd'?"),
        ("kd(temprature=4)", "unknown argument of kd: 'temprature'; did you mean 'temperature'?"),
        ("ce(x=1)", "unknown argument of ce: 'x'; there are: none"),
        ("kd(temperature=0)", "kd: the argument temperature=0 should be greater than 0"),
        ("kd(temperature='4')", 'kd: the argument temperature="4" should be a valid number'),
        ("kd(temperature=true)", "kd: the argument temperature=True should be a valid number"),
        ("kd(temperature=[4])", "kd: the argument temperature=[4] should be a valid number"),
        ("kd(temperature=ce)", "kd: the argument temperature=ce should be a valid number"),
        ("kd(temperature=2*ce)", "kd: the argument temperature=2*ce should be a valid number"),
        ("kd(1, 2)", "kd: too many positional arguments"),
        ("kd(1, temperature=2)", "kd: multiple values for argument 'temperature'"),
        (
            "label_smoothing(epsilon=2)",
            "label_smoothing: the argument epsilon=2 should be less than or equal to 1",
        ),
        ("mgd()", "mgd: missing a required argument: 'base'"),
        ("mgd(4)", "mgd: base must be an objective, not 4"),
        ("mgd([ce])", "mgd: base must be an objective, not [ce]"),
        ("mgd(ce, scheme='steady')", "mgd: the argument scheme=\"steady\" should be 'granular' or 'stable'"),
        ("ensemble(ce, 3)", "ensemble: bases must be an objective, not 3"),
        ("-1*ce", "objective '-1*ce': a weight must be a finite number of at least 0, not -1"),
        ("ce**2", "objective 'ce**2': the notation has + and * only"),
        (
            "kd(temperature=4, temperature=5)",
            "objective 'kd(temperature=4, temperature=5)': the argument 'temperature' is given twice",
        ),
        ("", "objective '' is not in the notation: it is empty"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    with pytest.raises(LimbeckError) as caught:
        parse(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "text", ["__import__('os')", "__import__('os').system('x')", "eval('ce')", "ce.forward"]
)
def test_nothing_is_evaluated(text: str) -> None:
    with pytest.raises(LimbeckError, match=r"^unknown method '(__import__|eval)'; |the notation has"):
        parse(text)


PLAIN = {"divergence": "forward", "beta": 0.5, "top": None}
"""What else `kd` has, by default."""


def test_resolved_has_every_argument_with_defaults() -> None:
    assert resolved(parse("0.1*ce + kd + 2*kd(temperature=8)")) == {
        "ce": {"weight": 0.1, "method": "ce"},
        "kd": {"weight": 1.0, "method": "kd", "temperature": 4.0, **PLAIN},
        "kd_2": {"weight": 2.0, "method": "kd", "temperature": 8, **PLAIN},
    }
    assert resolved(KD()) == {"method": "kd", "temperature": 4.0, **PLAIN}


def test_resolved_goes_into_wrappers() -> None:
    inner = {
        "ce": {"weight": 0.5, "method": "ce"},
        "kd": {"weight": 1.0, "method": "kd", "temperature": 4.0, **PLAIN},
    }
    found: Any = resolved(parse("mgd(0.5*ce + kd, low=8)"))["mgd"]
    assert (found["base"], found["low"], found["high"]) == (inner, 8, 256)
    assert resolved(parse("ensemble(ce, 0.5*ce + kd, also=kd(2))")) == {
        "ensemble": {
            "weight": 1.0,
            "method": "ensemble",
            "bases": [{"method": "ce"}, inner],
            "shares": None,
            "also": {"method": "kd", "temperature": 2, **PLAIN},
            "tag": "x",
        }
    }


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_record_can_hold_what_is_resolved(name: str) -> None:
    record = resolved(parse(METHODS[name].recipe or name))
    assert json.loads(json.dumps(record)) == record
