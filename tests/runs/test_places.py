from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_runs import make_student, make_teacher

import limbeck
from limbeck.errors import LimbeckError
from limbeck.runs import Run
from limbeck.runs.places import located


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose teacher's path counts from the working directory, which has changed since."""
    monkeypatch.chdir(tmp_path)
    make_teacher(Path("runs/teacher"))
    made = make_student(Path("runs/student"), "runs/teacher")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return Run(tmp_path / made.path)


def test_the_config_keeps_the_text_and_the_environment_the_places(run: Run) -> None:
    assert run.config.teacher is not None
    assert run.config.teacher.model == "runs/teacher"
    place = run.environment["places"]["runs/teacher"]
    assert place["relative"] == "../teacher"
    assert place["absolute"] == str(run.path.parent / "teacher")
    assert len(place["weights"]) == 16


def test_the_teacher_is_measured_from_elsewhere(run: Run) -> None:
    found = limbeck.evaluate(run, overwrite=True)
    assert "teacher" in found.networks


def test_both_may_have_been_moved_together(run: Run, tmp_path: Path) -> None:
    shutil.move(tmp_path / "runs", tmp_path / "moved")
    assert run.path == tmp_path / "runs" / "student"
    moved = Run(tmp_path / "moved" / "student")
    assert moved.config.teacher is not None
    found = Path(located(moved.config.teacher, moved).model)
    assert found.resolve() == tmp_path / "moved" / "teacher"


def test_a_path_may_be_a_mere_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = Run(tmp_path / make_student(Path("student"), make_teacher(Path("teacher"))).path)
    monkeypatch.chdir("/")
    assert made.config.teacher is not None
    assert made.config.teacher.model == "teacher"
    assert Path(located(made.config.teacher, made).model).resolve() == tmp_path / "teacher"


def test_another_teacher_in_its_place_is_refused(run: Run) -> None:
    make_teacher(run.path.parent / "teacher", seed=5, overwrite=True)
    assert run.config.teacher is not None
    with pytest.raises(
        LimbeckError, match=r"have changed since the run in .* began: their digest was \w{16} and"
    ):
        located(run.config.teacher, run)
