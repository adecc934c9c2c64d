from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import limbeck
from limbeck import urls
from limbeck.errors import LimbeckError
from limbeck.studies import running
from limbeck.studies.cells import Cells, cells_of
from limbeck.studies.compare import compare
from limbeck.studies.records import Records
from limbeck.studies.remote import Remote
from limbeck.studies.running import run_study
from limbeck.studies.study import Figures, read_study
from study_files import write_study

URL = "memory://study-of-tests"
PAIRS = [{"student": "tiny", "teacher": "big"}]


def study(folder: Path) -> tuple[Cells, Records]:
    return cells_of(read_study(write_study(folder, seeds=1, pairs=PAIRS)), folder / "home"), Records(
        folder / "home" / "results.json"
    )


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cells, Records]:
    """A study whose teacher and student alone are finished and copied up."""
    folder = tmp_path_factory.mktemp("up")
    cells, records = study(folder)
    begun = Cells(cells.teachers, tuple(cell for cell in cells.students if cell.objective == "alone"))
    run_study(begun, folder / "home", records, Figures(), keep=Remote(URL).push)
    return cells, records


def test_what_was_copied_up_counts_on_another_machine_and_teachers_come_down(
    up: tuple[Cells, Records], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, records = study(tmp_path)
    remote = Remote(URL)
    remote.pull(cells, records)
    assert records.read() == up[1].read()
    assert not (tmp_path / "home" / "teachers").exists()
    said: list[str] = []
    remote.fetch_teachers(cells, tmp_path / "home", records, said.append)
    assert said == [f"teachers/big is copied from {URL}"]
    monkeypatch.setattr(running, "train", None)
    progress = run_study(cells, tmp_path / "home", records, Figures(), keep=remote.push)
    assert progress.finished == tuple(cell.key for cell in cells.all)
    assert urls.exists(f"{URL}/data/tiny-of-big/kd-0/student.safetensors")
    assert not urls.exists(f"{URL}/data/tiny-of-big/kd-0/checkpoints")
    remote.fetch_teachers(cells, tmp_path / "home", records, said.append)
    assert len(said) == 1, "nothing is left that needs one"


def test_what_is_finished_here_and_not_there_is_copied_up(up: tuple[Cells, Records]) -> None:
    cells, records = up
    other = Remote("memory://other-study-of-tests")
    other.push_missing(cells, records.read())
    assert urls.read_text(f"{other.url}/data/tiny/alone-0/cell.json") == urls.read_text(
        f"{URL}/data/tiny/alone-0/cell.json"
    )


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    cells, records = study(tmp_path)
    urls.write_text("memory://damaged/teachers/big/cell.json", "{}")
    with pytest.raises(LimbeckError, match=r"damaged/teachers/big/cell.json' is no record of a cell"):
        Remote("memory://damaged").pull(cells, records)


def test_a_run_at_an_address_is_loaded_and_compared(up: tuple[Cells, Records], tmp_path: Path) -> None:
    alone = next(cell for cell in up[0].students if cell.objective == "alone")
    there = limbeck.load(f"{URL}/{alone.key}")
    here: Any = limbeck.load(alone.path)
    for name, value in here.state_dict().items():
        assert torch.equal(there.state_dict()[name], value)
    shutil.copytree(alone.path, tmp_path / "copy")
    found = compare([f"{URL}/{alone.key}"])
    assert found.contenders[0].results == compare([tmp_path / "copy"]).contenders[0].results
    with pytest.raises(LimbeckError, match="there is nothing at 'memory://nowhere'"):
        limbeck.load("memory://nowhere")
    with pytest.raises(LimbeckError, match="there is nothing at 'memory://nowhere'"):
        compare(["memory://nowhere"])


def test_a_finished_teacher_replaces_an_unfinished_one_and_what_a_crash_left(
    up: tuple[Cells, Records], tmp_path: Path
) -> None:
    cells, records = study(tmp_path)
    (teacher,) = cells.teachers
    for name in ("big", ".big.partial"):
        file = teacher.path.with_name(name) / "left.txt"
        file.parent.mkdir(parents=True)
        file.write_text("of a crash")
    Remote(URL).fetch_teachers(cells, tmp_path / "home", records, lambda text: None)
    assert teacher.run.result == up[0].teachers[0].run.result
    assert not (teacher.path / "left.txt").exists()
    assert [file.name for file in teacher.path.parent.iterdir()] == ["big"]


def test_messages_name_the_address_of_a_run(up: tuple[Cells, Records]) -> None:
    urls.write_text("memory://no-run/a/notes.txt", "nothing")
    with pytest.raises(LimbeckError, match=r"^'memory://no-run/a' is no run's directory"):
        compare(["memory://no-run/a/"])
    urls.write_text("memory://no-run/b/config.yaml", "objective: ce")
    alone = next(cell for cell in up[0].students if cell.objective == "alone")
    found = compare([f"{URL}/{alone.key}", "memory://no-run/b"], anyway=True)
    assert "'memory://no-run/b' is not finished, and is left out." in found.notes
