from __future__ import annotations

import pytest
import reference_values
import torch
import torch.nn.functional as F
from method_setting import make_setting
from reference_values import has_reference
from token_networks import WordNet
from torch import Tensor

from limbeck import Distiller
from limbeck.errors import LimbeckError
from limbeck.losses import attention_transfer
from limbeck.methods.at import attention
from limbeck.models import CNN, MLP
from limbeck.objective import parse


def maps(student: tuple[int, ...], teacher: tuple[int, ...], samples: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return (
        torch.randn(samples, *student, generator=generator, dtype=torch.float64),
        torch.randn(samples, *teacher, generator=generator, dtype=torch.float64),
    )


def naive(student: Tensor, teacher: Tensor, p: int) -> list[float]:
    """Each sample's mean squared difference of attention, for maps of one size."""

    def attention(maps: Tensor) -> list[float]:
        channels, height, width = maps.shape
        energies = [
            sum(abs(maps[c, y, x].item()) ** p for c in range(channels)) / channels
            for y in range(height)
            for x in range(width)
        ]
        length = sum(energy**2 for energy in energies) ** 0.5
        return [energy / length for energy in energies]

    return [
        sum((a - b) ** 2 for a, b in zip(attention(s), attention(t), strict=True)) / s[0].numel()
        for s, t in zip(student, teacher, strict=True)
    ]


@pytest.mark.parametrize("p", [1, 2, 3])
def test_it_is_the_papers_equation_as_a_mean(p: int) -> None:
    student, teacher = maps((2, 3, 5), (4, 3, 5))
    expected = naive(student, teacher, p)
    assert attention_transfer(student, teacher, p, reduction="none").tolist() == pytest.approx(
        expected, rel=1e-12
    )
    assert attention_transfer(student, teacher, p).item() == pytest.approx(sum(expected) / 3, rel=1e-12)


def test_the_larger_map_is_pooled_on_either_side_and_along_either_axis() -> None:
    student, teacher = maps((2, 6, 4), (3, 3, 8))
    expected = naive(F.avg_pool2d(student, (2, 1)), F.avg_pool2d(teacher, (1, 2)), 2)
    assert attention_transfer(student, teacher, reduction="none").tolist() == pytest.approx(
        expected, rel=1e-12
    )
    student, teacher = maps((2, 5, 7), (3, 3, 4))
    expected = naive(F.adaptive_avg_pool2d(student, (3, 4)), teacher, 2)
    assert attention_transfer(student, teacher, reduction="none").tolist() == pytest.approx(
        expected, rel=1e-12
    )


@has_reference
def test_it_gives_the_published_values() -> None:
    inputs = reference_values.inputs()
    plain = attention_transfer(inputs["student_map"], inputs["teacher_map"])
    pooled = attention_transfer(inputs["student_map_big"], inputs["teacher_map"])
    assert plain.item() == reference_values.value("attention_transfer")
    assert pooled.item() == reference_values.value("attention_transfer_pooled")


def test_tokens_are_places_and_padding_is_none() -> None:
    student, teacher = maps((4, 5), (4, 3))
    ours, theirs = (hidden.transpose(1, 2).unsqueeze(2) for hidden in (student, teacher))
    assert attention_transfer(student, teacher).item() == pytest.approx(
        attention_transfer(ours, theirs).item(), rel=1e-12
    )
    mask = torch.tensor([[True] * 4, [True, True, False, False], [True, True, True, False]])
    expected = [
        attention_transfer(s[None, valid], t[None, valid]).item()
        for s, t, valid in zip(student, teacher, mask, strict=True)
    ]
    found = attention_transfer(student, teacher, mask=mask, reduction="none")
    assert found.tolist() == pytest.approx(expected, rel=1e-12)


def test_gradients_full_precision_and_silent_samples() -> None:
    student, teacher = maps((2, 4, 2), (3, 2, 4))
    assert torch.autograd.gradcheck(attention_transfer, (student.requires_grad_(), teacher))
    short = attention_transfer(student.bfloat16(), teacher.bfloat16())
    assert short.dtype == torch.float32
    assert short.item() == pytest.approx(attention_transfer(student, teacher).item(), rel=0.05)
    silent = torch.zeros(3, 2, 4, 2, requires_grad=True)
    attention_transfer(silent, teacher.float()).backward()  # type: ignore[no-untyped-call]
    assert silent.grad is not None
    assert silent.grad.isfinite().all()


@pytest.mark.parametrize(
    ("student", "teacher"),
    [((3, 5), (3, 5)), ((3, 4, 5), (3, 6, 5)), ((3, 2, 4, 4), (3, 4, 5)), ((2, 2, 4, 4), (1, 2, 4, 4))],
)
def test_what_has_no_places_in_common_is_refused(student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    with pytest.raises(LimbeckError, match=r"two maps .* or two sequences"):
        attention_transfer(torch.ones(student), torch.ones(teacher))


def test_all_stages_are_summed_or_the_pairs_that_are_named() -> None:
    setting = make_setting()
    distiller = setting.distiller("at").eval()
    found = distiller(setting.inputs, setting.targets)["at"].item()
    taken = {}
    for name, network in (("student", setting.student), ("teacher", setting.teacher)):
        network.eval()
        first = network.stage1(setting.inputs)
        taken[name] = [first, network.stage2(first)]
    each = [[attention_transfer(s, t).item() for t in taken["teacher"]] for s in taken["student"]]
    assert found == pytest.approx(each[0][0] + each[1][1], rel=1e-5)
    crossed = setting.distiller("at(pairs=[[0, -1], [1, 0]])").eval()
    found = crossed(setting.inputs, setting.targets)["at"].item()
    assert found == pytest.approx(each[0][1] + each[1][0], rel=1e-5)


def test_unequal_stage_counts_want_pairs() -> None:
    student, teacher = (
        CNN(channels, in_channels=1, size=8, num_classes=3) for channels in ([2, 4], [2, 4, 6])
    )
    with pytest.raises(LimbeckError, match=r"student has 2 and the teacher 3; say .* for example") as raised:
        Distiller(student, teacher, "at", example=torch.rand(2, 1, 8, 8))
    advice = str(raised.value).rpartition("for example ")[2]
    assert advice == "at(pairs=[[0, 0], [1, 2]])"
    assert (
        Distiller(student, teacher, advice, example=torch.rand(2, 1, 8, 8))(
            torch.rand(4, 1, 8, 8)
        ).total.item()
        > 0
    )


def test_vectors_have_no_places() -> None:
    student, teacher = (MLP([5, 6], in_features=4, num_classes=3) for _ in range(2))
    with pytest.raises(
        LimbeckError, match=r"stage 0 of the student \(5,\) and stage 0 of the teacher \(5,\)"
    ):
        Distiller(student, teacher, "at", example=torch.rand(2, 4))


def test_in_a_token_model_padding_does_not_count() -> None:
    torch.manual_seed(0)
    distiller = Distiller(WordNet(4), WordNet(6), "at", example=WordNet.batch()).eval()
    one, other = distiller(WordNet.batch()).total.item(), distiller(WordNet.batch(padding=5)).total.item()
    assert one > 0
    assert one == pytest.approx(other, rel=1e-6)


@pytest.mark.parametrize(
    "text", ["at(p=0)", "at(p=1.5)", "at(pairs=[])", "at(pairs=[[0]])", "at(pairs=[0, 1])"]
)
def test_arguments_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(LimbeckError, match="at: the argument"):
        parse(text)


def test_a_square_is_that_of_the_absolute_value_to_the_bit() -> None:
    stage = torch.randn(3, 5, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    energy = stage.abs().pow(2).mean(1).flatten(1)
    expected = torch.nn.functional.normalize(energy, dim=1)
    (theirs,) = torch.autograd.grad(expected[:, 0].sum(), stage)
    found = attention(stage)
    (ours,) = torch.autograd.grad(found[:, 0].sum(), stage)
    assert torch.equal(found, expected)
    assert torch.equal(ours, theirs)
