from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from limbeck.cli import values
from limbeck.errors import LimbeckError


def refusal(function: Any, *arguments: Any) -> str:
    with pytest.raises(LimbeckError) as caught:
        function(*arguments)
    return str(caught.value)


class TestSettings:
    def test_values_are_yaml(self) -> None:
        pairs = ["a.b=5e-4", "c=[1e3, {d: 1e-1}]", "e=nested", "f=", "g=a=b", "h=true", "i='5'", "j='1e5'"]
        assert values.settings(pairs) == {
            "a.b": 0.0005,
            "c": [1000.0, {"d": 0.1}],
            "e": "nested",
            "f": None,
            "g": "a=b",
            "h": True,
            "i": "5",
            "j": "1e5",
        }

    @pytest.mark.parametrize("pair", ["training.epochs", "", "=5"])
    def test_a_setting_needs_a_key_and_a_value(self, pair: str) -> None:
        assert refusal(values.settings, [pair]) == (
            f"--set takes key=value, for example training.epochs=5, not {pair!r}"
        )

    @pytest.mark.parametrize("text", ["[1", "{a: b: c}", "!!python/name:os.system"])
    def test_a_value_that_is_no_yaml(self, text: str) -> None:
        assert refusal(values.settings, [f"seed={text}"]) == f"--set seed: the value {text!r} is not YAML"

    def test_a_key_that_stands_twice(self) -> None:
        assert refusal(values.settings, ["seed=1", "seed=2"]) == "--set seed is given twice"
        assert refusal(values.settings, ["optimizer={lr: 0.1, lr: 0.2}"]) == (
            "--set optimizer: the value '{lr: 0.1, lr: 0.2}' is not YAML: the key 'lr' stands twice"
        )


class TestTeachers:
    @pytest.mark.parametrize(
        "text",
        [
            "runs/a",
            "module:factory(width=4)",
            'ensemble("runs/a", "runs/b", of="probabilities", weights=[1, 2])',
            "runs/lr=0.1",
        ],
    )
    def test_one(self, text: str) -> None:
        assert values.teachers([text]) == text

    def test_none(self) -> None:
        assert values.teachers([]) is None

    def test_several_by_name(self) -> None:
        texts = ["big=runs/lr=0.1", 'small_2=ensemble("runs/a", "runs/b")']
        assert values.teachers(texts) == {
            "big": "runs/lr=0.1",
            "small_2": 'ensemble("runs/a", "runs/b")',
        }

    def test_a_directory_may_look_like_a_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert values.teachers(["seed=1"]) == {"seed": "1"}
        (tmp_path / "seed=1").mkdir()
        assert values.teachers(["seed=1"]) == "seed=1"

    def test_names_that_are_missing_or_the_same(self) -> None:
        assert refusal(values.teachers, ["big=runs/a", "big=runs/b"]) == "two teachers are named 'big'"
        assert refusal(values.teachers, ["big=runs/a", "runs/b"]) == (
            "several teachers have a name each, --teacher NAME=runs/b; 'runs/b' has none"
        )


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("false", False), ("auto", "auto"), ("fast", "fast"), (None, None)]
)
def test_compiling(text: str | None, value: object) -> None:
    assert values.compiling(text) is value


def test_max_drop() -> None:
    assert [values.max_drop_from(text) for text in ("auto", "none", "0.5", "-1")] == ["auto", None, 0.5, -1.0]
    assert refusal(values.max_drop_from, "much") == "--max-drop takes a number, none or auto, not 'much'"
