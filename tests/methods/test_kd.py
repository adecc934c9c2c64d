"""KD against its equation, its limits, and the public implementation's values."""

from __future__ import annotations

import math
from typing import Any

import pytest
import reference_values
import torch
from reference_values import has_reference
from torch import Tensor

from limbeck import Batch, LimbeckError, Outputs
from limbeck.losses import kd
from limbeck.methods import KD
from limbeck.methods.kd import Divergence
from limbeck.outputs import NEVER
from limbeck.ranked import Ranked


def logits(samples: int = 4, classes: int = 5, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = scale * torch.randn(2, samples, classes, generator=generator, dtype=torch.float64)
    return student, teacher


def naive(student: list[float], teacher: list[float], temperature: float) -> float:
    """T^2 KL(p_t || p_s) of one sample, one number after the other."""

    def softmax(row: list[float]) -> list[float]:
        powers = [math.exp(z / temperature) for z in row]
        return [power / math.fsum(powers) for power in powers]

    p, q = softmax(teacher), softmax(student)
    return temperature**2 * math.fsum(p[c] * (math.log(p[c]) - math.log(q[c])) for c in range(len(p)))


@pytest.mark.parametrize("temperature", [0.5, 1, 4, 20.0])
@pytest.mark.parametrize(("samples", "classes"), [(4, 5), (1, 2), (3, 100)])
def test_it_is_the_papers_equation(temperature: float, samples: int, classes: int) -> None:
    student, teacher = logits(samples, classes)
    expected = [naive(s, t, temperature) for s, t in zip(student.tolist(), teacher.tolist(), strict=True)]
    assert kd(student, teacher, temperature, "none").tolist() == pytest.approx(expected, rel=1e-12)
    assert kd(student, teacher, temperature).item() == pytest.approx(sum(expected) / samples, rel=1e-12)


@pytest.mark.parametrize("divergence", ["forward", "reverse", "jsd", "tv"])
def test_classes_that_are_added_up_are_a_lower_bound(divergence: Any) -> None:
    student, teacher = logits(4, 9)
    known = torch.zeros(4, 9, dtype=torch.bool).scatter_(1, teacher.topk(3).indices, True)
    rows = [kd(student, teacher, 1.0, "none", each, divergence) for each in (known, None)]
    assert (rows[0] < rows[1] - 1e-6).all()
    # By hand: the three, and what is left of both.
    expected = [
        torch.cat([each.softmax(1)[known].view(4, 3), 1 - each.softmax(1)[known].view(4, 3).sum(1, True)], 1)
        for each in (student, teacher)
    ]
    by_hand = kd(expected[0].log(), expected[1].log(), 1.0, "none", None, divergence)
    torch.testing.assert_close(rows[0], by_hand, rtol=1e-9, atol=0)
    # Where both part the rest alike nothing is lost.
    alike = teacher.where(~known, student)
    torch.testing.assert_close(
        kd(alike, teacher, 1.0, "none", known, divergence), kd(alike, teacher, 1.0, "none", None, divergence)
    )
    student.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda given: kd(given, teacher, 1.0, "none", known, divergence), (student,), fast_mode=True
    )


def test_a_value_by_hand() -> None:
    # softmax(ln 3, 0) = (3/4, 1/4) for the teacher, (1/2, 1/2) for the student
    student, teacher = torch.zeros(1, 2), torch.tensor([[math.log(3), 0.0]])
    assert kd(student, teacher, 1).item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert kd(student, 2 * teacher, 2).item() == pytest.approx(4 * kd(student, teacher, 1).item())


@has_reference
@pytest.mark.parametrize("temperature", [1, 4])
def test_the_public_implementation_gives_the_same(temperature: float) -> None:
    inputs = reference_values.inputs()
    found = kd(inputs["student_logits"], inputs["teacher_logits"], temperature).item()
    assert found == reference_values.value(f"kd_T{temperature}")


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_gradient_keeps_its_scale(temperature: float) -> None:
    student, teacher = logits()
    student.requires_grad_()
    kd(student, teacher, temperature).backward()  # type: ignore[no-untyped-call]
    softened = (student / temperature).softmax(1) - (teacher / temperature).softmax(1)
    torch.testing.assert_close(student.grad, temperature * softened.detach() / len(student))


def test_at_high_temperature_it_matches_logits() -> None:
    """Section 2.1: with zero-mean logits it becomes half their squared distance over the classes."""
    student, teacher = logits(samples=1)
    centered = (student - student.mean()) - (teacher - teacher.mean())
    assert kd(student, teacher, 1e4).item() == pytest.approx(centered.square().sum().item() / 10, rel=1e-3)


def test_its_zero_and_its_invariances() -> None:
    student, teacher = logits()
    assert kd(teacher, teacher).item() == pytest.approx(0, abs=1e-15)
    assert (kd(student, teacher, reduction="none") > 0).all()
    torch.testing.assert_close(kd(student + 100, teacher - 50), kd(student, teacher))
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(kd(student[:, order], teacher[:, order]), kd(student, teacher))
    assert kd(student, teacher).item() != pytest.approx(kd(teacher, student).item()), "which way round counts"


@pytest.mark.parametrize(("temperature", "value"), [(1.0, 1e4), (4.0, 4e4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_certain_networks_that_disagree(temperature: float, value: float, dtype: torch.dtype) -> None:
    student = torch.tensor([[1e4, 0.0, 0.0]], dtype=dtype, requires_grad=True)
    loss = kd(student, torch.tensor([[0.0, 1e4, 0.0]], dtype=dtype), temperature)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(value)
    assert student.grad is not None
    assert student.grad.tolist() == [pytest.approx([temperature, -temperature, 0])]


def test_half_precision_is_left_at_the_door() -> None:
    student, teacher = (rows.bfloat16() for rows in logits())
    assert kd(student, teacher).dtype == torch.float32
    assert torch.equal(kd(student, teacher), kd(student.float(), teacher.float()))


def test_the_method_is_the_function() -> None:
    student, teacher = logits()
    for method, temperature in ((KD(), 4), (KD(temperature=2), 2)):
        terms = method.terms(Outputs(logits=student), Outputs(logits=teacher), Batch(student))
        assert list(terms) == ["kd"]
        assert torch.equal(terms["kd"].value, kd(student, teacher, temperature))
        assert (terms["kd"].kind, terms["kd"].weight) == ("distillation", 1)


@pytest.mark.parametrize("shape", [(4, 6), (1, 5), (4, 1), (5,)])
def test_logits_are_of_one_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(LimbeckError) as caught:
        kd(logits()[0], torch.zeros(shape))
    assert str(caught.value) == f"kd compares logits of one shape, not (4, 5) and {shape}"


@pytest.mark.parametrize("temperature", [0, -1, float("inf"), float("nan")])
def test_a_temperature_is_positive(temperature: float) -> None:
    with pytest.raises(LimbeckError, match=r"^kd: the argument temperature="):
        KD(temperature=temperature)


def test_classes_that_a_teacher_does_not_tell_apart_are_one() -> None:
    # (1/2, 1/4, 1/4) for the teacher, of which it tells the first; (1/8, 1/8, 3/4) for the student
    teacher, student = torch.tensor([[0.5, 0.25, 0.25]]).log(), torch.tensor([[0.125, 0.125, 0.75]]).log()
    known = torch.tensor([[True, False, False]])
    expected = 0.5 * math.log(0.5 / 0.125) + 0.5 * math.log(0.5 / 0.875)
    assert kd(student, teacher, 1, known=known).item() == pytest.approx(expected)
    other = torch.tensor([[0.5, 0.4, 0.1]]).log()
    assert kd(student, other, 1, known=known).item() == pytest.approx(expected), (
        "their sum is all that counts"
    )
    softened = [math.log(0.5), math.log(0.5)], [math.log(0.125), math.log(0.875)]
    assert kd(student, teacher, 4, known=known).item() == pytest.approx(naive(softened[1], softened[0], 4))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_one_class_that_is_left_over_is_told_by_the_others(temperature: float) -> None:
    student, teacher = logits()
    whole = kd(student, teacher, temperature, "none")
    for known in (torch.ones(4, 5, dtype=torch.bool), torch.arange(5).ne(2).expand(4, 5)):
        torch.testing.assert_close(kd(student, teacher, temperature, "none", known), whole)


def test_nothing_is_lost_where_the_sums_agree() -> None:
    student, _ = logits()
    student.requires_grad_()
    known = torch.tensor([True, False, False, False, True]).expand(4, 5)
    rest = (student.detach().softmax(1) * ~known).sum(1, keepdim=True) / 3
    teacher = torch.where(known, student.detach().softmax(1), rest).log()
    loss = kd(student, teacher, 1, known=known)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-12


@pytest.mark.parametrize("temperature", [0.1, 1.0, 4.0, 50.0])
def test_a_class_without_any_probability_costs_nothing(temperature: float) -> None:
    student, _ = logits(samples=2)
    student = student.float().requires_grad_()
    certain = torch.full((2, 5), NEVER)
    certain[0, 3] = certain[1, 0] = 0
    loss = kd(student, certain, temperature)
    loss.backward()  # type: ignore[no-untyped-call]
    softened = (student / temperature).log_softmax(1)
    expected = -(temperature**2) * (softened[0, 3] + softened[1, 0]) / 2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_known_is_a_truth_value_for_each_class() -> None:
    student, teacher = logits()
    with pytest.raises(
        LimbeckError, match=r"^kd: known must be .* bool of shape \(4, 5\), not torch.float32"
    ):
        kd(student, teacher, known=torch.ones(4, 5))
    with pytest.raises(LimbeckError, match=r"not torch.bool of shape \(5,\)$"):
        kd(student, teacher, known=torch.ones(5, dtype=torch.bool))


def test_the_method_takes_what_its_teacher_tells_apart() -> None:
    student, teacher = logits()
    known = torch.tensor([True, True, False, False, True]).expand(4, 5)
    terms = KD().terms(Outputs(logits=student), Outputs(logits=teacher, known=known), Batch(student))
    assert torch.equal(terms["kd"].value, kd(student, teacher, known=known))


def mixture(p: Tensor, q: Tensor, beta: float) -> Tensor:
    """The generalized Jensen-Shannon divergence of rows of probabilities, as GKD's equation has it."""
    m = beta * p + (1 - beta) * q
    return beta * (p * (p / m).log()).sum(1) + (1 - beta) * (q * (q / m).log()).sum(1)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_other_divergences_are_their_equations(temperature: float) -> None:
    student, teacher = logits()
    q, p = (student / temperature).softmax(1), (teacher / temperature).softmax(1)
    found = kd(student, teacher, temperature, "none", divergence="reverse")
    torch.testing.assert_close(found, temperature**2 * (q * (q / p).log()).sum(1))
    torch.testing.assert_close(found, kd(teacher, student, temperature, "none"))
    for beta in (0.1, 0.5, 0.9):
        found = kd(student, teacher, temperature, "none", divergence="jsd", beta=beta)
        torch.testing.assert_close(found, temperature**2 * mixture(p, q, beta))
    found = kd(student, teacher, temperature, "none", divergence="tv")
    torch.testing.assert_close(found, temperature * (p - q).abs().sum(1) / 2)


def test_jensen_and_shannon_by_hand() -> None:
    # (1, 0) and (1/2, 1/2): m = (3/4, 1/4), so 1/2 ln 4/3 + 1/2 (1/2 ln 2/3 + 1/2 ln 2)
    student, teacher = torch.zeros(1, 2), torch.tensor([[0.0, NEVER]])
    expected = 0.5 * math.log(4 / 3) + 0.25 * math.log(2 / 3) + 0.25 * math.log(2)
    assert kd(student, teacher, 1.0, divergence="jsd").item() == pytest.approx(expected)
    assert kd(student, teacher, 1.0, divergence="tv").item() == pytest.approx(0.5)


def test_a_mixture_that_is_all_but_one_of_the_two_tends_to_a_divergence() -> None:
    # GKD, section 2: JSD(beta) / beta tends to KL(p_t || p_s), JSD(1 - beta) / beta to KL(p_s || p_t)
    student, teacher = logits()
    for divergence, beta, share in (("forward", 1e-6, 1e-6), ("reverse", 1 - 1e-6, 1e-6)):
        found = kd(student, teacher, 1.0, divergence="jsd", beta=beta) / share
        expected = kd(student, teacher, 1.0, divergence=divergence)  # type: ignore[arg-type]
        assert found.item() == pytest.approx(expected.item(), rel=1e-3)


def test_the_largest_classes_count_by_themselves() -> None:
    student, teacher = logits()
    known = torch.zeros(4, 5, dtype=torch.bool)
    for row in range(4):
        known[row, teacher[row].argsort()[-2:]] = True
    terms = KD(1.0, top=2).terms(Outputs(logits=student), Outputs(logits=teacher), Batch(student))
    torch.testing.assert_close(terms["kd"].value, kd(student, teacher, 1.0, known=known))
    terms = KD(1.0, top=9).terms(Outputs(logits=student), Outputs(logits=teacher), Batch(student))
    torch.testing.assert_close(terms["kd"].value, kd(student, teacher, 1.0))


def test_the_method_has_the_divergences() -> None:
    student, teacher = logits()
    given = Outputs(logits=student), Outputs(logits=teacher), Batch(student)
    found = KD(2.0, divergence="jsd", beta=0.3).terms(*given)["kd"].value
    assert torch.equal(found, kd(student, teacher, 2.0, divergence="jsd", beta=0.3))
    assert str(KD(divergence="reverse")) == 'kd(divergence="reverse")'
    assert not KD(divergence="reverse").partial
    assert KD(divergence="reverse").ranked
    assert KD(divergence="jsd").partial
    with pytest.raises(LimbeckError, match=r'^kd: beta belongs to divergence="jsd", not to .reverse.; leave'):
        KD(divergence="reverse", beta=0.5)
    with pytest.raises(LimbeckError, match=r"divergence"):
        KD(divergence="sideways")  # type: ignore[arg-type]
    for beta in (0.0, 1.0):
        with pytest.raises(LimbeckError, match=rf"^kd: beta should be above 0 and below 1, not {beta}; "):
            kd(*logits(), divergence="jsd", beta=beta)
    with pytest.raises(LimbeckError, match=r"^kd: the divergence is forward, reverse, jsd or tv, not 'up'$"):
        kd(student, teacher, divergence="up")  # type: ignore[arg-type]


@pytest.mark.parametrize("top", [None, 2, 3, 9])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("divergence", ["forward", "reverse", "jsd", "tv"])
def test_the_most_probable_classes_and_a_sum_teach_as_logits_of_all_classes_do(
    divergence: Divergence, temperature: float, top: int | None
) -> None:
    student, teacher = (each.double() for each in logits())
    logs, ids = teacher.log_softmax(1).topk(3)
    answers = Ranked(ids, logs, (1 - logs.exp().sum(1, keepdim=True)).log(), 5)
    dense, known = answers.dense()
    method = KD(temperature, divergence=divergence, top=top)
    found = []
    for taught in (Outputs(ranked=answers), Outputs(logits=dense, known=known)):
        learning = student.clone().requires_grad_()
        value = method.terms(Outputs(logits=learning), taught, Batch(learning))["kd"].value
        found.append((value.detach(), *torch.autograd.grad(value, learning)))
    torch.testing.assert_close(*found)


def test_all_classes_may_be_told() -> None:
    student, teacher = (each.double() for each in logits())
    logs, ids = teacher.log_softmax(1).sort(descending=True)
    answers = Outputs(ranked=Ranked(ids, logs, torch.full((4, 1), -1e4, dtype=torch.float64), 5))
    found = KD(2.0).terms(Outputs(logits=student), answers, Batch(student))["kd"].value
    torch.testing.assert_close(found, kd(student, teacher, 2.0))


def test_numbers_are_no_logits() -> None:
    with pytest.raises(LimbeckError, match=r"^kd: student_logits must be a tensor, not 1$"):
        kd(1, 2)  # type: ignore[arg-type]
