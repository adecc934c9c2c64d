from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck import Distiller, LimbeckError
from limbeck.losses import pairwise
from limbeck.models import MLP
from limbeck.tasks import Segmentation
from segmenters import Strided, batch_of


def maps(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive(student: Tensor, teacher: Tensor) -> float:
    """One sample (C, H, W), pair of positions by pair of positions."""

    def cosines(maps: Tensor) -> list[float]:
        nodes = maps.flatten(1).T
        return [float(F.cosine_similarity(one, two, dim=0)) for one in nodes for two in nodes]

    ours, theirs = cosines(student), cosines(teacher)
    return sum((a - b) ** 2 for a, b in zip(ours, theirs, strict=True)) / len(ours)


def test_it_is_the_papers_equation() -> None:
    student, teacher = maps(2, 3, 2, 4), maps(2, 5, 2, 4, seed=2)
    expected = [naive(*pair) for pair in zip(student, teacher, strict=True)]
    assert pairwise(student, teacher, reduction="none").tolist() == pytest.approx(expected, rel=1e-9)
    assert pairwise(student, teacher).item() == pytest.approx(sum(expected) / 2, rel=1e-9)
    assert pairwise(3 * teacher, teacher).item() == pytest.approx(0, abs=1e-12)


def test_positions_are_pooled_to_nodes() -> None:
    student, teacher = maps(2, 3, 8, 4), maps(2, 5, 4, 8, seed=2)
    nodes = F.avg_pool2d(student, (4, 2)), F.avg_pool2d(teacher, (2, 4))
    expected = sum(naive(*pair) for pair in zip(*nodes, strict=True)) / 2
    assert pairwise(student, teacher, nodes=2).item() == pytest.approx(expected, rel=1e-9)
    nodes = F.avg_pool2d(student, (2, 1)), F.avg_pool2d(teacher, (1, 2))
    expected = sum(naive(*pair) for pair in zip(*nodes, strict=True)) / 2
    assert pairwise(student, teacher).item() == pytest.approx(expected, rel=1e-9)


def test_gradients_and_bad_shapes() -> None:
    student = maps(2, 3, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(pairwise, (student, maps(2, 2, 2, 2)))
    with pytest.raises(LimbeckError, match=r"pairwise: student has the shape \(2, 3\)"):
        pairwise(torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(LimbeckError, match="pairwise compares the same samples, not 2 and 3 of them"):
        pairwise(torch.zeros(2, 3, 4, 4), torch.zeros(3, 3, 4, 4))


def test_the_last_stages_are_compared() -> None:
    student, teacher = Strided(4, 4).double(), Strided(6, 2, seed=1).double()
    batch = batch_of()
    made = Distiller(
        student, teacher, "ce + pairwise", example=batch.inputs, task=Segmentation(("a", "b", "c"))
    )
    expected = pairwise(student.body(batch.inputs), teacher.body(batch.inputs))
    assert made(batch)["pairwise"].item() == pytest.approx(expected.item(), rel=1e-12)


def test_stages_that_are_no_maps_are_refused() -> None:
    networks = [MLP([8, 8], in_features=4, num_classes=3) for _ in range(2)]
    with pytest.raises(LimbeckError, match=r"pairwise compares maps \(channels, height, width\), not"):
        Distiller(networks[0], networks[1], "pairwise", example=torch.rand(2, 4))
