"""limbeck.data.lettering: names in other scripts than Latin."""

from __future__ import annotations

import subprocess

import pytest

from limbeck.data import lettering
from limbeck.data.lettering import font_for


@pytest.fixture(autouse=True)
def fresh() -> None:
    lettering._installed.cache_clear()


def test_latin_names_have_the_font_of_pillow() -> None:
    font = font_for("cat 7", 14)
    assert font is not None
    assert font.getname() == ("Aileron", "Regular")  # type: ignore[union-attr]


def test_another_script_has_a_font_that_holds_its_letters() -> None:
    listed = subprocess.run(["sh", "-c", "fc-list :charset=43a file"], capture_output=True, text=True).stdout
    if not listed.strip():
        pytest.skip("no font with Cyrillic letters is installed")
    font = font_for("кот", 14)
    assert font is not None
    assert bytes(font.getmask("к")) != bytes(font.getmask(lettering.NO_LETTER))
    assert bytes(font.getmask("к")) != bytes(font.getmask("т"))


def test_without_a_font_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert font_for("кот", 14) is None
    assert font_for("cat", 14) is not None


def test_a_letter_that_nobody_has() -> None:
    assert font_for("\U0010fffd", 14) is None
