"""A run that is planned and not done."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate.utils import LoggerType
from command import Command, content
from small_runs import make_teacher

from limbeck.errors import LimbeckError
from limbeck.runs import Run
from limbeck.runs.arguments import RunArguments
from limbeck.runs.dry_run import Plan, dry_run
from limbeck.training import trackers


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_teacher(tmp_path_factory.mktemp("dry") / "teacher")


def planned(run: Run, out: Path | None = None, **changes: Any) -> Plan:
    given = {"student": "mlp(hidden=[6])", "teacher": str(run.path), "batch_size": 100, "epochs": 7}
    return dry_run(RunArguments(**{**given, "objective": "ce + kd", **changes}), out)


def test_it_says_what_the_run_would_do_and_take(teacher: Run, tmp_path: Path) -> None:
    before = content(Path(os.environ["LIMBECK_CACHE"]))
    plan = planned(teacher, tmp_path / "run", max_steps=65, freeze=["layers.0"], ema=0.9)
    (training,) = plan.stretches
    assert (training.name, training.epochs, training.steps) == ("training", 7, 65)
    assert training.step is not None
    assert plan.seconds == 65 * training.step > 0
    head, hidden = 6 * 10 + 10, 64 * 6 + 6
    assert plan.parameters["student"] == (hidden + head, head)
    assert plan.parameters["teacher"][0] == 64 * 16 + 16 + 16 * 10 + 10
    assert plan.weights == 4 * (hidden + head)
    distiller, momentum, average = plan.weights + 8, 4 * head, plan.weights
    assert plan.checkpoint == distiller + momentum + average
    assert plan.peak > 10**8, "torch alone takes more"
    assert (plan.kept, plan.caches, plan.job.config.training.epochs) == (0, (), 7)
    assert list(tmp_path.iterdir()) == []
    assert content(Path(os.environ["LIMBECK_CACHE"])) == before


def test_phases_and_caches_are_part_of_it(teacher: Run) -> None:
    before = content(Path(os.environ["LIMBECK_CACHE"]))
    plan = planned(teacher, objective="mgd(0.2*ce + 0.8*kd, epochs=3)", cache_teacher="logits", views=2)
    found = [(each.name, each.epochs) for each in plan.stretches]
    assert found == [("mgd.low", 3), ("mgd.high", 3), ("training", 7)]
    (cache,) = plan.caches
    assert (cache.samples, cache.views, cache.kept) == (1000, 2, 2)
    assert content(Path(os.environ["LIMBECK_CACHE"])) == before


def test_what_a_run_refuses_is_refused(teacher: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "get_available_trackers", lambda: [LoggerType.TENSORBOARD])
    for changes, out, message in (
        ({}, teacher.path, "holds another run; say overwrite=True"),
        ({"freeze": ["layrs"]}, None, "did you mean 'layers'?"),
        ({"teacher": None, "objective": None}, None, "distill needs a teacher"),
        ({"settings": {"training.trackers": ["wandb"]}}, None, "the tracker 'wandb' is not installed here"),
    ):
        with pytest.raises(LimbeckError) as error:
            planned(teacher, out, **changes)
        assert message in str(error.value)


def test_memory_is_in_bytes_whatever_the_system_counts(teacher: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(ru_maxrss=300_000)
    monkeypatch.setattr("resource.getrusage", lambda who: usage)
    monkeypatch.setattr("sys.platform", "linux")
    assert planned(teacher).peak == 300_000 * 1024
    monkeypatch.setattr("sys.platform", "darwin")
    assert planned(teacher).peak == 300_000


def test_the_command_prints_it_and_writes_nothing(teacher: Run, command: Command, tmp_path: Path) -> None:
    given = ["--student", "mlp(hidden=[6])", "--teacher", str(teacher.path), "--objective", "ce + kd"]
    answer = command("distill", *given, "--out", "run", "--dry-run", "--set", "training.precision=fp32")
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert lines[0].startswith(
        "data: digits, classification with 10 classes; 1,000 samples to learn from, 297 for"
    )
    assert lines[1] == "student: mlp(hidden=[6]), 460 parameters"
    assert lines[2] == f"teacher: {teacher.path}, 1,210 parameters"
    assert "on cpu in fp32" in lines
    assert (
        "afterwards the student is trained alone, for up to as long again; --baseline none leaves"
        in answer.out
    )
    assert lines[-1] == "nothing was written"
    assert "disk: " in answer.out
    assert list(tmp_path.iterdir()) == []
    assert "afterwards" not in command("distill", *given, "--dry-run", "--baseline", "none").out
    friendly = command("train", "--model", "mlp(hidden=[8])", "--friendly-to", "mlp(hidden=[4])", "--dry-run")
    assert 'objective: ce + sftn(student="mlp(hidden=[4])")' in friendly.out, friendly.err


def test_a_run_is_not_planned_in_its_middle(command: Command) -> None:
    answer = command("train", "--model", "mlp", "--out", "run", "--resume", "auto", "--dry-run")
    assert (answer.code, answer.err) == (2, "limbeck: --dry-run plans a new run; leave out --resume\n")
