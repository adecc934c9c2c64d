from __future__ import annotations

import math
from pathlib import Path

import pytest

from limbeck.errors import LimbeckError
from limbeck.evaluation.results import Bin, Timing, read


def test_a_file_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "evaluation.json") is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "all of it: Invalid JSON"),
        ('{"version": 2}', "version: Input should be 1"),
        ("{}", "suite: Field required"),
    ],
)
def test_a_damaged_file_is_named(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(LimbeckError, match=f"evaluation.json' is damaged: {problem}"):
        read(tmp_path / "evaluation.json")


def test_records_are_checked_and_cannot_be_changed() -> None:
    timing = Timing(median_ms=1, p95_ms=2)
    with pytest.raises(ValueError, match="frozen"):
        timing.median_ms = 3  # type: ignore[misc]
    with pytest.raises(ValueError, match="Extra inputs"):
        Timing(median_ms=1, p95_ms=2, p99_ms=3)  # type: ignore[call-arg]


def test_what_is_no_number_survives_the_file() -> None:
    found = Bin(confidence=math.nan, accuracy=math.inf, samples=1)
    again = Bin.model_validate_json(found.model_dump_json())
    assert math.isnan(again.confidence)
    assert again.accuracy == math.inf
