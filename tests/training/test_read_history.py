from __future__ import annotations

from pathlib import Path

import pytest

from limbeck.errors import LimbeckError
from limbeck.training.history import read_history


def test_half_a_line_after_a_crash_is_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 1}\n\n{"epoch": 2}\n{"epoch": 3, "ter')
    assert read_history(path) == ([{"epoch": 1}, {"epoch": 2}], 1)


def test_what_is_no_mapping_or_no_text_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"epoch": 1}\n17\n\xff\xfe\n{"epoch": 2}\n')
    assert read_history(path) == ([{"epoch": 1}, {"epoch": 2}], 2)


def test_a_whole_history_and_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"terms": {"ce": 0.5}}\n')
    assert read_history(path) == ([{"terms": {"ce": 0.5}}], 0)
    path.write_text("")
    assert read_history(path) == ([], 0)


def test_the_phase_of_an_old_line_stands_under_stage(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"stage": "training", "epoch": 1}\n{"phase": "mgd.low", "epoch": 2}\n')
    assert read_history(path)[0] == [
        {"phase": "training", "epoch": 1},
        {"phase": "mgd.low", "epoch": 2},
    ]


def test_a_missing_history_is_named(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=r"none\.jsonl cannot be read"):
        read_history(tmp_path / "none.jsonl")
