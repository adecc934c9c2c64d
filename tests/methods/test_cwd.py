from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck import Distiller, LimbeckError
from limbeck.losses import cwd
from limbeck.methods import CWD
from limbeck.models import CNN
from limbeck.tasks import Segmentation
from segmenters import Strided, batch_of

TASK = Segmentation(("a", "b", "c"))


def maps(*shape: int) -> tuple[Tensor, Tensor]:
    student, teacher = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return student, teacher


def naive(student: Tensor, teacher: Tensor, temperature: float) -> float:
    """One sample (C, H, W), position by position."""
    total = 0.0
    for ours, theirs in zip(student.flatten(1).tolist(), teacher.flatten(1).tolist(), strict=True):
        q, p = ([math.exp(value / temperature) for value in each] for each in (ours, theirs))
        total += sum(a / sum(p) * math.log(a / sum(p) / (b / sum(q))) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(student)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_it_is_the_papers_equation(temperature: float) -> None:
    student, teacher = maps(2, 3, 4, 5)
    expected = [naive(*pair, temperature) for pair in zip(student, teacher, strict=True)]
    assert cwd(student, teacher, temperature, "none").tolist() == pytest.approx(expected, rel=1e-9)
    assert cwd(student, teacher, temperature).item() == pytest.approx(sum(expected) / 2, rel=1e-9)
    assert cwd(teacher, teacher).item() == pytest.approx(0, abs=1e-12)


def test_gradients() -> None:
    student, teacher = maps(2, 2, 2, 3)
    assert torch.autograd.gradcheck(cwd, (student.requires_grad_(), teacher))


def test_other_shapes_are_refused() -> None:
    with pytest.raises(LimbeckError, match=r"maps of one shape, not \(2, 3, 4, 4\) and \(2, 3, 2, 2\)"):
        cwd(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 2, 2))
    with pytest.raises(LimbeckError, match=r"cwd: student has the shape \(2, 3\)"):
        cwd(torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(LimbeckError, match=r"cwd compares distributions over the positions .*one position"):
        cwd(torch.zeros(2, 3, 1, 1), torch.zeros(2, 3, 1, 1))


def distiller(objective: str, task: Segmentation = TASK) -> Distiller:
    student, teacher = Strided(4, 4).double(), Strided(6, 2, seed=1).double()
    torch.manual_seed(3)  # of the projection
    return Distiller(student, teacher, objective, example=batch_of().inputs, task=task)


def test_the_logits_are_compared_as_the_networks_give_them() -> None:
    for task in (TASK, Segmentation(TASK.names, "outputs")):
        made, batch = distiller("ce + 3*cwd", task), batch_of()
        assert made.teacher is not None
        ours, theirs = made.student(batch.inputs), made.teacher(batch).logits
        expected = cwd(F.interpolate(ours, (4, 4), mode="bilinear"), theirs)
        losses = made(batch)
        assert losses["cwd"].item() == pytest.approx(expected.item(), rel=1e-12)
        assert losses.total.item() == pytest.approx((losses["ce"] + 3 * expected).item(), rel=1e-12)


def test_a_stage_goes_through_a_projection() -> None:
    made, batch = distiller("cwd(stage=0, temperature=2)"), batch_of()
    assert made.teacher is not None
    (method,) = made.objective.wrapped
    assert isinstance(method, CWD)
    body: Any = made.student
    projected = method.projection(body.body(batch.inputs))
    theirs = made.teacher.network.body(batch.inputs)  # type: ignore[union-attr, operator]
    expected = cwd(F.interpolate(projected, (4, 4), mode="bilinear"), theirs, 2.0)
    assert made(batch)["cwd"].item() == pytest.approx(expected.item(), rel=1e-12)


def test_it_is_for_segmentation() -> None:
    images = torch.rand(2, 1, 8, 8)
    networks = [CNN([2, 3], in_channels=1, size=8, num_classes=3) for _ in range(2)]
    with pytest.raises(LimbeckError, match=r"cwd .*segmentation"):
        Distiller(networks[0], networks[1], "cwd", example=images)
