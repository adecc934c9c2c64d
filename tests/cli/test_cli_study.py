from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import Command

from limbeck import urls
from limbeck.studies import running
from limbeck.studies.cells import cells_of
from limbeck.studies.records import Records
from limbeck.studies.study import read_study
from study_files import SMALL, write_study
from study_records import records_of

ALONE: dict[str, Any] = {"objectives": {"alone": "ce"}, "teachers": {}, "pairs": None, "seeds": 1}


def top1(name: str, seed: int) -> float:
    return 0.7 + seed / 100 + {"teacher": 0.2, "alone": 0.0, "KD": 0.02 + seed % 2 / 100}[name]


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., Path]:
    """Writes a study with the figures of all its cells, but those whose key holds a word."""

    def write(without: str = "nothing") -> Path:
        file = write_study(tmp_path, seeds=5)
        home = tmp_path / "runs" / "tries"
        cells = cells_of(read_study(file), home)
        found = records_of(cells, tmp_path / "made", top1)
        kept = {key: record for key, record in found.items() if without not in key}
        Records(home / "results.json").add(kept)
        return file

    return write


def test_a_study_is_planned_run_and_told(command: Command, tmp_path: Path) -> None:
    file = write_study(tmp_path, **ALONE)
    planned = command("study", "plan", file)
    assert planned.code == 0
    assert "data/tiny/alone" in planned.out
    assert not (tmp_path / "runs").exists()
    done = command("study", "run", file)
    assert (done.code, done.out) == (0, "1 of 1 cells are finished\n")
    assert (tmp_path / "runs/tries/data/tiny/alone-0/report.html").exists()
    assert command("study", "status", file).out == "1 of 1 cells are finished, 0 failed.\n"
    assert "none from 1 of 5 seeds" not in command("study", "table", file).out


def test_ctrl_c_stops_and_the_same_command_goes_on(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_study(tmp_path, **ALONE)

    def interrupted(**given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(running, "train", interrupted)
        stopped = command("study", "run", file)
    assert stopped.code == 130
    assert "stopped; 0 of 1 cells are finished, and the same command goes on" in stopped.err
    assert command("study", "run", file).code == 0


def test_a_failure_ends_with_its_log_and_exit_code_1(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(**given: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(running, "train", fails)
    failed = command("study", "run", write_study(tmp_path, **ALONE))
    assert failed.code == 1
    assert "failed: data/tiny/alone-0, log" in failed.out


def test_tables_page_and_formats(command: Command, recorded: Callable[..., Path], tmp_path: Path) -> None:
    file = recorded()
    assert "+2.40 (+1.72 to +3.08)" in command("study", "table", file, "--format", "markdown").out
    rows = command("study", "table", file, "--format", "csv").out.splitlines()
    assert rows[0].startswith("data,student,teachers,objective")
    assert len(rows) == 5
    assert command("study", "report", file).code == 0
    page = (tmp_path / "runs" / "tries" / "report.html").read_text(encoding="utf-8")
    assert "Does a teacher help?" in page


@pytest.mark.parametrize(
    ("without", "message"),
    [
        ("alone", "the baseline 'alone' is not finished with any seed"),
        ("kd-3", "the seeds are not paired: 'KD' was not run with seed 3, and 'alone' was"),
    ],
)
def test_a_missing_baseline_and_unpaired_seeds_are_errors(
    command: Command, recorded: Callable[..., Path], without: str, message: str
) -> None:
    file = recorded(without)
    refused = command("study", "table", file)
    assert refused.code == 2
    assert message in refused.err
    assert command("study", "table", file, "--partial").code == 0


def test_a_changed_study_lists_its_cells(
    command: Command, recorded: Callable[..., Path], tmp_path: Path
) -> None:
    recorded()
    changed = write_study(tmp_path, seeds=5, training={**SMALL["training"], "epochs": 3})
    for name in ("run", "table", "report"):
        refused = command("study", name, changed)
        assert refused.code == 2
        assert "cells were begun" in refused.err
        assert "data/tiny/alone-0: training.epochs was 2 and is 3" in refused.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nothing.yaml"], "there is no study 'nothing.yaml'"),
        (["run", "cifar100-crb"], "unknown study 'cifar100-crb'; did you mean 'cifar100-crd'"),
        (["run", "tries.yaml", "--scale", "tiny"], "the scale (--scale) is full or small, not 'tiny'"),
        (["run", "tries.yaml", "--only", "CRD"], "no cell of the study has 'CRD' (--only) in its name"),
        (["table", "tries.yaml"], "no cell of the study is finished yet"),
        (["table", "tries.yaml", "--published"], "no cell of the study is finished yet"),
        (["run", "tries.yaml", "--out", "tries.yaml"], "is a file; a study needs a directory (--out)"),
        (["run", "tries.yaml", "--launcher", "rai"], "(--launcher) is here, ray or slurm, not 'rai'"),
        (["run", "tries.yaml", "--launcher", "slurm"], "there is no Slurm here: sbatch is not found"),
        (
            ["run", "tries.yaml", "--launcher", "slurm", "--slurm", "a"],
            "--slurm takes key=value",
        ),
        (["run", "tries.yaml", "--slurm", "a=1"], "--slurm is for --launcher slurm"),
        (["run", "tries.yaml", "--gpus", "1"], "--cpus and --gpus are for --launcher ray and slurm"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    command: Command, tmp_path: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    write_study(tmp_path)
    refused = command("study", *arguments)
    assert refused.code == 2
    assert message in refused.err
    assert not (tmp_path / "runs").exists()


def test_a_network_that_does_not_fit_is_refused_before_the_first_run(
    command: Command, tmp_path: Path
) -> None:
    refused = command("study", "run", write_study(tmp_path, students={"tiny": "mpl(hidden=[4])"}))
    assert refused.code == 2
    assert "data/tiny/alone-0: unknown model 'mpl'; did you mean 'mlp'" in refused.err
    assert not (tmp_path / "runs").exists()


def test_files_and_directory_of_a_study_may_have_addresses(command: Command, tmp_path: Path) -> None:
    home = "memory://cli-study/home"
    urls.write_text("memory://cli-study/tries.yaml", write_study(tmp_path, **ALONE).read_text())
    file = "memory://cli-study/tries.yaml"
    assert command("study", "run", file, "--out", home).out == "1 of 1 cells are finished\n"
    shutil.rmtree(tmp_path / "runs")
    assert command("study", "status", file, "--out", home).out == "1 of 1 cells are finished, 0 failed.\n"
    assert command("study", "run", file, "--out", home).out == "1 of 1 cells are finished\n"
    assert not (tmp_path / "runs" / "tries" / "data").exists(), "the cell is not run again"
    told = command(
        "study", "table", file, "--out", home, "--format", "csv", "--file", "memory://cli-study/t.csv"
    )
    assert (told.code, told.out, told.err) == (0, "", "memory://cli-study/t.csv\n")
    assert urls.read_text("memory://cli-study/t.csv").startswith("data,student,teachers,objective")
    assert command("study", "report", file, "--out", home).out == f"{home}/report.html\n"
    assert "Does a teacher help?" in urls.read_text(f"{home}/report.html")
    run = f"{home}/data/tiny/alone-0"
    compared = command("compare", run, "--format", "csv", "--out", "memory://cli-study/c.csv")
    assert compared.code == 0, compared.err
    assert "exists; say --overwrite" in command("compare", run, "--out", "memory://cli-study/c.csv").err
    refused = command("study", "run", file, "--results", "memory://cli-study/r.json")
    assert "--results is on this machine, and 'memory://cli-study/r.json' is an address" in refused.err
    assert "there is no such file" in command("study", "run", "memory://cli-study/none.yaml").err
