"""Runs that make a teacher: one for a student to come, and one from which nobody shall learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Command, content
from small_runs import QUICK, same, state_of

import limbeck
from limbeck import models
from limbeck.errors import LimbeckError
from limbeck.runs import Run

TEACHER, STUDENT = "cnn(channels=[4, 6])", "cnn(channels=[3, 4])"
OBJECTIVE = f'ce + sftn(student="{STUDENT}")'


def terms_of(run: Run) -> list[dict[str, float]]:
    lines = map(json.loads, (run.path / "metrics.jsonl").read_text().splitlines())
    return [line["terms"] for line in lines if line["phase"] == "training"]


def test_a_teacher_made_for_a_student_teaches_it_by_any_method(command: Command, tmp_path: Path) -> None:
    options = ("--data", "digits", "--epochs", "2", "--batch-size", "100", "--set", "training.trackers=[]")
    answer = command("train", "--model", TEACHER, "--friendly-to", STUDENT, *options, "--out", "teacher")
    assert answer.code == 0, answer.err
    assert OBJECTIVE in answer.out.replace("\n", "")
    run = Run(tmp_path / "teacher")
    assert terms_of(run)[-1].keys() >= {"total", "ce", "sftn.kl", "sftn.ce"}
    plain = models.build(TEACHER, example=torch.rand(2, 1, 8, 8), num_classes=10)
    assert state_of(run).keys() == plain.state_dict().keys(), "it ships without the branches"
    assert run.result.student.parameters == models.count_parameters(plain)

    answer = command(
        "distill",
        "--student",
        STUDENT,
        "--teacher",
        "teacher",
        "--objective",
        "ce + kd",
        *options,
        "--out",
        "s",
    )
    assert answer.code == 0, answer.err
    assert Run(tmp_path / "s").finished

    again = limbeck.train(
        model=TEACHER, friendly_to=STUDENT, out=tmp_path / "again", **{**QUICK, "batch_size": 100}
    )
    written = limbeck.train(
        model=TEACHER, objective=OBJECTIVE, out=tmp_path / "written", **{**QUICK, "batch_size": 100}
    )
    assert same(state_of(again), state_of(written))
    assert same(state_of(again), state_of(run))
    resumed = command(
        "train", "--model", TEACHER, "--friendly-to", STUDENT, *options, "--out", "teacher", "--resume"
    )
    assert resumed.code == 0, resumed.err


@pytest.mark.parametrize(
    "options", [("--objective", "ce"), ("--objective", OBJECTIVE), ("--set", "objective=label_smoothing")]
)
def test_friendly_to_stands_for_an_objective(
    command: Command, tmp_path: Path, options: tuple[str, str]
) -> None:
    before = content(tmp_path)
    answer = command("train", "--model", TEACHER, "--friendly-to", STUDENT, *options, "--out", "run")
    assert answer.code == 2
    assert answer.err == (
        f"limbeck: friendly_to (--friendly-to) stands for the objective {OBJECTIVE!r}, and another is given; "
        "give one that has both, without friendly_to\n"
    )
    assert content(tmp_path) == before


def test_an_objective_of_a_file_gives_way(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(f"data: digits\nstudent: {TEACHER}\nobjective: label_smoothing\n")
    run = limbeck.train(file, friendly_to=STUDENT, out=tmp_path / "run", **{**QUICK, "epochs": 1})
    assert run.config.objective == OBJECTIVE


def test_a_student_that_cannot_branch_off_leaves_no_file(command: Command, tmp_path: Path) -> None:
    before = content(tmp_path)
    answer = command("train", "--model", TEACHER, "--friendly-to", "mlp", "--out", "run")
    assert answer.code == 2
    assert answer.err.startswith("limbeck: sftn has no adapter between stage 0 of the student (64,)")
    assert answer.err.count("\n") == 1
    assert content(tmp_path) == before


def nasty_run(out: Path, objective: str, **changes: Any) -> Run:
    given = {**QUICK, "batch_size": 50, "epochs": 4, "report": None, **changes}
    return limbeck.distill(student="mlp(hidden=[16])", objective=objective, out=out, **given)


def test_a_nasty_teacher_is_trained_against_its_normal_self(tmp_path: Path) -> None:
    run = limbeck.train(
        model="mlp(hidden=[16])",
        objective="ce + nasty(epochs=2, weight=0.1)",
        out=tmp_path / "nasty",
        **{**QUICK, "batch_size": 50, "epochs": 4},
    )
    phases = [json.loads(line)["phase"] for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert phases == ["nasty.normal"] * 2 + ["training"] * 4
    closeness = [terms["nasty.closeness"] for terms in terms_of(run)]
    assert max(closeness) < 0
    for terms in terms_of(run):
        assert terms["total"] == pytest.approx(terms["ce"] + 0.1 * terms["nasty.closeness"], rel=1e-4)
    assert "nasty.closeness" in (run.path / "report.html").read_text()
    assert (
        state_of(run).keys()
        == models.build("mlp(hidden=[16])", example=torch.rand(2, 64), num_classes=10).state_dict().keys()
    )

    student = nasty_run(tmp_path / "student", "ce + kd", teacher=run)
    assert student.finished
    other = nasty_run(tmp_path / "other", 'ce + nasty(normal="teacher")', teacher=run)
    assert max(terms["nasty.closeness"] for terms in terms_of(other)) < 0


def test_without_a_teacher_there_is_no_normal_self_to_read(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match="nasty learns from a teacher, and none was given"):
        limbeck.train(
            model=TEACHER, data="digits", objective='ce + nasty(normal="teacher")', out=tmp_path / "x"
        )
    assert not (tmp_path / "x").exists()
