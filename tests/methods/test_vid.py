from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from method_setting import make_setting
from token_networks import WordNet
from torch import Tensor, nn

from limbeck import Distiller
from limbeck.errors import LimbeckError
from limbeck.losses import vid
from limbeck.methods import VID
from limbeck.models import CNN, MLP
from limbeck.optimization import SGD


def stages(*shape: int) -> tuple[Tensor, Tensor]:
    prediction, teacher = torch.randn(
        2, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    return prediction, teacher


def naive(prediction: Tensor, teacher: Tensor, log_scale: Tensor) -> list[float]:
    """Each sample's mean of the negative log-likelihood, for (B, C, ...) tensors, element by element."""
    values = []
    for p, t in zip(prediction, teacher, strict=True):
        total = 0.0
        for channel, scale in enumerate(log_scale.tolist()):
            variance = math.log(1 + math.exp(scale)) + 1e-5
            for x, y in zip(p[channel].flatten().tolist(), t[channel].flatten().tolist(), strict=True):
                total += ((y - x) ** 2 / variance + math.log(variance)) / 2
        values.append(total / p.numel())
    return values


def test_it_is_the_likelihood_of_a_gaussian_for_each_channel() -> None:
    log_scale = torch.tensor([-2.0, 0.5, 5.0], dtype=torch.float64)
    for shape in ((4, 3, 2, 5), (4, 3)):
        prediction, teacher = stages(*shape)
        expected = naive(prediction, teacher, log_scale)
        assert vid(prediction, teacher, log_scale, reduction="none").tolist() == pytest.approx(expected)
        assert vid(prediction, teacher, log_scale).item() == pytest.approx(sum(expected) / 4)
    prediction, teacher = stages(4, 3, 6)
    found = vid(prediction.movedim(1, 2), teacher.movedim(1, 2), log_scale, reduction="none")  # (B, L, C)
    assert found.tolist() == pytest.approx(naive(prediction, teacher, log_scale))
    prediction, teacher = stages(4, 3)
    likelihood = F.gaussian_nll_loss(prediction, teacher, (F.softplus(log_scale) + 1e-5).expand(4, 3))
    assert vid(prediction, teacher, log_scale).item() == pytest.approx(likelihood.item())


def test_a_sure_and_right_prediction_is_negative() -> None:
    prediction, _ = stages(2, 3)
    least = vid(prediction, prediction, torch.tensor(-50.0, dtype=torch.float64))
    assert least.item() == pytest.approx(math.log(1e-5) / 2)


def test_padding_does_not_count() -> None:
    prediction, teacher = stages(2, 4, 3)
    log_scale = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    mask = torch.tensor([[True] * 4, [True, False, False, False]])
    whole = vid(prediction[:1], teacher[:1], log_scale).item()
    first = vid(prediction[1:, :1], teacher[1:, :1], log_scale).item()
    found = vid(prediction, teacher, log_scale, mask, "none")
    assert found.tolist() == pytest.approx([whole, first], rel=1e-12)


def test_gradients_full_precision_and_far_scales() -> None:
    prediction, teacher = stages(2, 3, 2, 4)
    log_scale = torch.tensor([-1.0, 0.0, 4.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(vid, (prediction.requires_grad_(), teacher, log_scale))
    short = vid(prediction.bfloat16(), teacher.bfloat16(), log_scale.float())
    assert short.dtype == torch.float32
    assert short.item() == pytest.approx(vid(prediction, teacher, log_scale).item(), rel=0.05)
    for far in (-1e4, 1e4):
        scale = torch.full((3,), far, requires_grad=True)
        value = vid(prediction.float(), teacher.float(), scale)
        value.backward()  # type: ignore[no-untyped-call]
        assert value.isfinite()
        assert scale.grad is not None
        assert scale.grad.isfinite().all()


def test_different_shapes_are_never_broadcast() -> None:
    with pytest.raises(LimbeckError, match=r"of one shape, not \(3, 2\) and \(3, 1\)"):
        vid(torch.zeros(3, 2), torch.zeros(3, 1), torch.zeros(2))


def method_of(distiller: Distiller) -> VID:
    return next(method for method in distiller.objective.wrapped if isinstance(method, VID))


def test_variances_start_from_five_and_are_trained() -> None:
    setting = make_setting()
    distiller = setting.distiller("ce + vid")
    method = method_of(distiller)
    assert [scale.shape for scale in method.log_scales] == [(4,), (8,)]
    for scale in method.log_scales:
        torch.testing.assert_close(F.softplus(scale) + 1e-5, torch.full_like(scale, 5.0))
    before = [scale.clone() for scale in method.log_scales]
    optimizer = distiller.optimizer(SGD())
    distiller(setting.inputs, setting.targets).backward()
    optimizer.step()
    for scale, start in zip(method.log_scales, before, strict=True):
        assert (scale != start).all()
    assert {"log_scales.0", "log_scales.1"} <= method.state_dict().keys()


def test_regressors_are_three_convolutions_or_linear_layers_without_bias() -> None:
    setting = make_setting()
    first, second = method_of(setting.distiller("vid")).regressors
    assert [tuple(p.shape) for p in first.parameters()] == [(4, 3, 1, 1), (4, 4, 1, 1), (4, 4, 1, 1)]
    assert [tuple(p.shape) for p in second.parameters()] == [(8, 6, 1, 1), (8, 8, 1, 1), (8, 8, 1, 1)]
    assert isinstance(first, nn.Sequential)
    assert [type(part) for part in first] == [nn.Conv2d, nn.ReLU] * 2 + [nn.Conv2d]
    student, teacher = (MLP(hidden, in_features=9, num_classes=3) for hidden in ((5, 6), (7, 8)))
    linear, _ = method_of(Distiller(student, teacher, "vid", example=torch.rand(2, 9))).regressors
    assert [tuple(p.shape) for p in linear.parameters()] == [(7, 5), (7, 7), (7, 7)]


def test_all_pairs_are_summed() -> None:
    setting = make_setting()
    for pairs, places in (("", [(0, 0), (1, 1)]), ("(pairs=[[0, -1], [1, 0], [1, 1]])", None)):
        distiller = setting.distiller(f"vid{pairs}").eval()
        method = method_of(distiller)
        taken = []
        for network in (setting.student.eval(), setting.teacher.eval()):
            first = network.stage1(setting.inputs)
            taken.append([first, network.stage2(first)])
        expected = 0.0
        for number, (s, t) in enumerate(places or [(0, 1), (1, 0), (1, 1)]):
            ours, theirs = taken[0][s], taken[1][t]
            if ours.shape[2] > theirs.shape[2]:
                ours = F.avg_pool2d(ours, 2)
            if theirs.shape[2] > ours.shape[2]:
                theirs = F.avg_pool2d(theirs, 2)
            prediction = method.regressors[number](ours)
            expected += vid(prediction, theirs, method.log_scales[number]).item()
        assert distiller(setting.inputs)["vid"].item() == pytest.approx(expected, rel=1e-5)


def test_unequal_stage_counts_want_pairs() -> None:
    student, teacher = (
        CNN(channels, in_channels=1, size=8, num_classes=3) for channels in ([2, 4], [2, 4, 6])
    )
    with pytest.raises(LimbeckError, match="student has 2 and the teacher 3; say which") as raised:
        Distiller(student, teacher, "vid", example=torch.rand(2, 1, 8, 8))
    advice = str(raised.value).rpartition("for example ")[2]
    Distiller(student, teacher, advice, example=torch.rand(2, 1, 8, 8))(torch.rand(4, 1, 8, 8)).backward()


def test_in_a_token_model_padding_does_not_count() -> None:
    torch.manual_seed(0)
    distiller = Distiller(WordNet(4), WordNet(6), "vid", example=WordNet.batch()).eval()
    one, other = distiller(WordNet.batch()).total.item(), distiller(WordNet.batch(padding=5)).total.item()
    assert one == pytest.approx(other, rel=1e-6)


def test_stages_of_different_kinds_are_refused() -> None:
    student = CNN([2, 4], in_channels=1, size=8, num_classes=3)
    teacher = MLP([5, 6], in_features=64, num_classes=3)
    with pytest.raises(
        LimbeckError, match=r"not stage 0 of the student \(2, 8, 8\) and stage 0 of the teacher \(5,\); name"
    ):
        Distiller(student, teacher, "vid", example=torch.rand(2, 1, 8, 8))
