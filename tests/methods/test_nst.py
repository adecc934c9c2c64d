from __future__ import annotations

import math

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
from limbeck.losses import nst
from limbeck.models import CNN, MLP
from limbeck.objective import parse


def maps(student: tuple[int, ...], teacher: tuple[int, ...], samples: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    return (
        torch.randn(samples, *student, generator=generator, dtype=torch.float64),
        torch.randn(samples, *teacher, generator=generator, dtype=torch.float64),
    )


def naive(student: Tensor, teacher: Tensor) -> list[float]:
    """Each sample's squared mean discrepancy, for maps of one size."""

    def unit(channel: Tensor) -> list[float]:
        values = channel.flatten().tolist()
        return [value / math.hypot(*values) for value in values]

    def mean_kernel(a: list[list[float]], b: list[list[float]]) -> float:
        products = [sum(x * y for x, y in zip(u, v, strict=True)) ** 2 for u in a for v in b]
        return sum(products) / len(products)

    found = []
    for s, t in zip(student, teacher, strict=True):
        ours, theirs = [unit(channel) for channel in s], [unit(channel) for channel in t]
        found.append(mean_kernel(theirs, theirs) + mean_kernel(ours, ours) - 2 * mean_kernel(ours, theirs))
    return found


FEW_CHANNELS = ((2, 3, 5), (4, 3, 5))
FEW_POSITIONS = ((7, 1, 3), (5, 1, 3))


@pytest.mark.parametrize(("student", "teacher"), [FEW_CHANNELS, FEW_POSITIONS])
def test_it_is_the_papers_equation_by_either_way(student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    pair = maps(student, teacher)
    expected = naive(*pair)
    assert nst(*pair, reduction="none").tolist() == pytest.approx(expected, rel=1e-12)
    assert nst(*pair).item() == pytest.approx(sum(expected) / 3, rel=1e-12)
    assert nst(pair[0], pair[0]).item() == pytest.approx(0, abs=1e-15)


def test_the_larger_map_is_pooled_on_either_side_and_along_either_axis() -> None:
    student, teacher = maps((2, 6, 4), (3, 3, 8))
    expected = naive(F.avg_pool2d(student, (2, 1)), F.avg_pool2d(teacher, (1, 2)))
    assert nst(student, teacher, reduction="none").tolist() == pytest.approx(expected, rel=1e-12)


@has_reference
def test_it_gives_the_published_value() -> None:
    inputs = reference_values.inputs()
    assert nst(inputs["student_map"], inputs["teacher_map"]).item() == reference_values.value("nst")


def test_tokens_are_places_and_padding_is_none() -> None:
    student, teacher = maps((4, 5), (4, 3))
    ours, theirs = (hidden.transpose(1, 2).unsqueeze(2) for hidden in (student, teacher))
    assert nst(student, teacher).item() == pytest.approx(nst(ours, theirs).item(), rel=1e-12)
    mask = torch.tensor([[True] * 4, [True, True, False, False], [True, True, True, False]])
    expected = [
        nst(s[None, valid], t[None, valid]).item() for s, t, valid in zip(student, teacher, mask, strict=True)
    ]
    assert nst(student, teacher, mask, "none").tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("student", "teacher"), [((2, 4, 2), (3, 2, 4)), FEW_POSITIONS])
def test_gradients_full_precision_and_silent_channels(
    student: tuple[int, ...], teacher: tuple[int, ...]
) -> None:
    ours, theirs = maps(student, teacher)
    assert torch.autograd.gradcheck(nst, (ours.requires_grad_(), theirs))
    short = nst(ours.bfloat16(), theirs.bfloat16())
    assert short.dtype == torch.float32
    assert short.item() == pytest.approx(nst(ours, theirs).item(), rel=0.1)
    silent = ours.detach().clone()
    silent[:, 0] = 0
    (gradient,) = torch.autograd.grad(nst(silent.requires_grad_(), theirs), silent)
    assert gradient[:, 0].abs().max() == 0
    assert 0 < gradient[:, 1:].abs().max() < 10


@pytest.mark.parametrize(("student", "teacher"), [((3, 5), (3, 5)), ((3, 4, 5), (3, 6, 5))])
def test_what_has_no_places_in_common_is_refused(student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    with pytest.raises(LimbeckError, match=r"two maps .* or two sequences"):
        nst(torch.ones(student), torch.ones(teacher))


def test_all_stages_are_summed_or_the_pairs_that_are_named() -> None:
    setting = make_setting()
    taken = {}
    for name, network in (("student", setting.student), ("teacher", setting.teacher)):
        first = network.eval().stage1(setting.inputs)
        taken[name] = [first, network.stage2(first)]
    each = [[nst(s, t).item() for t in taken["teacher"]] for s in taken["student"]]
    for text, expected in (
        ("nst", each[0][0] + each[1][1]),
        ("nst(pairs=[[0, -1], [1, 0]])", each[0][1] + each[1][0]),
    ):
        found = setting.distiller(text).eval()(setting.inputs, setting.targets)["nst"].item()
        assert found == pytest.approx(expected, rel=1e-4)


def test_unequal_stage_counts_want_pairs_and_vectors_have_no_places() -> None:
    student, teacher = (CNN(widths, in_channels=1, size=8, num_classes=3) for widths in ([2, 4], [2, 4, 6]))
    with pytest.raises(LimbeckError, match=r"student has 2 and the teacher 3; .* nst\(pairs=\[\[0, 0\]"):
        Distiller(student, teacher, "nst", example=torch.rand(2, 1, 8, 8))
    flat, other = (MLP([5, 6], in_features=4, num_classes=3) for _ in range(2))
    with pytest.raises(
        LimbeckError, match=r"not stage 0 of the student \(5,\) and stage 0 of the teacher \(5,\)"
    ):
        Distiller(flat, other, "nst", example=torch.rand(2, 4))


def test_in_a_token_model_padding_does_not_count() -> None:
    torch.manual_seed(0)
    distiller = Distiller(WordNet(4), WordNet(6), "nst", example=WordNet.batch()).eval()
    one, other = distiller(WordNet.batch()).total.item(), distiller(WordNet.batch(padding=5)).total.item()
    assert one > 0
    assert one == pytest.approx(other, rel=1e-5)


def test_pairs_that_make_no_sense_are_refused() -> None:
    with pytest.raises(LimbeckError, match="nst: the argument"):
        parse("nst(pairs=[[0]])")
