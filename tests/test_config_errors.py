"""What pydantic finds wrong, in limbeck's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from limbeck.config_errors import explained


class Bowl(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int


class Kitchen(BaseModel):
    model_config = ConfigDict(extra="forbid")
    bowl: Bowl
    bowls: dict[str, Bowl] = {}
    name: str = ""


def said(given: dict[str, Any], *arguments: Any, **keywords: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Kitchen.model_validate(given)
    return str(explained(caught.value, *arguments, **keywords))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bowl": {"size": "x"}}, "k.yaml: the list value bowl.size='x' should be a valid integer"),
        ({"bowl": {"sise": 1, "size": 1}}, "k.yaml: unknown list key in bowl: 'sise'"),
        ({"bowl": {"size": 1}, "nane": ""}, "k.yaml: unknown list key: 'nane'"),
        ({}, "k.yaml: the list lacks bowl (--bowl)"),
        ({"bowl": 3}, "k.yaml: the list value bowl=3 should be a mapping with some of the keys size"),
        (
            {"bowl": {"size": 1}, "bowls": {"big": {"size": None}}},
            "k.yaml: the list value bowls.big.size=None",
        ),
    ],
)
def test_it_is_named(given: dict[str, Any], message: str) -> None:
    found = said(given, Path("k.yaml"), Kitchen, "list", options={"bowl": "--bowl"})
    assert found.startswith(message)


def test_a_long_value_is_shown_in_part() -> None:
    found = said({"bowl": {"size": ["x" * 1000] * 1000}}, None, Kitchen, "list")
    assert found.startswith("the list value bowl.size=['xxx")
    assert found.endswith("xxx... should be a valid integer")
    assert len(found) < 300


def test_a_misspelled_key_is_told_before_the_one_that_is_missing() -> None:
    assert "'sise'" in said({"bowl": {"sise": 1}}, None, Kitchen, "list")


def test_what_a_setting_says_is_not_put_down_to_the_file() -> None:
    given = {"bowl": {"size": "x"}}
    assert said(given, Path("k.yaml"), Kitchen, "list", {"bowl.size": "x"}).startswith("the list value")
    assert said(given, Path("k.yaml"), Kitchen, "list", {"name": "x"}).startswith("k.yaml: ")
