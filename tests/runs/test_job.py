"""What a run finds out before a file is written, and what it leaves as it was handed over."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import torch
from small_runs import QUICK, plain_network, three_classes
from torch import Tensor, nn

import limbeck
from limbeck.errors import LimbeckError
from limbeck.training import DivergenceError


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_teacher_in_another_precision_teaches_and_is_measured(dtype: torch.dtype, tmp_path: Path) -> None:
    teacher = plain_network(8).to(dtype)
    before = copy.deepcopy(teacher.state_dict())
    source = three_classes()
    run = limbeck.distill(
        student=plain_network(),
        teacher=teacher,
        data=source,
        objective="ce + kd",
        out=tmp_path / "run",
        **QUICK,
    )
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert source.test is not None
    batch = next(iter(limbeck.data.Loader(source.test, 60, shuffle=False)))
    assert isinstance(batch.inputs, torch.Tensor)
    assert isinstance(batch.inputs, Tensor)
    with torch.no_grad():
        hits = teacher(batch.inputs.to(dtype)).argmax(1) == batch.targets
    measured = run.result.teachers["teacher"].metrics
    assert measured is not None
    assert measured["top1"] == pytest.approx(hits.float().mean().item())


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_what_is_done_to_a_network_that_limbeck_makes_is_refused_for_an_object(
    role: str, tmp_path: Path
) -> None:
    with pytest.raises(
        LimbeckError, match=rf"^{role}\.normalize is for a network that limbeck makes, and the {role} <Seq"
    ):
        limbeck.distill(
            student=plain_network(),
            teacher=plain_network(8),
            data=three_classes(),
            objective="ce + kd",
            out=tmp_path / "run",
            **{**QUICK, "settings": {**QUICK.get("settings", {}), f"{role}.normalize": "data"}},
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("model", ["frozen", "without parameters"])
def test_a_student_of_which_nothing_is_trained_is_refused_at_once(model: str, tmp_path: Path) -> None:
    frozen = plain_network().requires_grad_(False)
    student = frozen if model == "frozen" else nn.Flatten()
    with pytest.raises(LimbeckError, match=r"^nothing of the student \w+ is trained: it has no parameter"):
        limbeck.distill(
            student=student,
            teacher=plain_network(8),
            data=three_classes() if model == "frozen" else three_columns(),
            objective="ce + kd",
            out=tmp_path / "run",
            **QUICK,
        )
    assert not (tmp_path / "run").exists()


def three_columns() -> limbeck.data.Source:
    """Data whose rows are logits already."""
    inputs = torch.rand(24, 4, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(24) % 4
    return limbeck.data.from_tensors(inputs, targets, validation=(inputs, targets), test=(inputs, targets))


class Failing(nn.Module):
    """A teacher that is well until it is asked about rows of the second half of the range."""

    def __init__(self) -> None:
        super().__init__()
        self.head = plain_network()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += len(x) == 20
        logits: Tensor = self.head(x)
        return logits * torch.nan if self.calls > 2 and len(x) == 20 else logits


def test_a_teacher_whose_answers_turn_nan_is_named_and_not_the_learning_rate(tmp_path: Path) -> None:
    with pytest.raises(DivergenceError) as caught:
        limbeck.distill(
            student=plain_network(),
            teacher=Failing(),
            data=three_classes(),
            objective="ce + kd",
            out=tmp_path / "run",
            **{**QUICK, "batch_size": 20},
        )
    assert re.fullmatch(
        r"the logits of the teacher are NaN or infinite at step 3 of training, so there is nothing to learn "
        r"from; the weights were not updated by it\. Its samples are (\d+, ){7}\d+ and 12 more, by their "
        r"index\. No checkpoint had been written yet\. The learning rate has no part in it\.",
        str(caught.value),
    )


def frozen_norm() -> nn.Module:
    """A student whose first norm is frozen, as for data unlike that it was trained on; the second is not."""
    student = nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)
    )
    student[1].eval().requires_grad_(False)
    return student


def test_a_norm_that_is_frozen_and_in_eval_mode_stays_as_it_is(tmp_path: Path) -> None:
    student = frozen_norm()
    before = copy.deepcopy(student.state_dict())
    limbeck.distill(
        student=student,
        teacher=plain_network(8),
        data=three_classes(),
        objective="ce + kd",
        out=tmp_path / "run",
        **QUICK,
    )
    changed = {name for name, value in student.state_dict().items() if not torch.equal(value, before[name])}
    assert not any(name.startswith("1.") for name in changed)
    assert {"0.weight", "4.running_mean", "4.weight", "5.bias"} <= changed


def test_a_student_that_is_all_in_eval_mode_is_trained_all_the_same(tmp_path: Path) -> None:
    student = frozen_norm().requires_grad_(True).eval()
    before = copy.deepcopy(student.state_dict())
    limbeck.train(model=student, data=three_classes(), out=tmp_path / "run", **QUICK)
    assert not torch.equal(student.state_dict()["1.running_mean"], before["1.running_mean"])
