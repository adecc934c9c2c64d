"""YAML: numbers as people write them, keys that stand twice, files that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from limbeck import LimbeckError
from limbeck.yaml_text import dump_yaml, parse_yaml, read_yaml


class Recipe(BaseModel):
    name: str
    steps: int = 0


@pytest.mark.parametrize(
    ("text", "value"),
    [("5e-4", 0.0005), ("1E2", 100.0), ("+2.5e3", 2500.0), (".5e1", 5.0), ("2e5_b", "2e5_b"), ("e5", "e5")],
)
def test_a_number_needs_no_dot(text: str, value: object) -> None:
    found = parse_yaml(text)
    assert found == value
    assert type(found) is type(value)
    assert parse_yaml(dump_yaml({"a": found})) == {"a": value}


def test_a_text_that_looks_like_a_number_is_written_as_a_text() -> None:
    assert dump_yaml({"model": "1e3"}) == "model: '1e3'\n"


def test_a_key_that_stands_twice_is_refused() -> None:
    with pytest.raises(yaml.YAMLError, match="the key 'a' stands twice"):
        parse_yaml("a: 1\nb: 2\na: 3")


def test_whoever_changes_what_was_read_changes_nothing_for_others() -> None:
    text = "a: [1, 2]"
    first: dict[str, Any] = parse_yaml(text)
    first["a"].append(3)
    assert parse_yaml(text) == {"a": [1, 2]}


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    for text, said in (
        ("- name", f"the recipe {str(file)!r} must be a mapping with the keys name, steps"),
        (
            "name: [",
            f"the recipe {str(file)!r} is not YAML: expected the node content, but found '<stream end>'",
        ),
    ):
        file.write_text(text)
        with pytest.raises(LimbeckError) as caught:
            read_yaml(file, Recipe, "recipe")
        assert str(caught.value).startswith(said)
    with pytest.raises(LimbeckError, match=r"^the recipe .* cannot be read: No such file or directory$"):
        read_yaml(tmp_path / "none.yaml", Recipe, "recipe")
