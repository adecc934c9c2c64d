"""benchmarks/speed: every piece runs."""

import sys
from pathlib import Path

import pytest
from benchmarks.speed.__main__ import main

SHARED = Path(__file__).parents[3] / "shared" / "data"


def test_a_whole_run_is_refused_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["speed", "whole"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.splitlines()[-1].endswith("is for a GPU; add --device cuda")


@pytest.mark.slow
def test_every_piece_runs_and_is_in_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sections = {
        "step": "## 1. A step",
        "epochs": "## 2. Epochs: resnet56 -> resnet20",
        "memory": "## 3. Memory",
        "filling": "## 3. Filling a cache, CPU, batch 64",
        "start": "## 4. From the command to the first step",
    }
    if not (SHARED / "cifar100").is_dir():
        del sections["epochs"], sections["filling"]
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path))  # main sets another one
    given = ["--quick", "--workers", "1", "--scratch", str(tmp_path), "--shared", str(SHARED)]
    monkeypatch.setattr(sys, "argv", ["speed", *sections, *given])
    main()
    text = (tmp_path / "quick" / "README.md").read_text(encoding="utf-8")
    assert [title for title in sections.values() if title not in text] == []
    assert "Not measured: no GPU was to be had." in text
