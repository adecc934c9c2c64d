from __future__ import annotations

import math

import pytest
import reference_values
import torch
from method_setting import make_setting
from reference_values import has_reference
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.losses import pkt
from limbeck.methods.parts.blocks import Form
from limbeck.objective import parse


def embeddings(student: tuple[int, ...], teacher: tuple[int, ...], samples: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return (
        torch.randn(samples, *student, generator=generator, dtype=torch.float64),
        torch.randn(samples, *teacher, generator=generator, dtype=torch.float64),
    )


def kernel(embedding: Tensor, i: int, j: int) -> float:
    a, b = embedding[i].flatten().tolist(), embedding[j].flatten().tolist()
    product: float = sum(x * y for x, y in zip(a, b, strict=True))
    return (1 + product / (math.hypot(*a) * math.hypot(*b))) / 2


def naive(student: Tensor, teacher: Tensor, form: Form) -> float:
    count, total = len(student), 0.0
    for i in range(count):
        others = [j for j in range(count) if form == "benchmark" or j != i]
        for j in others:
            p, q = (kernel(x, i, j) / sum(kernel(x, i, k) for k in others) for x in (teacher, student))
            total += p * math.log((p + 1e-7) / (q + 1e-7))
    return total / count**2 if form == "benchmark" else total


@pytest.mark.parametrize("form", ["benchmark", "paper"])
@pytest.mark.parametrize(("student", "teacher"), [((4,), (7,)), ((2, 3, 5), (3,))])
def test_it_is_the_equation(form: Form, student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    pair = embeddings(student, teacher)
    assert pkt(*pair, form).item() == pytest.approx(naive(*pair, form), rel=1e-9)


@has_reference
def test_it_gives_the_published_value() -> None:
    inputs = reference_values.inputs()
    found = pkt(inputs["student_embedding_wide"], inputs["teacher_embedding"])
    assert found.item() == reference_values.value("pkt")


@pytest.mark.parametrize("form", ["benchmark", "paper"])
def test_gradients_full_precision_and_extremes(form: Form) -> None:
    student, teacher = embeddings((4,), (3,))

    def loss(student: Tensor, teacher: Tensor) -> Tensor:
        return pkt(student, teacher, form)

    assert torch.autograd.gradcheck(loss, (student.requires_grad_(), teacher.requires_grad_()))
    short = loss(student.bfloat16(), teacher.bfloat16())
    assert short.dtype == torch.float32
    assert short.item() == pytest.approx(loss(student, teacher).item(), rel=0.05)
    line = torch.linspace(-1, 1, 300)
    for extreme in (torch.zeros(2, 300), torch.stack([line, -line]), torch.stack([line, -line * 1e10])):
        ours = extreme.clone().requires_grad_()
        theirs = torch.eye(2, 300)
        for value in (loss(ours, theirs), loss(theirs, ours)):
            assert value.isfinite()
            (gradient,) = torch.autograd.grad(value, ours)
            assert gradient.isfinite().all()
            assert gradient.abs().max() < 1e6


@pytest.mark.parametrize("form", ["benchmark", "paper"])
def test_it_is_least_where_the_directions_agree(form: Form) -> None:
    student, teacher = embeddings((4,), (4,))
    assert pkt(3 * teacher, teacher, form).item() == pytest.approx(0, abs=1e-12)
    assert pkt(student, teacher, form).item() > 1e-3


def test_the_embeddings_are_compared() -> None:
    setting = make_setting()
    student, teacher = (
        network.eval().stage2(network.stage1(setting.inputs)).mean((2, 3))
        for network in (setting.student, setting.teacher)
    )
    for text, expected in (
        ("pkt", pkt(student, teacher)),
        ('pkt(form="paper")', pkt(student, teacher, "paper")),
    ):
        found = setting.distiller(text).eval()(setting.inputs, setting.targets)["pkt"].item()
        assert found == pytest.approx(expected.item(), rel=1e-3)


def test_one_sample_has_no_other_neighbors() -> None:
    setting = make_setting()
    with pytest.raises(LimbeckError, match=r"pkt .* at least 2 in a batch, not 1"):
        setting.distiller("pkt")(setting.inputs[:1])


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(LimbeckError, match="'benchmark' or 'paper'"):
        parse('pkt(form="sum")')
