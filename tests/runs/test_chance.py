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
        f"the network ended no better than chance, with {value:.1f} % top-1 on the 297 samples of its "
        "validation split; try another learning rate (--lr, 1e-09 here), another optimizer (--set "
        "training.optimizer=adamw, sgd here) or more epochs (--epochs, 1 here)"
    )


TABLE = """
from torch import nn

def make():
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
"""
PUTS_ONE = "o normalization was put before the network: --set student.normalize=data puts one"


@pytest.fixture
def unscaled() -> tuple[str, ...]:
    """Options of a network of one's own that reads a table with columns of very different sizes."""
    draw = torch.Generator().manual_seed(0)
    kinds = torch.arange(400) % 2
    columns = torch.randn(400, 2, generator=draw) * torch.tensor([3e5, 1.0]) + torch.tensor([1e6, 0.0])
    columns[:, 1] += 4 * kinds
    rows = [f"{a:.1f},{b:.3f},{'xy'[k]}" for (a, b), k in zip(columns.tolist(), kinds.tolist(), strict=True)]
    Path("cells.csv").write_text("\n".join(["a,b,kind", *rows]))
    Path("table_model.py").write_text(TABLE)
    return "--model", "table_model:make", "--data", 'table(path="cells.csv", label="kind")', "--epochs", "3"


def test_what_a_network_of_ones_own_lacks_is_named(command: Command, unscaled: tuple[str, ...]) -> None:
    answer = command("train", *unscaled, "--out", "bare", "--lr", "1e-12")
    assert answer.code == 0
    assert f"split; n{PUTS_ONE}; or try another learning rate (--lr, 1e-12 here)" in answer.err
    answer = command("distill", *unscaled[2:], "--student", "mlp", "--teacher", "bare", "--out", "taught")
    assert answer.code == 2
    assert "; train it anew, with --set student.normalize=data, another learning rate, " in answer.err
    answer = command("train", *unscaled, "--out", "broken", "--lr", "1e30")
    assert answer.code == 2
    assert answer.err.rstrip().endswith(f"a few such steps. N{PUTS_ONE}.")
    answer = command("train", *unscaled, "--out", "scaled", "--set", "student.normalize=data")
    assert (answer.code, "normalization" in answer.err) == (0, False)
    assert Run(Path("scaled")).result.metrics.on("test")["top1"] > 0.75


def test_an_object_is_normalized_in_python(tmp_path: Path) -> None:
    inputs = torch.randn(300, 2, generator=torch.Generator().manual_seed(0)) * 1e3
    source = data.from_tensors(inputs, torch.arange(300) % 2)
    student = torch.nn.Linear(2, 2)
    run = limbeck.train(model=student, data=source, epochs=1, lr=1e-12, out=tmp_path / "run", display=False)
    said = "limbeck.models.normalize_inputs(network, limbeck.models.Normalization(source.mean, source.std))"
    assert run.result.notes[0].startswith(
        "tensors has columns with large numbers, and no normalization is put before the student: limbeck"
    )
    assert f"no normalization was put before the network: {said} puts one" in run.result.notes[-1]
    small = data.from_tensors(inputs / 1e3, torch.arange(300) % 2)
    run = limbeck.train(model=torch.nn.Linear(2, 2), data=small, epochs=1, out=tmp_path / "b", display=False)
    assert not any("large numbers" in note for note in run.result.notes)


def test_what_is_given_is_not_blamed_on_the_normalization(tmp_path: Path) -> None:
    source = data.from_tensors(torch.full((300, 2), 1e38), torch.arange(300) % 2, validation=None)
    student = torch.nn.Linear(2, 2)
    teacher = torch.nn.Sequential(torch.nn.Linear(2, 2), Infinite())
    with pytest.raises(LimbeckError, match=r"The learning rate has no part in it\.$"):
        limbeck.distill(
            student=student,
            teacher=teacher,
            data=source,
            objective="kd",
            epochs=1,
            out=tmp_path / "run",
            display=False,
            settings={"teacher.trust": True, "training.trackers": []},
        )


class Infinite(torch.nn.Module):
    """Answers NaN to everything."""

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return logits * float("nan")


def test_it_is_refused_as_a_teacher_unless_it_is_trusted(untaught: Run, tmp_path: Path) -> None:
    value = 100 * untaught.result.metrics.on("validation")["top1"]
    said = (
        f"the teacher is of the run 'run', which ended no better than chance, with {value:.1f} % top-1 "
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
        f"; the teacher is of the run 'run', which ended no better than chance, with "
        f"{value:.1f} % top-1 on the 63 samples of its test split; train it anew" in found.worth
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
