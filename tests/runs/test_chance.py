"""Runs whose network learned nothing: what is said as they end, and where they are to teach."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from command import Command
from small_runs import make_student

import limbeck
from limbeck import data
from limbeck.config import TeacherConfig, TrainingConfig
from limbeck.errors import LimbeckError
from limbeck.optimization import Adam
from limbeck.runs import Run, chance
from limbeck.runs.result import Metrics
from limbeck.runs.trust import examine


@pytest.fixture
def untaught(command: Command) -> Run:
    """A run that ended at chance, by the command line."""
    options = ("--model", "mlp(hidden=[4])", "--epochs", "1", "--lr", "1e-9", "--set", "training.trackers=[]")
    assert command("train", *options, "--out", "run").code == 0
    return Run(Path("run"))


def test_a_run_that_learned_nothing_says_so(untaught: Run) -> None:
    result = untaught.result
    assert result.at_chance
    value = 100 * result.metrics.on("validation")["top1"]
    assert result.notes[-1] == (
        f"the network ended no better than chance, with a top-1 of {value:.1f} % on the 297 samples of its "
        "validation split; try another learning rate (--lr, 1e-09 here), another optimizer (--set "
        "training.optimizer=adamw, sgd here) or more epochs (--epochs, 1 here)"
    )


def test_it_is_refused_as_a_teacher_unless_it_is_trusted(untaught: Run, tmp_path: Path) -> None:
    value = 100 * untaught.result.metrics.on("validation")["top1"]
    said = (
        f"the teacher is of the run 'run', which ended no better than chance, with a top-1 of {value:.1f} % "
        "on the 297 samples of its validation split; train it anew, with another learning rate, another "
        "optimizer or more epochs, before it teaches"
    )
    with pytest.raises(LimbeckError) as error:
        make_student(tmp_path / "student", untaught)
    assert str(error.value) == f"{said}; set teacher.trust=true to go on all the same"
    shutil.copytree("run", "other")
    with pytest.raises(LimbeckError, match=r"the teacher is of the run 'other', which ended no better"):
        make_student(tmp_path / "student", 'ensemble("other", "run")')
    assert not (tmp_path / "student").exists()
    trusted = {"training.trackers": [], "teacher.trust": True}
    assert said in make_student(tmp_path / "student", untaught, settings=trusted).result.notes


def test_of_few_samples_it_is_said_alone(untaught: Run, teacher: Run) -> None:
    result = untaught.result
    few = result.data.model_copy(update={"measured": {"validation": 20, "test": 63}})
    result.model_copy(update={"data": few}).write(untaught.path / "result.json")
    config = TeacherConfig(model=str(untaught.path))
    found = examine(limbeck.load(teacher), "teacher", config, data.load("digits"), torch.device("cpu"))
    assert found.wrong is None
    value = 100 * result.metrics.on("test")["top1"]
    assert (
        f"; the teacher is of the run 'run', which ended no better than chance, with a top-1 of "
        f"{value:.1f} % on the 63 samples of its test split; train it anew" in found.worth
    )


def test_the_split_that_counts_has_enough_labels(teacher: Run) -> None:
    result = teacher.result
    assert not result.at_chance
    assert chance.note(result, TrainingConfig(optimizer=Adam())) is None
    assert chance.judged_on(result.metrics, result.data) == "validation"
    few = result.data.model_copy(update={"measured": {"validation": 63, "test": 63}})
    assert chance.judged_on(result.metrics, few) == "test"
    assert chance.judged_on(Metrics(test=None, validation=result.metrics.validation), few) == "validation"
    assert chance.judged_on(Metrics(test=None, validation=None), few) is None
