from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from method_setting import make_setting
from torch import Tensor

from limbeck import Batch, Distiller, LimbeckError, Outputs
from limbeck.losses import bdd, cwd, kd
from limbeck.methods import BDD
from limbeck.models import MLP, build
from limbeck.tasks import Segmentation
from segmenters import Strided, batch_of


def logits(samples: int = 4, classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = 3 * torch.randn(2, samples, classes, generator=generator, dtype=torch.float64)
    return student, teacher


def divergence(first: list[float], second: list[float], temperature: float) -> float:
    """T^2 KL(softmax(first / T) || softmax(second / T)), one number after the other."""

    def softmax(row: list[float]) -> list[float]:
        powers = [math.exp(z / temperature) for z in row]
        return [power / math.fsum(powers) for power in powers]

    pairs = zip(softmax(first), softmax(second), strict=True)
    return temperature**2 * math.fsum(p * math.log(p / q) for p, q in pairs)


@pytest.mark.parametrize(("samples", "classes"), [(4, 5), (1, 2), (3, 100)])
def test_it_is_both_divergences_each_with_its_temperature(samples: int, classes: int) -> None:
    student, teacher = logits(samples, classes)
    rows = list(zip(student.tolist(), teacher.tolist(), strict=True))
    forward = math.fsum(divergence(theirs, ours, 4.0) for ours, theirs in rows) / samples
    reverse = math.fsum(divergence(ours, theirs, 1.5) for ours, theirs in rows) / samples
    assert bdd(student, teacher, 4.0, 1.5).item() == pytest.approx(forward + reverse, rel=1e-9)
    weighed = bdd(student, teacher, 4.0, 1.5, weight=0.3, reverse_weight=7.0)
    assert weighed.item() == pytest.approx(0.3 * forward + 7 * reverse, rel=1e-9)


def test_without_the_reverse_part_it_is_kd() -> None:
    student, teacher = logits()
    assert torch.equal(bdd(student, teacher, 3.0, 2.0, 1.0, 0.0), kd(student, teacher, 3.0))
    assert not torch.equal(bdd(student, teacher, 3.0, 2.0, 1.0, 0.1), kd(student, teacher, 3.0))


def test_the_reverse_part_sees_what_the_teacher_all_but_rules_out() -> None:
    """A class of probability e^-20 in the teacher: pushed down harder than by KD, which sees e^-3 alone."""
    teacher = torch.tensor([[0.0, 0.0, -20.0]], dtype=torch.float64)
    gradients = []
    for weights in ((1.0, 0.0), (0.0, 1.0)):
        student = torch.tensor([[0.0, 0.0, -3.0]], dtype=torch.float64, requires_grad=True)
        bdd(student, teacher, 1.0, 1.0, *weights).backward()  # type: ignore[no-untyped-call]
        assert student.grad is not None
        gradients.append(student.grad[0, 2].item())
    assert gradients[0] == pytest.approx(math.exp(-3) / (2 + math.exp(-3)), rel=1e-6)
    assert gradients[1] > 10 * gradients[0]


def test_the_terms_are_the_two_parts() -> None:
    student, teacher = logits()
    method = BDD(temperature=3, reverse_temperature=2, weight=0.5, reverse_weight=4)
    terms = method.terms(Outputs(logits=student), Outputs(logits=teacher), Batch(student))
    assert list(terms) == ["bdd.forward", "bdd.reverse"]
    assert torch.equal(terms["bdd.forward"].value, kd(student, teacher, 3))
    assert torch.equal(terms["bdd.reverse"].value, kd(teacher, student, 2))
    assert [term.weight for term in terms.values()] == [0.5, 4]
    total = sum(term.weight * term.value for term in terms.values())
    torch.testing.assert_close(total, bdd(student, teacher, 3, 2, 0.5, 4))


def test_its_recipe_weighs_as_kds_where_the_two_parts_are_alike() -> None:
    setting = make_setting()
    alike = setting.distiller("0.1*ce + 0.45*bdd(temperature=100, reverse_temperature=100)")
    usual = setting.distiller("0.1*ce + 0.9*kd(temperature=100)")
    found, expected = (each(setting.inputs, setting.targets) for each in (alike, usual))
    assert found.distillation is not None
    assert expected.distillation is not None
    assert found.distillation.item() == pytest.approx(expected.distillation.item(), rel=0.01)


def test_what_it_refuses() -> None:
    student, _ = logits()
    with pytest.raises(LimbeckError, match=r"bdd compares logits of one shape, not \(4, 5\) and \(4, 6\)"):
        bdd(student, torch.zeros(4, 6), 4.0, 2.0)
    for argument in ("temperature=0", "reverse_temperature=0", "weight=-1", "reverse_weight=-1"):
        with pytest.raises(LimbeckError, match=f"bdd: the argument {argument}"):
            make_setting().distiller(f"bdd({argument})")


def test_over_positions_a_distribution_is_that_of_a_class_over_the_image() -> None:
    student, teacher = Strided(4, 4).double(), Strided(6, 2, seed=1).double()
    batch, task = batch_of(), Segmentation(("a", "b", "c"))
    objective = 'bdd(over="positions", temperature=4.0, reverse_temperature=4.0, reverse_weight=7.0)'
    losses = Distiller(student, teacher, objective, example=batch.inputs, task=task)(batch)
    ours = F.interpolate(student(batch.inputs), (4, 4), mode="bilinear")
    theirs = teacher(batch.inputs)
    assert losses["bdd.forward"].item() == pytest.approx(cwd(ours, theirs).item(), rel=1e-10)
    assert losses["bdd.reverse"].item() == pytest.approx(cwd(theirs, ours).item(), rel=1e-10)
    expected = cwd(ours, theirs) + 7 * cwd(theirs, ours)
    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-10)


def test_over_positions_it_needs_maps() -> None:
    networks = [MLP([8], in_features=4, num_classes=3) for _ in range(2)]
    with pytest.raises(LimbeckError, match="bdd compares logits at the positions of an image"):
        Distiller(networks[0], networks[1], 'bdd(over="positions")', example=torch.rand(2, 4))


def test_over_positions_it_needs_several() -> None:
    images = torch.rand(2, 3, 4, 4)
    networks = [build("deeplab(channels=[2, 2, 2])", example=images, num_classes=3) for _ in range(2)]
    task = Segmentation(("a", "b", "c"))
    distiller = Distiller(networks[0], networks[1], 'bdd(over="positions")', example=images, task=task)
    with pytest.raises(LimbeckError, match=r"bdd compares distributions over the positions .*one position"):
        distiller(images)
