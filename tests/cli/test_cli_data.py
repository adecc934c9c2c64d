from __future__ import annotations

from pathlib import Path

import pytest
from command import Command
from PIL import Image


def test_the_list_and_one_of_it(command: Command) -> None:
    listed, one = command("data"), command("data", "synthetic-digits")
    assert listed.code == one.code == 0
    assert "synthetic_digits" in listed.out
    assert 'synthetic_digits(classes=100, images_per_class=None, glyphs="digits", seed=0)' in one.out
    assert (
        command("data", "synthetic_digits").out == one.out == command("data", "show", "synthetic_digits").out
    )


@pytest.mark.parametrize("name", ["synthetic-digits", "synthetic_digits(images_per_class=12)"])
def test_preview(command: Command, tmp_path: Path, name: str) -> None:
    answer = command("data", "preview", name, "--classes", "4", "--count", "2", "--out", "new/sheet.png")
    assert answer.code == 0
    assert "classes=4" in answer.out
    assert "new/sheet.png" in answer.out
    with Image.open(tmp_path / "new" / "sheet.png") as sheet:
        assert sheet.size == (
            2 * (2 * 68 + 8) + 4,
            2 * 92 + 28,
        )  # two by two classes of two images of 64 pixels
    again = command("data", "preview", name, "--classes", "4", "--count", "2", "--seed", "1")
    assert again.code == 0
    assert (tmp_path / "sheet.png").read_bytes() != (tmp_path / "new" / "sheet.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "unknown data set 'nothing'"),
        (["preview", "nothing"], "unknown data set 'nothing'"),
        (["preview", "digits", "--classes", "5"], "unknown argument of digits 'classes'"),
        (
            ["preview", "synthetic-digits(classes=5)", "--classes", "5"],
            "classes of synthetic_digits is given twice",
        ),
        (["preview", "synthetic-digits", "--classes", "1"], "classes=1 should be greater than or equal to 2"),
        (["preview", "wine"], "wine has none (table)"),
        (["preview", "digits", "--out", "sheet.gif"], "should end in .png"),
        (["preview", "digits", "--count", "0"], "count"),
    ],
)
def test_refuses(command: Command, tmp_path: Path, arguments: list[str], message: str) -> None:
    answer = command("data", *arguments)
    assert answer.code == 2
    assert message in answer.err
    assert "Traceback" not in answer.err
    assert not list(tmp_path.iterdir())
