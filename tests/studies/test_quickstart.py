from __future__ import annotations

import re
from pathlib import Path

import pytest
from command import Command

import limbeck
from limbeck.studies import quickstart


def test_it_refuses_a_directory_with_something_else(tmp_path: Path, command: Command) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("irreplaceable")
    answer = command("quickstart", "--out", "mine")
    assert answer.code == 2
    assert "'mine' holds something else; choose another out (--out)" in answer.err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "irreplaceable"


def test_it_leaves_a_teacher_of_the_user_s_alone(tmp_path: Path, command: Command) -> None:
    (tmp_path / "runs" / "teacher").mkdir(parents=True)
    (tmp_path / "runs" / "teacher" / "config.yaml").write_text("student: cnn")
    assert command("quickstart", "--out", "runs").code == 2
    (tmp_path / "file").write_text("")
    answer = command("quickstart", "--out", "file")
    assert answer.code == 2
    assert "'file' holds something else" in answer.err


@pytest.mark.slow
def test_a_small_student_gains_and_the_page_says_so(tmp_path: Path, command: Command) -> None:
    with (
        pytest.MonkeyPatch.context() as patch
    ):  # a second quickstart replaces the first, which is a short one
        patch.setitem(quickstart.ALONE, "epochs", 2)
        patch.setitem(quickstart.DISTILLED, "epochs", 1)
        assert command("quickstart").code == 0
    answer = command("quickstart")
    assert answer.code == 0, answer.err
    folder = tmp_path / "quickstart"
    page = (folder / "report.html").read_text(encoding="utf-8")
    alone, distilled = (
        [limbeck.Run(folder / f"{name}-{seed}").result.metrics.on("test")["top1"] for seed in range(5)]
        for name in ("alone", "distilled")
    )
    for values in (alone, distilled):
        mean = f"{100 * sum(values) / 5:.1f} ±"
        assert mean in answer.out
        assert mean in page
    assert "98." in re.sub(r"\s", " ", answer.out), "the teacher's accuracy"
    steps = [limbeck.Run(folder / f"{name}-0").history[-1]["step"] for name in ("alone", "distilled")]
    assert steps == [960, 960], "both train as long"
