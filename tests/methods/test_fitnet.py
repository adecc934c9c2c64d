from __future__ import annotations

import copy

import pytest
import reference_values
import torch
from method_setting import make_setting
from reference_values import has_reference
from token_networks import WordNet
from torch import Tensor, nn

from limbeck import Distiller
from limbeck.errors import LimbeckError
from limbeck.losses import fitnet
from limbeck.methods import FitNet
from limbeck.models import CNN, MLP


def stages(*shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    student, teacher = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return student.to(dtype), teacher.to(dtype)


@pytest.mark.parametrize("shape", [(3, 2, 4, 5), (3, 4, 6), (3, 7)])
def test_it_is_the_mean_of_squares(shape: tuple[int, ...]) -> None:
    student, teacher = stages(*shape)
    samples = [
        sum((x - y) ** 2 for x, y in zip(s.flatten().tolist(), t.flatten().tolist(), strict=True)) / s.numel()
        for s, t in zip(student, teacher, strict=True)
    ]
    assert fitnet(student, teacher, reduction="none").tolist() == pytest.approx(samples, rel=1e-12)
    assert fitnet(student, teacher).item() == pytest.approx(sum(samples) / 3, rel=1e-12)


def test_it_may_be_the_mean_of_absolute_differences() -> None:
    student, teacher = stages(3, 2, 4, 5)
    assert fitnet(student, teacher, loss="l1").item() == pytest.approx(
        (student - teacher).abs().mean().item()
    )


def test_padding_does_not_count() -> None:
    student, teacher = stages(2, 4, 3)
    mask = torch.tensor([[True, True, True, True], [True, False, False, False]])
    expected = [fitnet(student[:1], teacher[:1]).item(), fitnet(student[1:, :1], teacher[1:, :1]).item()]
    assert fitnet(student, teacher, mask, "none").tolist() == pytest.approx(expected, rel=1e-12)


@has_reference
def test_it_gives_the_published_value() -> None:
    inputs = reference_values.inputs()
    assert fitnet(inputs["student_stage1"], inputs["teacher_stage1"]).item() == reference_values.value(
        "fitnet"
    )


def test_gradients_and_full_precision() -> None:
    student, teacher = stages(2, 3, 2, 3)
    assert torch.autograd.gradcheck(fitnet, (student.requires_grad_(), teacher))
    short = fitnet(*stages(2, 3, 2, 3, dtype=torch.bfloat16))
    assert short.dtype == torch.float32
    assert short.item() == pytest.approx(fitnet(student, teacher).item(), rel=0.05)


def test_different_shapes_are_never_broadcast() -> None:
    with pytest.raises(LimbeckError, match=r"of one shape, not \(3, 2\) and \(3, 1\)"):
        fitnet(torch.zeros(3, 2), torch.zeros(3, 1))


def method_of(distiller: Distiller) -> FitNet:
    method = next(distiller.objective.wrapped)
    assert isinstance(method, FitNet)
    return method


def test_the_second_stage_is_compared_through_the_regressor() -> None:
    setting = make_setting()
    distiller = setting.distiller("fitnet").eval()
    found = distiller(setting.inputs, setting.targets)["fitnet"].item()
    regressor = method_of(distiller).regressor
    ours, theirs = (copy.deepcopy(network).eval() for network in (setting.student, setting.teacher))
    expected = fitnet(
        regressor(ours.stage2(ours.stage1(setting.inputs))), theirs.stage2(theirs.stage1(setting.inputs))
    )
    assert found == pytest.approx(expected.item(), rel=1e-5)
    assert regressor(torch.rand(2, 6, 3, 3)).shape == (2, 8, 3, 3)


@pytest.mark.parametrize(("stage", "shapes"), [("[0, 1]", [(8, 3, 3, 3), (8,)]), ("0", [(4, 3, 1, 1), (4,)])])
def test_stages_of_ones_own_choice(stage: str, shapes: list[tuple[int, ...]]) -> None:
    setting = make_setting()
    distiller = setting.distiller(f"fitnet(stage={stage})")
    conv = method_of(distiller).regressor.get_submodule("0")
    assert [tuple(parameter.shape) for parameter in conv.parameters()] == shapes
    distiller(setting.inputs, setting.targets).backward()
    assert all(parameter.grad is not None for parameter in conv.parameters())


def test_vectors_go_through_a_linear_layer() -> None:
    student, teacher = (MLP(hidden, in_features=9, num_classes=3) for hidden in ((5, 6), (7, 8)))
    distiller = Distiller(student, teacher, "fitnet", example=torch.rand(2, 9))
    regressor = method_of(distiller).regressor
    assert isinstance(regressor, nn.Linear)
    assert (regressor.in_features, regressor.out_features) == (6, 8)


def test_in_a_token_model_padding_does_not_count() -> None:
    torch.manual_seed(0)
    distiller = Distiller(WordNet(4), WordNet(6), "fitnet", example=WordNet.batch())
    distiller.eval()
    one = distiller(WordNet.batch())
    other = distiller(WordNet.batch(padding=5))
    assert one.total.item() > 0
    assert one.total.item() == pytest.approx(other.total.item(), rel=1e-6)


def test_stages_that_nothing_brings_together_are_named() -> None:
    small, large = (CNN([4, 4], in_channels=1, size=size, num_classes=3) for size in (8, 12))
    larger = nn.Sequential(nn.Upsample((12, 12)), large)
    with pytest.raises(
        LimbeckError, match=r"stage 1 of the student \(4, 4, 4\) and stage 1 of the teacher \(4, 6, 6\)"
    ):
        Distiller(
            small,
            larger,
            "fitnet",
            example=torch.rand(2, 1, 8, 8),
            teacher_features={"stages": ["1.stages.0", "1.stages.1"]},
        )
    setting = make_setting()
    with pytest.raises(LimbeckError, match="stage 2 of the student, whose stages are 0 to 1"):
        setting.distiller("fitnet(stage=2)")
    with pytest.raises(LimbeckError, match=r"stage is one number, or .*, not \[0, 1, 2\]"):
        setting.distiller("fitnet(stage=[0, 1, 2])")
