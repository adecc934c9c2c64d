from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from full_disk import full_disk
from limbeck.errors import LimbeckError
from limbeck.training.history import History, read_history


def test_every_line_is_on_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "metrics.jsonl"
    history = History(path)
    for epoch in (1, 2):
        history.add({"epoch": epoch, "terms": {"ce": 0.1 + 0.2}})
        written = [json.loads(line) for line in path.read_text().splitlines()]
        assert written[-1] == {"epoch": epoch, "terms": {"ce": 0.1 + 0.2}}
        assert len(written) == history.lines == epoch
    assert history.last == {"epoch": 2, "terms": {"ce": 0.1 + 0.2}}


def test_a_new_history_goes_on_in_the_same_file(tmp_path: Path) -> None:
    History(tmp_path / "metrics.jsonl").add({"epoch": 1})
    History(tmp_path / "metrics.jsonl").add({"epoch": 2})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"epoch": 1}\n{"epoch": 2}\n'


def test_rewind_keeps_the_first_lines_and_drops_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    history = History(path)
    for epoch in range(1, 4):
        history.add({"epoch": epoch})
    with path.open("a") as file:
        file.write('{"epoch": 4, "ter')
    resumed = History(path)
    resumed.rewind(2)
    assert resumed.lines == 2
    resumed.add({"epoch": 3})
    assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()] == [1, 2, 3]
    assert [each.name for each in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_without_a_file_it_only_counts(tmp_path: Path) -> None:
    history = History(None)
    history.add({"epoch": 1})
    assert history.lines == 1
    history.rewind(0)
    assert history.lines == 0


def test_rewinding_what_is_not_there_makes_no_file(tmp_path: Path) -> None:
    History(tmp_path / "metrics.jsonl").rewind(0)
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_is_written_with_the_next_line_that_does(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    history = History(path)
    history.add({"epoch": 1})
    with (
        full_disk(20),
        pytest.raises(LimbeckError, match="cannot be written: No space left"),
    ):
        history.add({"epoch": 2, "much": "x" * 100})
    assert path.read_text() == '{"epoch": 1}\n', "no half of a line"
    assert history.lines == 2
    history.add({"epoch": 3})
    assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()] == [1, 2, 3]


def test_what_somebody_has_removed_is_written_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    history = History(folder / "metrics.jsonl")
    history.add({"epoch": 1})
    shutil.rmtree(folder)
    history.add({"epoch": 2})
    assert read_history(folder / "metrics.jsonl") == ([{"epoch": 1}, {"epoch": 2}], 0)
