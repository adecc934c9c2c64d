from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from limbeck.errors import LimbeckError
from limbeck.studies.cells import Cells, cells_of
from limbeck.studies.launchers import OnRay, OnSlurm
from limbeck.studies.records import Records
from limbeck.studies.running import Order, run_study
from limbeck.studies.study import Figures, read_study
from study_files import SMALL, write_study

NONE = Figures(samples=False)


def students(folder: Path, **changes: Any) -> tuple[Cells, Records]:
    """Two cells without a teacher."""
    alone: dict[str, Any] = {"objectives": {"alone": "ce"}, "teachers": {}, "pairs": None, "seeds": 2}
    cells = cells_of(read_study(write_study(folder, **{**alone, **changes})), folder)
    return cells, Records(folder / "results.json")


def test_nothing_to_run_needs_no_cluster() -> None:
    assert list(OnRay()([])) == list(OnSlurm()([])) == []


def test_a_cluster_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(LimbeckError, match="there is no Ray cluster here; start one with `ray start --head`"):
        OnRay().connected()
    assert signal.getsignal(signal.SIGTERM) == before, "Ray puts a handler of its own there"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(LimbeckError, match="there is no Slurm here: sbatch is not found"):
        OnSlurm().there()


@pytest.mark.parametrize(("launcher", "package"), [(OnRay(), "ray"), (OnSlurm(cluster="local"), "submitit")])
def test_a_package_that_is_not_there_is_one_sentence(
    launcher: Any, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    cells, records = students(tmp_path)
    extra = {"ray": "ray", "submitit": "slurm"}[package]
    with pytest.raises(LimbeckError, match=rf"{package} is not installed; .*limbeck\[{extra}\]"):
        run_study(cells, tmp_path, records, NONE, launcher=launcher)


def test_submitit_says_what_it_does_not_know(tmp_path: Path) -> None:
    cells, records = students(tmp_path)
    launcher = OnSlurm(parameters={"partiton": "gpu"}, cluster="local")
    with pytest.raises(LimbeckError, match=r"submitit refuses what --slurm says: .*partiton"):
        run_study(cells, tmp_path, records, NONE, launcher=launcher)


@pytest.mark.slow
def test_an_array_job_runs_the_cells_and_a_failed_one_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, records = students(tmp_path)
    begun = cells.students[1].path
    begun.mkdir(parents=True)
    (begun / "mine.txt").write_text("this is no run")
    monkeypatch.chdir(tmp_path)
    launcher = OnSlurm(parameters={"timeout_min": 5}, cluster="local")
    progress = run_study(cells, tmp_path, records, NONE, launcher=launcher)
    assert progress.finished == ("data/tiny/alone-0",)
    assert "holds files that are no run" in progress.failed["data/tiny/alone-1"].read_text()
    (begun / "mine.txt").unlink()
    assert run_study(cells, tmp_path, records, NONE, launcher=launcher).finished == tuple(
        cell.key for cell in cells.all
    )
    assert list((tmp_path / "slurm").glob("*_submitted.pkl"))
    assert not cells.students[0].path.parent.joinpath("slurm").exists()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Ray cluster on this machine with room for two cells."""
    ray = pytest.importorskip("ray")
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {"env_vars": {"PYTHONPATH": path}}
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env=environment,
    )
    yield ray
    ray.shutdown()


@pytest.mark.slow
def test_a_cell_whose_worker_is_killed_is_finished_by_another(tmp_path: Path, cluster: Any) -> None:
    training = {**SMALL["training"], "epochs": 100, "checkpoint_every": 5}
    cells, records = students(tmp_path, training=training)
    victim = cells.students[0]
    lock = str(Order(victim, tmp_path, records.path, NONE).lock)
    killed: list[int] = []
    seen: set[int] = set()

    def kill() -> None:
        until = time.monotonic() + 500
        while time.monotonic() < until and not victim.run.finished:
            at_it = _holding(lock)
            seen.update(at_it)
            if at_it and not killed and (victim.path / "checkpoints" / "last.pt").exists():
                os.kill(at_it[0], signal.SIGKILL)
                killed.append(at_it[0])
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    killer.start()
    progress = run_study(cells, tmp_path, records, NONE, launcher=OnRay())
    killer.join()
    assert killed
    assert len(seen) == 2, "another process finished it"
    assert progress.finished == tuple(cell.key for cell in cells.all)
    assert [line["epoch"] for line in victim.run.history] == list(range(1, 101))


def _holding(file: str) -> list[int]:
    """The processes that have a file open."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(each.path == file for each in process.open_files()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
