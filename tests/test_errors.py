"""The one error a user sees, and the hint at the nearest right name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from limbeck.errors import LimbeckError, told, unknown

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


def raised(text: str, place: Path) -> str:
    """What is told of the error that a file of the user's ends in."""
    place.write_text(text)
    with pytest.raises(Exception) as caught:  # noqa: PT011 (whatever it is)
        exec(compile(text, str(place), "exec"), {"json": json})
    traceback = caught.value.__traceback__
    assert traceback is not None
    return told(caught.value.with_traceback(traceback.tb_next))


def test_an_error_is_told_with_the_innermost_line_of_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    in_her_own = "\n\ndef make():\n    raise ValueError('even\\nand more')\n\nmake()\n"
    assert raised(in_her_own, tmp_path / "nets.py") == "even (ValueError at nets.py:4)"
    in_a_library = "\njson.loads('{')\n"
    assert raised(in_a_library, tmp_path / "nets.py").endswith("(JSONDecodeError at nets.py:2)")
    assert raised("raise KeyError", tmp_path / "nets.py") == "KeyError at nets.py:1"
    monkeypatch.chdir("/")
    elsewhere = tmp_path / "nets.py"
    assert raised("1 / 0", elsewhere) == f"division by zero (ZeroDivisionError at {_seen(elsewhere)}:1)"


def _seen(file: Path) -> str:
    """From the root, everything is below the working directory."""
    return str(file.relative_to("/"))


def test_an_error_without_a_place_is_told_without_one() -> None:
    assert told(ValueError("odd")) == "odd (ValueError)"
    assert told(ValueError()) == "ValueError"
