"""The table of methods, and those that other packages add to it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable

import pytest

from limbeck import LimbeckError, methods
from limbeck.methods import KD, METHODS, Method, table
from limbeck.objective import parse, resolved

OWN = sorted(name for name, method in METHODS.items() if method.__module__.startswith("limbeck."))

PACKAGE = '''
import torch
from limbeck.methods import KD, Method, Reads

class Sharp(Method):
    """A stranger's method."""
    reads = Reads(student=("logits",))
    def __init__(self, edge: float = 0.5) -> None:
        super().__init__()
        self.edge = edge
    def forward(self, student, teacher, batch):
        return self.edge * student.logits.square().mean()

class Other(KD):
    """A stranger's KD, under limbeck's own name."""
    name = "kd"

def function():
    """No method."""

number = 3
'''


Install = Callable[[str, str, str], None]


def test_limbecks_own_methods_are_there() -> None:
    assert {"ce", "kd", "label_smoothing"} <= table().keys()
    assert table()["kd"] is KD


@pytest.mark.parametrize("name", OWN)
def test_a_method_is_one_paper_and_one_file(name: str) -> None:
    method = METHODS[name]
    assert method.name == name
    assert method.__module__ == f"limbeck.methods.{name}"
    assert getattr(methods, method.__name__) is method
    assert method.__name__ in methods.__all__
    assert inspect.getdoc(sys.modules[method.__module__])
    arguments = set(inspect.signature(method).parameters)
    documented = inspect.getdoc(method) or ""
    assert {argument for argument in arguments if f"{argument}:" not in documented} == set()


def test_the_table_is_in_order() -> None:
    assert [name for name in METHODS if name in OWN] == OWN


def test_what_is_no_method_is_not_there() -> None:
    with pytest.raises(AttributeError, match=r"module 'limbeck\.methods' has no attribute 'KDD'"):
        methods.KDD  # noqa: B018


def test_a_package_adds_a_method(installed: Install) -> None:
    with pytest.raises(LimbeckError, match="unknown method 'sharp'"):
        parse("sharp")
    installed("limbeck.methods", "sharp = strange:Sharp", PACKAGE)
    objective = parse("ce + 0.5*sharp(edge=0.25)")
    assert str(objective) == "ce + 0.5*sharp(edge=0.25)"
    assert resolved(objective)["sharp"] == {"weight": 0.5, "method": "sharp", "edge": 0.25}
    assert issubclass(table()["sharp"], Method)
    with pytest.raises(LimbeckError, match="unknown argument of sharp: 'egde'; did you mean 'edge'"):
        parse("sharp(egde=1)")
    with pytest.raises(LimbeckError, match="unknown method 'shrap'; did you mean 'sharp'"):
        parse("shrap")


def test_a_package_does_not_replace_limbecks_own(installed: Install) -> None:
    installed("limbeck.methods", "kd = strange:Other", PACKAGE)
    assert table()["kd"] is KD


@pytest.mark.parametrize("point", ["dull = strange:Sharp", "x = strange:function", "x = strange:number"])
def test_an_entry_point_is_a_method_of_its_name(installed: Install, point: str) -> None:
    installed("limbeck.methods", point, PACKAGE)
    name, _, _ = point.partition(" = ")
    with pytest.raises(LimbeckError) as caught:
        table()
    assert str(caught.value) == f"the entry point {name!r} of limbeck.methods must be a Method of that name"


@pytest.mark.parametrize(
    ("point", "reason"),
    [
        ("x = strange:Missing", "module 'strange' has no attribute 'Missing'"),
        ("x = nowhere:X", "No module named 'nowhere'"),
    ],
)
def test_an_entry_point_that_cannot_be_loaded_is_named(installed: Install, point: str, reason: str) -> None:
    installed("limbeck.methods", point, PACKAGE)
    name, _, value = point.partition(" = ")
    with pytest.raises(LimbeckError) as caught:
        table()
    assert str(caught.value) == f"the entry point {name!r} = {value!r} fails: {reason}"
