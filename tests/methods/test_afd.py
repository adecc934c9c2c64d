from __future__ import annotations

import copy

import pytest
import torch
from method_setting import SmallNet, make_setting
from torch import Tensor, nn

from limbeck import Distiller
from limbeck.errors import LimbeckError
from limbeck.losses import attentive_feature_distillation
from limbeck.methods import AFD
from limbeck.methods.afd import ChannelAttention
from limbeck.models import CNN, MLP
from limbeck.objective import parse


def maps(*shape: int, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return student, teacher, torch.rand(*shape[:2], generator=generator, dtype=torch.float64)


def naive(student: Tensor, teacher: Tensor, weights: Tensor) -> list[float]:
    def unit(channel: Tensor) -> list[float]:
        pixels = channel.flatten().tolist()
        length = sum(pixel**2 for pixel in pixels) ** 0.5
        return [pixel / (length + 1e-6) for pixel in pixels]

    values = []
    for sample in range(len(student)):
        value = 0.0
        for channel, weight in enumerate(weights[sample].tolist()):
            ours, theirs = unit(student[sample, channel]), unit(teacher[sample, channel])
            value += weight * sum((a - b) ** 2 for a, b in zip(ours, theirs, strict=True)) / len(ours)
        values.append(value)
    return values


@pytest.mark.parametrize("shape", [(3, 4, 3, 5), (1, 2, 2, 2)])
def test_it_is_the_equation(shape: tuple[int, ...]) -> None:
    given = maps(*shape)
    expected = naive(*given)
    found = attentive_feature_distillation(*given, reduction="none")
    assert found.tolist() == pytest.approx(expected, rel=1e-12)
    assert attentive_feature_distillation(*given).item() == pytest.approx(
        sum(expected) / len(expected), rel=1e-12
    )


def test_gradients_full_precision_and_silent_channels() -> None:
    student, teacher, weights = maps(2, 3, 2, 4)
    student.requires_grad_()
    weights.requires_grad_()
    assert torch.autograd.gradcheck(attentive_feature_distillation, (student, teacher, weights))
    short = attentive_feature_distillation(student.bfloat16(), teacher.bfloat16(), weights.bfloat16())
    assert short.dtype == torch.float32
    expected = attentive_feature_distillation(student, teacher, weights).item()
    assert short.item() == pytest.approx(expected, rel=0.05)
    silent = torch.zeros(2, 3, 2, 4, requires_grad=True)
    attentive_feature_distillation(silent, teacher.float(), weights.float()).backward()  # type: ignore[no-untyped-call]
    assert silent.grad is not None
    assert silent.grad.isfinite().all()


@pytest.mark.parametrize(
    ("student", "teacher", "weights"),
    [
        ((3, 2, 4, 4), (3, 4, 4, 4), (3, 4)),
        ((3, 2, 4, 4), (3, 2, 2, 2), (3, 2)),
        ((3, 2, 4, 4), (3, 2, 4, 4), (2,)),
        ((3, 2), (3, 2), (3, 2)),
    ],
)
def test_nothing_is_broadcast_or_pooled(
    student: tuple[int, ...], teacher: tuple[int, ...], weights: tuple[int, ...]
) -> None:
    with pytest.raises(LimbeckError, match=r"maps \(B, C, H, W\) of one shape with weights \(B, C\), not"):
        attentive_feature_distillation(torch.ones(student), torch.ones(teacher), torch.ones(weights))


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_the_weights_are_sigmoids_over_their_sum(scale: float) -> None:
    torch.manual_seed(0)
    attention = ChannelAttention(4, 3).double()
    stage = scale * torch.rand(2, 4, 3, 5, dtype=torch.float64)
    found = attention(stage)
    assert found.shape == (2, 4)
    torch.testing.assert_close(found.sum(1), torch.ones(2, dtype=torch.float64))
    if scale == 1:
        first, _, second = attention.score
        hidden = (first.weight @ stage.mean((2, 3)).T).T.clamp(min=0)  # type: ignore[operator]
        rho = 1 / (1 + (-(second.weight @ hidden.T).T).exp())  # type: ignore[operator]
        torch.testing.assert_close(found, rho / rho.sum(1, keepdim=True))


def test_attention_that_gives_all_channels_zero_is_still_attention() -> None:
    attention = ChannelAttention(3, 3)
    with torch.no_grad():
        attention.score[2].bias.fill_(-1e4)  # type: ignore[operator]
        attention.score[2].weight.zero_()  # type: ignore[operator]
    torch.testing.assert_close(attention(torch.rand(2, 3, 2, 2)), torch.full((2, 3), 1 / 3))


def method_of(distiller: Distiller) -> AFD:
    method = next(distiller.objective.wrapped)
    assert isinstance(method, AFD)
    return method


def test_all_stages_are_summed_with_weights_from_the_teacher_s() -> None:
    setting = make_setting()
    setting.student = copy.deepcopy(setting.teacher)
    with torch.no_grad():
        setting.student.stage1[0].weight.neg_()  # type: ignore[operator]
    distiller = setting.distiller("afd").eval()
    method = method_of(distiller)
    assert all(isinstance(connector, nn.Identity) for connector in method.connectors)
    for number in (1, 16):  # also a batch of one
        inputs = setting.inputs[:number]
        found = distiller(inputs, setting.targets[:number])["afd"].item()
        expected = 0.0
        ours, theirs = inputs, inputs
        for attention, stage in zip(method.attentions, ("stage1", "stage2"), strict=True):
            ours = setting.student.eval().get_submodule(stage)(ours)
            theirs = setting.teacher.eval().get_submodule(stage)(theirs)
            expected += attentive_feature_distillation(ours, theirs, attention(theirs)).item()
        assert expected > 0
        assert found == pytest.approx(expected, rel=1e-5)


def test_the_attention_learns_and_its_width_follows_the_ratio() -> None:
    setting = make_setting()
    distiller = setting.distiller("afd(ratio=0.5, regressor=true)")
    method = method_of(distiller)
    shapes = [[tuple(p.shape) for p in attention.parameters()] for attention in method.attentions]
    assert shapes == [[(2, 4), (2,), (4, 2), (4,)], [(4, 8), (4,), (8, 4), (8,)]]
    distiller(setting.inputs, setting.targets).backward()
    assert all(parameter.grad is not None for parameter in method.parameters())
    narrow = method_of(setting.distiller("afd(ratio=0.01, regressor=true)")).attentions
    assert [len(next(attention.parameters())) for attention in narrow] == [1, 1]


def test_unequal_shapes_want_a_regressor() -> None:
    setting = make_setting()
    with pytest.raises(
        LimbeckError,
        match=r"stage 0 of the student \(3, 6, 6\) and stage 0 of the teacher \(4, 6, 6\); add regressor",
    ):
        setting.distiller("afd")
    distiller = setting.distiller("afd(regressor=true)").eval()
    method = method_of(distiller)
    found = distiller(setting.inputs, setting.targets)["afd"].item()
    expected = 0.0
    ours, theirs = setting.inputs, setting.inputs
    for place, stage in enumerate(("stage1", "stage2")):
        ours = setting.student.eval().get_submodule(stage)(ours)
        theirs = setting.teacher.eval().get_submodule(stage)(theirs)
        expected += attentive_feature_distillation(
            method.connectors[place](ours), theirs, method.attentions[place](theirs)
        ).item()
    assert found == pytest.approx(expected, rel=1e-5)


def test_pairs_of_ones_own_choice() -> None:
    Distiller(SmallNet(4), SmallNet(2), "afd(pairs=[[0, 1]], regressor=true)", example=torch.rand(2, 1, 6, 6))
    setting = make_setting()
    distiller = setting.distiller("afd(pairs=[[1, 0], [-1, -1]], regressor=true)")
    assert len(method_of(distiller).attentions) == 2
    assert distiller(setting.inputs, setting.targets).total.isfinite()


def test_what_is_no_pair_of_maps_is_refused() -> None:
    student, teacher = (MLP([5, 6], in_features=4, num_classes=3) for _ in range(2))
    with pytest.raises(LimbeckError, match=r"stage 0 of the student \(5,\) .* \(5,\); name others"):
        Distiller(student, teacher, "afd", example=torch.rand(2, 4))
    with pytest.raises(LimbeckError, match=r"teacher \(5,\); name others with afd\(pairs="):
        Distiller(student, teacher, "afd(regressor=true)", example=torch.rand(2, 4))
    shallow, deep = (CNN(widths, in_channels=1, size=8, num_classes=3) for widths in ([2, 4], [2, 4, 6]))
    with pytest.raises(LimbeckError, match="student has 2 and the teacher 3"):
        Distiller(shallow, deep, "afd", example=torch.rand(2, 1, 8, 8))


@pytest.mark.parametrize("text", ["afd(ratio=0)", "afd(pairs=[])", 'afd(regressor="conv")'])
def test_arguments_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(LimbeckError, match="afd: the argument"):
        parse(text)
