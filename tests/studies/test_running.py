from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from interrupting import interrupted_after
from limbeck.config import RunConfig
from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.runs import job_data
from limbeck.studies import running
from limbeck.studies.cells import Cell, Cells, cells_of, slug
from limbeck.studies.records import CellRecord, Records
from limbeck.studies.rehearsal import rehearse
from limbeck.studies.running import run_study
from limbeck.studies.status import status
from limbeck.studies.study import Figures, read_study
from study_files import SMALL, write_study

NOISE = Figures(noise=20)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cells, Path, Records]:
    home = tmp_path_factory.mktemp("study")
    cells = cells_of(read_study(write_study(home)), home)
    records = Records(home / "results.json")
    progress = run_study(cells, home, records, NOISE)
    assert progress.finished == tuple(cell.key for cell in cells.all)
    assert not progress.failed
    return cells, home, records


def forbidden(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("a finished cell is run again")


def test_every_cell_is_an_ordinary_run_with_a_record(done: tuple[Cells, Path, Records]) -> None:
    cells, _, records = done
    found = records.read()
    for cell in cells.all:
        assert cell.run.finished
        assert found[cell.key].result == cell.run.result
        assert found[cell.key].identity == cell.identity
    student = found["data/tiny-of-middle/kd-1"]
    assert [point.steps for point in student.curve] == [40, 80]
    assert student.curve[-1].validation == student.result.metrics.on("validation")["top1"]
    assert student.correct is not None
    test = student.result.metrics.on("test")["top1"]
    assert student.correct.mean() == pytest.approx(test)
    assert len(student.correct) == student.tested == 500
    assert student.noisy is not None
    assert len(student.noisy["gaussian_noise"]) == 5
    assert student.result.teacher is not None
    assert student.result.teacher.cached == ("logits",)


def test_what_is_finished_is_not_run_again_even_where_its_directory_is_gone(
    done: tuple[Cells, Path, Records], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, _, records = done
    monkeypatch.setattr(running, "train", forbidden)
    monkeypatch.setattr(running, "distill", forbidden)
    elsewhere = cells_of(read_study(write_study(tmp_path)), tmp_path / "other")
    assert run_study(elsewhere, tmp_path / "other", records, NOISE).finished == tuple(
        cell.key for cell in cells.all
    )


def test_a_changed_study_lists_what_changed_and_runs_nothing(
    done: tuple[Cells, Path, Records], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, home, records = done
    monkeypatch.setattr(running, "train", forbidden)
    training = {**SMALL["training"], "epochs": 3}
    changed = cells_of(read_study(write_study(tmp_path, training=training)), home)
    with pytest.raises(LimbeckError, match="these 6 cells were begun") as error:
        run_study(changed, home, records, NOISE)
    assert "data/tiny/alone-0: training.epochs was 2 and is 3" in str(error.value)
    without = Records(tmp_path / "none.json")
    with pytest.raises(LimbeckError, match=r"tiny/alone-0: training.epochs was 2 and is 3"):
        run_study(changed, home, without, NOISE)


def test_an_interrupted_cell_goes_on_and_status_tells(tmp_path: Path) -> None:
    file = write_study(tmp_path, objectives={"alone": "ce"}, seeds=1, pairs=[{"student": "tiny"}])
    cells, records = cells_of(read_study(file), tmp_path), Records(tmp_path / "results.json")
    with interrupted_after(1):
        run_study(cells, tmp_path, records, Figures())
    before = status(cells, tmp_path, records)
    assert [(each.state, each.epochs) for each in before.cells] == [("begun", 1)]
    assert before.seconds is None
    (cell,) = cells.all
    with FileLock(tmp_path / "locks" / f"{slug(cell.key)}.lock"):
        assert [each.state for each in status(cells, tmp_path, records).cells] == ["running"]
        assert run_study(cells, tmp_path, records, Figures()).elsewhere == (cell.key,)
    run_study(cells, tmp_path, records, Figures())
    assert [line["epoch"] for line in cell.run.history] == [1, 2]
    after = status(cells, tmp_path, records)
    assert [each.state for each in after.cells] == ["finished"]
    assert after.seconds == 0


def test_a_failed_cell_is_tried_twice_and_logged_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_study(tmp_path, seeds=1)
    cells, records = cells_of(read_study(file), tmp_path), Records(tmp_path / "results.json")
    tries = []

    def fails(**given: Any) -> None:
        tries.append(given["out"])
        raise RuntimeError("out of luck")

    monkeypatch.setattr(running, "distill", fails)
    progress = run_study(cells, tmp_path, records, Figures())
    assert set(progress.finished) == {"teachers/big", "data/tiny/alone-0"}
    assert set(progress.failed) == {"teachers/middle", "data/tiny-of-big/kd-0"}
    assert progress.waiting == ("data/tiny-of-middle/kd-0",)
    assert len(tries) == 4
    log = progress.failed["data/tiny-of-big/kd-0"].read_text()
    assert log.count("out of luck") >= 2
    assert "attempt 2 of 2" in log
    assert status(cells, tmp_path, records).count("failed") == 2


def test_rehearsal_makes_each_kind_before_the_first_run_and_times_it(tmp_path: Path) -> None:
    cells = cells_of(read_study(write_study(tmp_path)), tmp_path / "home")
    kinds = rehearse(cells, ["data/tiny/alone-0"], timed=True)
    assert [(kind.name, kind.cells, kind.left) for kind in kinds][2:] == [
        ("data/tiny/alone", 2, 1),
        ("data/tiny-of-big/kd", 2, 2),
        ("data/tiny-of-middle/kd", 2, 2),
    ]
    assert all(kind.seconds is not None and kind.seconds > 0 for kind in kinds)
    assert not (tmp_path / "home").exists()
    wrong = cells_of(read_study(write_study(tmp_path, students={"tiny": "mpl"})), tmp_path / "home")
    with pytest.raises(LimbeckError, match=r"data/tiny/alone-0: unknown model 'mpl'"):
        rehearse(wrong, [], timed=False)


def test_a_damaged_file_of_figures_is_named(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"cells": {"a": {}}}')
    with pytest.raises(LimbeckError, match=r"results.json' holds no figures of a study"):
        Records(tmp_path / "results.json").read()


def test_a_cell_that_cannot_be_kept_is_noted_and_the_rest_goes_on(tmp_path: Path) -> None:
    file = write_study(tmp_path, objectives={"alone": "ce"}, teachers={}, pairs=None)
    cells, records = cells_of(read_study(file), tmp_path), Records(tmp_path / "results.json")
    said: list[str] = []

    def keep(cell: Cell, record: CellRecord) -> None:
        raise LimbeckError("'s3://away' cannot be written")

    progress = run_study(cells, tmp_path, records, Figures(), note=said.append, keep=keep)
    assert progress.finished == ("data/tiny/alone-0", "data/tiny/alone-1")
    assert said[2] == "data/tiny/alone-1 is finished and could not be kept: 's3://away' cannot be written"


def test_a_bound_on_steps_counts_in_epochs_that_are_planned_and_left(tmp_path: Path) -> None:
    training = {**SMALL["training"], "epochs": 9, "max_steps": 3}
    chosen: dict[str, Any] = {"objectives": {"alone": "ce"}, "teachers": {}}
    file = write_study(tmp_path, training=training, pairs=[{"student": "tiny"}], **chosen)
    cells, records = cells_of(read_study(file), tmp_path), Records(tmp_path / "results.json")
    assert [kind.epochs for kind in rehearse(cells, [], timed=False)] == [2], "of 2 steps, and of 1"
    run_study(cells.only(["alone-0"]), tmp_path, records, Figures())
    with interrupted_after(1):
        run_study(cells, tmp_path, records, Figures())
    found = status(cells, tmp_path, records)
    assert [(each.epochs, each.planned) for each in found.cells] == [(2, 2), (1, 2)]
    assert found.seconds == pytest.approx(records.read()["data/tiny/alone-0"].result.seconds / 2)


def test_data_whose_samples_all_have_labels_is_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []

    def data_of(config: RunConfig) -> Source:
        looked.append(config.data.name)
        return job_data.data_of(config)

    monkeypatch.setattr(running, "data_of", data_of)
    cells = cells_of(read_study(write_study(tmp_path, data="iris")), tmp_path).only(["alone"])
    run_study(cells, tmp_path, Records(tmp_path / "results.json"), Figures())
    assert looked == ["iris"]


def test_what_is_above_a_cell_comes_after_what_it_needs(tmp_path: Path) -> None:
    cells = cells_of(read_study(write_study(tmp_path)), tmp_path)
    taught = next(cell for cell in cells.students if cell.key == "data/tiny-of-middle/kd-0")
    assert [cell.key for cell in taught.above] == ["teachers/big", "teachers/middle"]
    assert [cell.key for cell in cells.only(["tiny-of-middle"]).teachers] == [
        "teachers/big",
        "teachers/middle",
    ]
