from __future__ import annotations

import math

import pytest
import torch
from method_setting import SmallNet, make_setting
from token_networks import WordNet
from torch import Tensor, nn

from limbeck import Distiller
from limbeck.errors import LimbeckError
from limbeck.losses import afd_attention
from limbeck.methods import AFDAttention

SAMPLES = 3


def stages(*shapes: tuple[int, int, int], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(SAMPLES, *shape, generator=generator, dtype=torch.float64) for shape in shapes]


def active(maps: Tensor, sample: int, height: int, width: int) -> list[float]:
    """Where one sample's map is active, pixel by pixel of a coarser grid, at unit length."""
    _, high, wide = maps.shape[1:]
    values = []
    for row in range(height):
        for column in range(width):
            rows = range(row * high // height, -(-(row + 1) * high // height))
            columns = range(column * wide // width, -(-(column + 1) * wide // width))
            squares = [maps[sample, :, y, x].square().mean().item() for y in rows for x in columns]
            values.append(math.fsum(squares) / len(squares))
    length = math.sqrt(math.fsum(value**2 for value in values))
    return [value / length for value in values]


def naive(student: list[Tensor], teacher: list[Tensor], shares: Tensor) -> list[float]:
    totals = []
    for sample in range(SAMPLES):
        total = 0.0
        for t, theirs in enumerate(teacher):
            size = theirs.shape[2:]
            aim = active(theirs, sample, *size)
            for s, ours in enumerate(student):
                seen = active(ours, sample, *size)
                squares = [(a - b) ** 2 for a, b in zip(seen, aim, strict=True)]
                total += shares[sample, t, s].item() * math.fsum(squares) / len(squares)
        totals.append(total)
    return totals


def test_it_is_the_equation() -> None:
    student = stages((2, 6, 6), (5, 3, 3), (4, 1, 1))
    teacher = stages((3, 4, 6), (2, 2, 2), seed=1)
    shares = torch.rand(SAMPLES, 2, 3, dtype=torch.float64)
    expected = naive(student, teacher, shares)
    assert afd_attention(student, teacher, shares, "none").tolist() == pytest.approx(expected, rel=1e-10)
    assert afd_attention(student, teacher, shares).item() == pytest.approx(sum(expected) / SAMPLES, rel=1e-10)


def test_refuses_other_shapes() -> None:
    maps = stages((2, 4, 4))
    with pytest.raises(LimbeckError, match=r"shares has the shape \(3, 1, 2\) and must have .* \(B, 1, 1\)"):
        afd_attention(maps, maps, torch.rand(SAMPLES, 1, 2))
    with pytest.raises(LimbeckError, match=r"student_stages\[0\] has the shape \(3, 2\)"):
        afd_attention([torch.rand(3, 2)], maps, torch.rand(SAMPLES, 1, 1))
    with pytest.raises(LimbeckError, match="the same samples, not 2 and 3"):
        afd_attention([maps[0][:2]], maps, torch.rand(SAMPLES, 1, 1))


def method_of(distiller: Distiller) -> AFDAttention:
    (found,) = (method for method in distiller.objective.wrapped if isinstance(method, AFDAttention))
    return found


def normed(layer: nn.Module, rows: Tensor) -> Tensor:
    """Rows through a layer's weights and the batch norm of these rows."""
    assert isinstance(layer, nn.Sequential)
    out = rows @ layer[0].weight[:, :, 0, 0].T
    out = (out - out.mean(0)) / (out.var(0, correction=0) + layer[1].eps).sqrt()
    return out * layer[1].weight + layer[1].bias


@pytest.mark.parametrize("size", [4, 7])
def test_the_shares_are_attention(size: int) -> None:
    setting = make_setting("afd_attention", dtype=torch.float64)
    distiller = setting.distiller(f"ce + 200*afd_attention(dim={size})").train()
    method = method_of(distiller)
    student, teacher = distiller.student, setting.teacher.eval()
    assert isinstance(student, SmallNet)

    ours = [student.stage1(setting.inputs)]
    ours.append(student.stage2(ours[0]))
    theirs = [teacher.stage1(setting.inputs)]
    theirs.append(teacher.stage2(theirs[0]))
    queries = [normed(layer, maps.mean((2, 3))) for layer, maps in zip(method.queries, theirs, strict=True)]
    keys = [normed(layer, maps.mean((2, 3))).relu() for layer, maps in zip(method.keys, ours, strict=True)]
    bilinear = normed(method.bilinear, torch.cat(keys)).view(2, len(setting.inputs), 2, size)
    shares = torch.empty(len(setting.inputs), 2, 2, dtype=torch.float64)
    for sample in range(len(setting.inputs)):
        for t in range(2):
            scores = [
                (
                    (queries[t][sample] @ bilinear[s, sample, t]).item()
                    + (method.teacher_positions[t] @ method.student_positions[s]).item()
                )
                / math.sqrt(size)
                for s in range(2)
            ]
            powers = [math.exp(score) for score in scores]
            shares[sample, t] = torch.tensor(powers, dtype=torch.float64) / sum(powers)
    found = distiller(setting.inputs, setting.targets)["afd_attention"]
    assert found.item() == pytest.approx(afd_attention(ours, theirs, shares).item(), rel=1e-9)


def test_the_links_learn_and_the_teacher_does_not() -> None:
    setting = make_setting("afd_attention")
    distiller = setting.distiller("200*afd_attention")
    distiller.train()(setting.inputs, setting.targets).backward()
    method = method_of(distiller)
    assert all(parameter.grad is not None for parameter in method.parameters())
    assert method.teacher_positions.grad is not None
    assert method.teacher_positions.grad.abs().sum() > 0


def test_stages_of_one_pixel_are_left_out_and_others_than_maps_refused() -> None:
    setting = make_setting(size=(2, 2))
    distiller = setting.distiller("ce + afd_attention")
    assert method_of(distiller).places == [0]
    with pytest.raises(LimbeckError, match="no stage of the teacher with more than one pixel"):
        make_setting(size=(1, 1)).distiller("ce + afd_attention")
    with pytest.raises(
        LimbeckError, match=r"afd_attention compares maps .*stage 0 of the student is \(6, 4\)"
    ):
        Distiller(WordNet(4), WordNet(6), "ce + afd_attention", example=WordNet.batch())
