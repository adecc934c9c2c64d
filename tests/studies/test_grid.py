from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import limbeck
from limbeck.errors import LimbeckError
from limbeck.studies.grid import Grid

COMMON: dict[str, Any] = {
    "data": "digits(labeled=50)",
    "epochs": 1,
    "settings": {"training.trackers": []},
}


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Grid:
    path = tmp_path_factory.mktemp("grid")
    longer = {**COMMON, "epochs": 20, "batch_size": 10}
    teacher = limbeck.train(model="mlp(hidden=[16])", out=path / "teacher", display=False, **longer)
    contenders = {"student alone": "ce", "KD": "0.1*ce + 0.9*kd"}
    return Grid(path, contenders, seeds=(0, 1), student="mlp(hidden=[2])", teacher=teacher, common=COMMON)


def test_every_contender_runs_with_every_seed_and_a_teacher_where_it_reads_one(grid: Grid) -> None:
    done = [(name, seed, run.result) for name, seed, run in grid.run()]
    assert [item[:2] for item in done] == [("student alone", 0), ("KD", 0), ("student alone", 1), ("KD", 1)]
    assert [(result.seed, result.objective) for _, _, result in done] == [
        (seed, grid.contenders[name]) for name, seed, _ in done
    ]
    assert [bool(result.teachers) for _, _, result in done] == [False, True, False, True]


def test_what_is_finished_is_not_repeated_and_what_is_not_is_run(grid: Grid) -> None:
    list(grid.run())
    kept, lost = grid.path("KD", 0) / "student.safetensors", grid.path("student alone", 1)
    before = kept.stat().st_mtime_ns
    (lost / "result.json").unlink()
    assert [sorted(grid.finished(name)) for name in grid.contenders] == [[0], [0, 1]]
    list(grid.run())
    assert kept.stat().st_mtime_ns == before
    assert sorted(grid.finished("student alone")) == [0, 1]


def test_runs_of_other_settings_are_refused(grid: Grid) -> None:
    list(grid.run())
    other = Grid(grid.directory, {"KD": "kd"}, (0,), "mlp(hidden=[2])", grid.teacher, COMMON)
    with pytest.raises(LimbeckError, match="objective"):
        list(other.run())


def test_contenders_that_would_share_a_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match="'KD' and 'kd' would share a directory"):
        Grid(tmp_path, {"KD": "kd", "kd": "ce"}, (0,), "mlp")
