from __future__ import annotations

import math

import pytest
import reference_values
import torch
import torch.nn.functional as F
from method_setting import make_setting
from reference_values import has_reference
from torch import Tensor, nn

from limbeck import Distiller
from limbeck.errors import LimbeckError
from limbeck.losses import correlation_congruence
from limbeck.methods import CC
from limbeck.methods.parts.blocks import Form
from limbeck.objective import parse


def embeddings(student: int, teacher: int, samples: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    return (
        torch.randn(samples, student, generator=generator, dtype=torch.float64),
        torch.randn(samples, teacher, generator=generator, dtype=torch.float64),
    )


def naive_benchmark(student: Tensor, teacher: Tensor) -> float:
    errors = [
        [abs(a - b) for a, b in zip(s, t, strict=True)]
        for s, t in zip(student.tolist(), teacher.tolist(), strict=True)
    ]
    products: list[float] = [
        sum(errors[i][d] * errors[i + 1][d] for d in range(len(errors[i]))) for i in range(len(errors) - 1)
    ]
    return sum(products) / len(products)


def naive_paper(student: Tensor, teacher: Tensor) -> float:
    def kernel(vectors: list[list[float]], i: int, j: int) -> float:
        product = sum(a * b for a, b in zip(vectors[i], vectors[j], strict=True))
        product /= math.hypot(*vectors[i]) * math.hypot(*vectors[j])
        return math.exp(-0.8) * sum(0.8**p / math.factorial(p) * product**p for p in (0, 1, 2))

    ours, theirs, count = student.tolist(), teacher.tolist(), len(student)
    squares = [(kernel(ours, i, j) - kernel(theirs, i, j)) ** 2 for i in range(count) for j in range(count)]
    return sum(squares) / count**2


def test_the_benchmarks_form_multiplies_the_errors_of_neighbors() -> None:
    pair = embeddings(6, 6)
    assert correlation_congruence(*pair).item() == pytest.approx(naive_benchmark(*pair), rel=1e-12)


def test_the_papers_form_compares_kernels_of_any_widths() -> None:
    pair = embeddings(6, 3)
    found = correlation_congruence(*pair, form="paper").item()
    assert found == pytest.approx(naive_paper(*pair), rel=1e-12)


def test_the_papers_kernel_is_nearly_the_gaussian_it_expands() -> None:
    pair = embeddings(6, 6)
    gaussians = [torch.cdist(F.normalize(x), F.normalize(x)).square().mul(-0.4).exp() for x in pair]
    remainder = math.exp(-0.8) * 0.8**3 / math.factorial(3) * math.exp(0.8)  # of each kernel, at most
    found = correlation_congruence(*pair, form="paper").sqrt().item()
    assert found == pytest.approx(
        (gaussians[0] - gaussians[1]).square().mean().sqrt().item(), abs=2 * remainder
    )


@has_reference
def test_it_gives_the_published_value() -> None:
    inputs = reference_values.inputs()
    found = correlation_congruence(inputs["student_embedding"], inputs["teacher_embedding"])
    assert found.item() == reference_values.value("cc_benchmark")


@pytest.mark.parametrize("form", ["benchmark", "paper"])
def test_gradients_full_precision_and_silent_samples(form: Form) -> None:
    student, teacher = embeddings(4, 4)

    def loss(student: Tensor, teacher: Tensor) -> Tensor:
        return correlation_congruence(student, teacher, form)

    assert torch.autograd.gradcheck(loss, (student.requires_grad_(), teacher.requires_grad_()))
    short = loss(student.bfloat16(), teacher.bfloat16())
    assert short.dtype == torch.float32
    assert short.item() == pytest.approx(loss(student, teacher).item(), rel=0.05)
    silent = torch.zeros(5, 4, requires_grad=True)
    loss(silent, teacher.float()).backward()  # type: ignore[no-untyped-call]
    assert silent.grad is not None
    assert silent.grad.abs().max() < 10


@pytest.mark.parametrize(("student", "teacher"), [((4, 3), (4, 1)), ((1, 3), (1, 3))])
def test_what_has_no_neighbors_in_one_space_is_refused(
    student: tuple[int, ...], teacher: tuple[int, ...]
) -> None:
    with pytest.raises(LimbeckError, match="neighboring samples of a batch of at least 2"):
        correlation_congruence(torch.ones(student), torch.ones(teacher))


def test_the_papers_form_compares_the_same_samples() -> None:
    with pytest.raises(LimbeckError, match="correlation congruence compares the same samples, not 4 and 1"):
        correlation_congruence(torch.ones(4, 3), torch.ones(1, 3), form="paper")


def method_of(distiller: Distiller) -> CC:
    method = next(distiller.objective.wrapped)
    assert isinstance(method, CC)
    return method


def taken(network: nn.Module, inputs: Tensor) -> Tensor:
    embedding: Tensor = network.stage2(network.stage1(inputs)).mean((2, 3))  # type: ignore[operator]
    return embedding


def test_both_embeddings_are_mapped_to_one_space_and_both_maps_are_trained() -> None:
    setting = make_setting()
    distiller = setting.distiller("cc(dim=7)").eval()
    method = method_of(distiller)
    losses = distiller(setting.inputs, setting.targets)
    expected = correlation_congruence(
        method.embed_student(taken(setting.student.eval(), setting.inputs)),
        method.embed_teacher(taken(setting.teacher.eval(), setting.inputs)),
    )
    assert losses["cc"].item() == pytest.approx(expected.item(), rel=1e-5)
    losses.backward()
    shapes = {name: tuple(parameter.shape) for name, parameter in method.named_parameters()}
    assert shapes == {
        "embed_student.weight": (7, 6),
        "embed_student.bias": (7,),
        "embed_teacher.weight": (7, 8),
        "embed_teacher.bias": (7,),
    }
    assert all(parameter.grad is not None for parameter in method.parameters())


def test_the_papers_form_has_nothing_to_train_of_its_own() -> None:
    setting = make_setting()
    distiller = setting.distiller('cc(form="paper")').eval()
    assert not list(method_of(distiller).parameters())
    expected = correlation_congruence(
        taken(setting.student.eval(), setting.inputs), taken(setting.teacher.eval(), setting.inputs), "paper"
    )
    found = distiller(setting.inputs, setting.targets)["cc"].item()
    assert found == pytest.approx(expected.item(), rel=1e-5)


def test_one_sample_is_compared_with_nothing() -> None:
    setting = make_setting()
    with pytest.raises(LimbeckError, match=r"cc .* at least 2 in a batch, not 1"):
        setting.distiller("cc")(setting.inputs[:1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('cc(form="kernel")', "'benchmark' or 'paper'"),
        ("cc(dim=0)", "cc: the argument dim=0"),
        ('cc(form="paper", dim=8)', 'form="paper" maps embeddings to no other space; leave dim out'),
    ],
)
def test_arguments_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        parse(text)
