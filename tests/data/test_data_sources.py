from __future__ import annotations

from pathlib import Path

import pytest

from limbeck.data import SOURCES, load
from limbeck.errors import LimbeckError


def test_a_loaded_source_bears_the_text_that_makes_it() -> None:
    data = load("digits(labeled=20)")
    assert data.name == "digits(labeled=20, seed=0)"
    assert load(data.name).fingerprint() == data.fingerprint()
    assert load("digits").fingerprint() != data.fingerprint()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("digit", "unknown data set 'digit'; did you mean 'digits'?"),
        ("digits(labelled=100)", "unknown argument of digits 'labelled'; did you mean 'labeled'?"),
        ("digits(100)", r"digits takes its arguments by name \(labeled, seed\)"),
        ("0.5*digits", "must be one name"),
        ("digits; import os", "not in the notation"),
    ],
)
def test_refuses(spec: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        load(spec)


def test_a_directory_that_would_be_ignored_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match="data set 'digits' has no use for data_dir"):
        load("digits", data_dir=tmp_path)


def test_every_entry_says_what_it_is() -> None:
    assert all(entry.summary and entry.source for entry in SOURCES.values())
