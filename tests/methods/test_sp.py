from __future__ import annotations

import math

import pytest
import reference_values
import torch
from method_setting import make_setting
from reference_values import has_reference
from token_networks import WordNet
from torch import Tensor

from limbeck import Batch, Distiller
from limbeck.errors import LimbeckError
from limbeck.losses import similarity_preserving
from limbeck.models import MLP


def activations(
    student: tuple[int, ...], teacher: tuple[int, ...], samples: int = 4
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return (
        torch.randn(samples, *student, generator=generator, dtype=torch.float64),
        torch.randn(samples, *teacher, generator=generator, dtype=torch.float64),
    )


def naive(student: Tensor, teacher: Tensor) -> float:
    def rows(stage: Tensor) -> list[list[float]]:
        vectors = [sample.flatten().tolist() for sample in stage]
        products = [[math.fsum(x * y for x, y in zip(u, v, strict=True)) for v in vectors] for u in vectors]
        return [[product / math.hypot(*row) for product in row] for row in products]

    ours, theirs = rows(student), rows(teacher)
    squares = [(a - b) ** 2 for u, v in zip(ours, theirs, strict=True) for a, b in zip(u, v, strict=True)]
    return sum(squares) / len(student) ** 2


@pytest.mark.parametrize(("student", "teacher"), [((2, 3, 5), (4, 2, 2)), ((3, 4), (5, 6)), ((7,), (2,))])
def test_it_is_the_papers_equation(student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    pair = activations(student, teacher)
    assert similarity_preserving(*pair).item() == pytest.approx(naive(*pair), rel=1e-12)


@has_reference
def test_it_gives_the_published_value() -> None:
    inputs = reference_values.inputs()
    found = similarity_preserving(inputs["student_map"], inputs["teacher_map"])
    assert found.item() == reference_values.value("similarity_preserving")


def test_gradients_full_precision_and_silent_samples() -> None:
    student, teacher = activations((2, 3), (4,))
    assert torch.autograd.gradcheck(similarity_preserving, (student.requires_grad_(), teacher))
    short = similarity_preserving(student.bfloat16(), teacher.bfloat16())
    assert short.dtype == torch.float32
    assert short.item() == pytest.approx(similarity_preserving(student, teacher).item(), rel=0.05)
    silent = torch.zeros(4, 6, requires_grad=True)
    similarity_preserving(silent, teacher.float()).backward()  # type: ignore[no-untyped-call]
    assert silent.grad is not None
    assert silent.grad.isfinite().all()


def test_the_last_stage_unless_another_is_named() -> None:
    setting = make_setting()
    taken = {}
    for name, network in (("student", setting.student), ("teacher", setting.teacher)):
        network.eval()
        first = network.stage1(setting.inputs)
        taken[name] = [first, network.stage2(first)]
    for text, ours, theirs in (("sp", 1, 1), ("sp(stage=0)", 0, 0), ("sp(stage=[0, -1])", 0, 1)):
        found = setting.distiller(text).eval()(setting.inputs, setting.targets)["sp"].item()
        expected = similarity_preserving(taken["student"][ours], taken["teacher"][theirs]).item()
        assert found == pytest.approx(expected, rel=1e-4)


def test_networks_of_different_depth_meet_in_their_last_stage() -> None:
    student, teacher = (MLP(hidden, in_features=4, num_classes=3) for hidden in ((5,), (6, 7, 8)))
    distiller = Distiller(student, teacher, "sp", example=torch.rand(2, 4))
    assert distiller(torch.rand(6, 4)).total.item() > 0
    with pytest.raises(LimbeckError, match="stage 1 of the student, which has one stage, 0"):
        Distiller(student, teacher, "sp(stage=1)", example=torch.rand(2, 4))


def test_padding_counts_as_zero() -> None:
    torch.manual_seed(0)
    distiller = Distiller(WordNet(4), WordNet(6), "sp", example=WordNet.batch()).eval()
    one, other = distiller(WordNet.batch()).total.item(), distiller(WordNet.batch(padding=5)).total.item()
    assert one > 0
    assert one == pytest.approx(other, rel=1e-5)


def test_one_sample_is_compared_with_nothing() -> None:
    setting = make_setting()
    with pytest.raises(LimbeckError, match=r"sp .* at least 2 in a batch, not 1"):
        setting.distiller("sp")(setting.inputs[:1])


@pytest.mark.parametrize("padding", [0, 3])
def test_a_teacher_that_reads_other_tokens_has_a_mask_of_its_own(padding: int) -> None:
    torch.manual_seed(0)
    student, teacher = WordNet(4).double(), WordNet(6).double()
    inputs, others = WordNet.batch(), WordNet.batch(padding)
    others["attention_mask"] = others["attention_mask"].roll(1, 0)  # of other lengths than the student's
    distiller = Distiller(student, teacher, "sp", example=inputs, teacher_example=others)
    found = distiller(Batch(inputs, teacher_inputs={"teacher": others}))
    stages = []
    for network, given in ((student, inputs), (teacher, others)):
        stage = network.layer2(network.layer1(network.words(given["input_ids"]))).detach()
        stages.append(stage.masked_fill(given["attention_mask"].unsqueeze(2) == 0, 0))
    assert found["sp"].item() == pytest.approx(naive(*stages), rel=1e-6)
