from __future__ import annotations

import copy
import math
import sys
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist

import pytest
import torch
import torch.nn.functional as F
from method_setting import SmallNet, make_setting
from torch import Tensor, nn

from limbeck import Distiller
from limbeck.errors import LimbeckError
from limbeck.losses import ofd
from limbeck.methods import OFD
from limbeck.methods.ofd import margins_of_batch, margins_of_batch_norm
from limbeck.models import CNN, MLP, ResNet
from limbeck.objective import parse
from two_processes import run_in_two_processes


def stages(*shapes: tuple[int, ...], seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]


def margins(*channels: int) -> list[Tensor]:
    return [-tensor.abs() for tensor in stages(*((width,) for width in channels), seed=9)]


def naive(students: list[Tensor], teachers: list[Tensor], limits: list[Tensor]) -> list[float]:
    """The three cases of the authors' loss, neuron by neuron, for maps of one size."""
    values = []
    for sample in range(len(students[0])):
        value = 0.0
        for place, (student, teacher, limit) in enumerate(zip(students, teachers, limits, strict=True)):
            total = 0.0
            for channel, m in enumerate(limit.tolist()):
                neurons = [maps[sample, channel].flatten().tolist() for maps in (student, teacher)]
                for s, t in zip(*neurons, strict=True):
                    if (s > m >= t) or (t > 0) or (s > t > m):
                        total += (s - max(t, m)) ** 2
            value += total / 2 ** (len(students) - 1 - place)
        values.append(value)
    return values


def test_it_is_the_equation() -> None:
    shapes = [(3, 2, 4, 3), (3, 3, 2, 5), (3, 4, 1, 2)]
    given = stages(*shapes), stages(*shapes, seed=2), margins(2, 3, 4)
    expected = naive(*given)
    assert ofd(*given, reduction="none").tolist() == pytest.approx(expected, rel=1e-12)
    assert ofd(*given).item() == pytest.approx(sum(expected) / 3, rel=1e-12)


@pytest.mark.parametrize(
    ("s", "t", "expected"),
    [(1, -2, 2.25), (-1, -2, 0), (0, -0.25, 0.0625), (-0.4, -0.25, 0), (1, 3, 4), (3, 1, 4), (-2, 1, 9)],
)
def test_each_case_by_hand(s: float, t: float, expected: float) -> None:
    student, teacher = (torch.full((1, 1, 1, 1), value) for value in (s, t))
    assert ofd([student], [teacher], [torch.tensor([-0.5])]).item() == pytest.approx(expected)


def test_the_teacher_comes_to_the_student_s_size() -> None:
    (student,), (large,), (small,) = stages((2, 3, 2, 4)), stages((2, 3, 4, 8)), stages((2, 3, 1, 2))
    limits = margins(3)
    expected = naive([student], [F.avg_pool2d(large, 2)], limits)
    assert ofd([student], [large], limits, "none").tolist() == pytest.approx(expected, rel=1e-12)
    repeated = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = naive([student], [repeated], limits)
    assert ofd([student], [small], limits, "none").tolist() == pytest.approx(expected, rel=1e-12)


def test_gradients_full_precision_and_extremes() -> None:
    shapes = [(2, 2, 3, 2), (2, 3, 1, 4)]
    ours, theirs, limits = stages(*shapes), stages(*shapes, seed=2), margins(2, 3)
    assert torch.autograd.gradcheck(
        lambda *s: ofd(s, theirs, limits), tuple(tensor.requires_grad_() for tensor in ours)
    )
    halves = [[tensor.bfloat16() for tensor in group] for group in (ours, theirs, limits)]
    short = ofd(halves[0], halves[1], halves[2])
    assert short.dtype == torch.float32
    assert short.item() == pytest.approx(ofd(ours, theirs, limits).item(), rel=0.05)
    far = [(1e9 * tensor.detach()).float().requires_grad_() for tensor in ours]
    value = ofd(far, [tensor.float() for tensor in theirs], [limit.float() for limit in limits])
    value.backward()  # type: ignore[no-untyped-call]
    assert value.isfinite()
    assert all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in far)


@pytest.mark.parametrize(
    ("student", "teacher", "limits"),
    [([2, 3], [2, 4], [2, 4]), ([2, 3], [2, 3], [2]), ([2], [2, 3], [2, 3]), ([1], [1], [2]), ([], [], [])],
)
def test_channels_that_differ_are_refused(student: list[int], teacher: list[int], limits: list[int]) -> None:
    with pytest.raises(LimbeckError, match=r"same channel counts, .* not \["):
        ofd(
            [torch.zeros(2, width, 2, 2) for width in student],
            [torch.zeros(2, width, 2, 2) for width in teacher],
            [torch.zeros(width) for width in limits],
        )


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4)])
def test_only_maps_are_compared(shape: tuple[int, ...]) -> None:
    with pytest.raises(LimbeckError, match=r"compares maps \(B, C, H, W\)"):
        ofd([torch.zeros(shape)], [torch.zeros(shape)], [torch.zeros(3)])


def batch_norm(weight: list[float], bias: list[float]) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(len(weight))
    with torch.no_grad():
        norm.weight.copy_(torch.tensor(weight))
        norm.bias.copy_(torch.tensor(bias))
    return norm


def test_margins_of_a_batch_norm_are_the_expected_negative_outputs() -> None:
    weight, bias = [1.0, -0.5, 2.0, 0.3, 1.0, 0.01], [0.0, 0.2, -3.0, 0.9, 3.2, -5.0]
    found = margins_of_batch_norm(batch_norm(weight, bias)).tolist()
    for value, deviation, mean in zip(found, map(abs, weight), bias, strict=True):
        normal = NormalDist(mean, deviation)
        expected = -3 * deviation
        if normal.cdf(0) > 0.001:  # the sum over thin slices of what is below zero
            edges = [(mean - 8 * deviation) * slice / 20_000 for slice in range(20_001)]
            masses = [normal.cdf(high) - normal.cdf(low) for high, low in pairwise(edges)]
            centers = [(high + low) / 2 for high, low in pairwise(edges)]
            expected = math.fsum(m * x for m, x in zip(masses, centers, strict=True)) / math.fsum(masses)
        assert value == pytest.approx(expected, rel=1e-4)
    assert found[0] == pytest.approx(-math.sqrt(2 / math.pi), rel=1e-6)


def test_margins_of_odd_batch_norms() -> None:
    dead = margins_of_batch_norm(batch_norm([0.0, 0.0, 0.0], [-1.0, 0.0, 2.0]))
    torch.testing.assert_close(dead, torch.tensor([-1.0, 0.0, 0.0]))
    plain = margins_of_batch_norm(nn.BatchNorm2d(2, affine=False))
    torch.testing.assert_close(plain, torch.full((2,), -math.sqrt(2 / math.pi)))
    short = margins_of_batch_norm(batch_norm([1.0], [0.5]).bfloat16())
    torch.testing.assert_close(short, margins_of_batch_norm(batch_norm([1.0], [0.5])))


def test_margins_of_a_batch_are_the_means_of_what_is_negative() -> None:
    [maps] = stages((3, 4, 2, 5))
    maps[:, 2] = maps[:, 2].abs()
    found = margins_of_batch(maps)
    for channel in range(4):
        below = [value for value in maps[:, channel].flatten().tolist() if value < 0]
        assert found[channel].item() == pytest.approx(sum(below) / max(len(below), 1), rel=1e-12)
    assert margins_of_batch(maps.bfloat16()).dtype == torch.float32


def margins_of_a_share(rank: int, world: int) -> dict[str, Tensor]:
    [maps] = stages((5, 4, 2, 3))
    return {"margins": margins_of_batch(maps[:2] if rank == 0 else maps[2:])}


def test_margins_of_a_batch_are_those_of_all_processes() -> None:
    [maps] = stages((5, 4, 2, 3))
    paths = [Path(__file__).parent, *map(Path, sys.path)]
    for found in run_in_two_processes([(margins_of_a_share, ())], paths)[0]:
        torch.testing.assert_close(found["margins"], margins_of_batch(maps))


def method_of(distiller: Distiller) -> OFD:
    method = next(distiller.objective.wrapped)
    assert isinstance(method, OFD)
    return method


def before_relu(network: SmallNet, inputs: Tensor) -> list[Tensor]:
    first = network.stage1[1](network.stage1[0](inputs))
    return [first, network.stage2[1](network.stage2[0](first.relu()))]


@pytest.mark.parametrize("kind", ["batch_norm", "batch"])
def test_connected_preactivations_are_compared(kind: str) -> None:
    setting = make_setting()
    with torch.no_grad():
        for norm in (setting.teacher.stage1[1], setting.teacher.stage2[1]):
            norm.weight.uniform_(-1, 1)  # type: ignore[operator]
            norm.bias.uniform_(-1, 1)  # type: ignore[operator]
    distiller = setting.distiller(f'ofd(margins="{kind}")').eval()
    method = method_of(distiller)
    ours, theirs = (
        before_relu(network.eval(), setting.inputs) for network in (setting.student, setting.teacher)
    )
    connected = [connect(maps) for connect, maps in zip(method.connectors, ours, strict=True)]
    if kind == "batch":
        limits = [margins_of_batch(maps) for maps in theirs]
    else:
        norms = setting.teacher.stage1[1], setting.teacher.stage2[1]
        limits = [margins_of_batch_norm(norm) for norm in norms]  # type: ignore[arg-type]
        assert {"margins0", "margins1"} <= method.state_dict().keys()
    losses = distiller(setting.inputs, setting.targets)
    assert losses["ofd"].item() == pytest.approx(ofd(connected, theirs, limits).item(), rel=1e-5)
    losses.backward()
    assert all(parameter.grad is not None for parameter in method.parameters())


def test_connectors_are_convolution_and_batch_norm_over_the_whole_batch() -> None:
    method = method_of(make_setting().distiller("ofd"))
    for connector, (before, after) in zip(method.connectors, [(3, 4), (6, 8)], strict=True):
        assert isinstance(connector, nn.Sequential)
        assert [type(layer).__name__ for layer in connector] == ["Conv2d", "GlobalBatchNorm2d"]
        assert [tuple(p.shape) for p in connector.parameters()] == [(after, before, 1, 1), (after,), (after,)]


def test_the_margins_of_a_residual_teacher_are_those_of_its_last_blocks() -> None:
    def network(width: int, blocks: int) -> ResNet:
        return ResNet([width, 2 * width], blocks, in_channels=1, size=8, num_classes=3)

    teacher = network(4, 2)
    with torch.no_grad():
        for norm in teacher.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.bias.uniform_(-1, 1)
    distiller = Distiller(network(2, 1), copy.deepcopy(teacher), "ofd", example=torch.rand(2, 1, 8, 8))
    for place, stage in enumerate(("layer1", "layer2")):
        norm = teacher.get_submodule(f"{stage}.1.bn2")
        assert isinstance(norm, nn.BatchNorm2d)
        found = method_of(distiller).get_buffer(f"margins{place}")
        torch.testing.assert_close(found, margins_of_batch_norm(norm))


def test_without_batch_norms_the_margins_are_to_be_of_the_batch() -> None:
    setting = make_setting(norm=False)
    with pytest.raises(
        LimbeckError, match=r"no batch norm before .* stage 0 of the teacher \(4, 6, 6\)"
    ) as raised:
        setting.distiller("ce + 0.001*ofd")
    advice = str(raised.value).rpartition(": ")[2]
    assert advice == 'ofd(margins="batch")'
    assert setting.distiller(advice)(setting.inputs, setting.targets).total.item() > 0


def test_pairs_and_what_is_no_map() -> None:
    setting = make_setting()
    method = method_of(setting.distiller("ofd(pairs=[[1, 0]])"))
    [connector] = method.connectors
    assert next(connector.parameters()).shape == (4, 6, 1, 1)
    norm = setting.teacher.stage1[1]
    torch.testing.assert_close(method.get_buffer("margins0"), margins_of_batch_norm(norm))  # type: ignore[arg-type]
    student, teacher = (MLP([5, 6], in_features=4, num_classes=3) for _ in range(2))
    with pytest.raises(LimbeckError, match=r"not stage 0 of the student \(5,\) and stage 0 of the teacher"):
        Distiller(student, teacher, "ofd", example=torch.rand(2, 4))
    shallow, deep = (CNN(widths, in_channels=1, size=8, num_classes=3) for widths in ([2, 4], [2, 4, 6]))
    with pytest.raises(LimbeckError, match="student has 2 and the teacher 3"):
        Distiller(shallow, deep, "ofd", example=torch.rand(2, 1, 8, 8))


@pytest.mark.parametrize("text", ['ofd(margins="data")', "ofd(pairs=[])"])
def test_arguments_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(LimbeckError, match="ofd: the argument"):
        parse(text)
