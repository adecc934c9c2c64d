"""A config that is written with comments."""

from __future__ import annotations

from pathlib import Path

import pytest

from limbeck import advice, data
from limbeck.advice.plan import Plan
from limbeck.advice.students import Measured, Target
from limbeck.yaml_text import parse_yaml


def plan(teacher: str | None) -> Plan:
    given = advice.situation(data.load("iris"), [teacher] if teacher else [], student="mlp(hidden=[8])")
    student = Measured("mlp(hidden=[8])", 67, 268, 0.1)
    return Plan("iris", None, teacher, "", student, Target(), given, [])


@pytest.mark.parametrize("name", ["1e5", "5e-4", "on", "12"])
def test_a_teacher_is_read_back_as_it_was_named(name: str) -> None:
    text = plan("cnn").yaml(Path("run.yaml")).replace("teacher: cnn", "")
    assert parse_yaml(text)["student"] == "mlp(hidden=[8])"
    named = Plan(**{**vars(plan("cnn")), "teacher": name})
    assert parse_yaml(named.yaml(Path("run.yaml")))["teacher"] == name


def test_without_a_teacher_it_is_a_training() -> None:
    assert plan(None).command(Path("a b.yaml")) == "limbeck train 'a b.yaml'"
    assert plan("cnn").command(Path("run.yaml")) == "limbeck distill run.yaml"
