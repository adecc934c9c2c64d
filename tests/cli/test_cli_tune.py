from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import Command

from limbeck.studies.tuning.search import Search
from tuned_studies import write_tuning


def test_a_study_is_tuned_stopped_and_told(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_tuning(tmp_path, seeds=1)

    def interrupted(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Search, "run", interrupted)
        stopped = command("tune", file)
    assert (stopped.code, stopped.err.splitlines()[-1]) == (130, "stopped; the same command goes on")
    done = command("tune", file)
    assert done.code == 0
    assert "What was tried" in done.out
    assert "distilled 0, " in done.err
    page = tmp_path / "runs" / "tries-tuned" / "report.html"
    assert done.out.splitlines()[-1] == str(page.relative_to(tmp_path))
    assert "Every trial, distilled" in page.read_text(encoding="utf-8")
    assert command("study", "run", file).err.startswith("limbeck: the study leaves weight, temperature open")


def test_what_is_wrong_is_one_sentence(command: Command, tmp_path: Path) -> None:
    refused = command("tune", "nothing.yaml")
    assert (refused.code, refused.err) == (2, "limbeck: there is no study 'nothing.yaml'\n")
    refused = command("tune", write_tuning(tmp_path, objectives={"alone": "ce", "KD": "$weigth*kd"}))
    assert refused.code == 2
    assert "'weigth'; did you mean 'weight'" in refused.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_two_processes_share_one_tuning(tmp_path: Path) -> None:
    file = write_tuning(tmp_path, seeds=1, tune={"budget": "2s"})
    arguments = [sys.executable, "-m", "limbeck", "tune", str(file)]
    workers = [
        subprocess.Popen(
            arguments,
            cwd=tmp_path,
            env={**os.environ},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    ended = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], ended
    told = [line.split(",")[0] for _, err in ended for line in err.splitlines() if line[-1:] != ":"]
    trials = [line for line in told if line.startswith(("distilled ", "alone "))]
    assert len(trials) == len(set(trials)), "each trial is one process's"
    assert all("What was tried" in out for out, _ in ended)
