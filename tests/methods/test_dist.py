from __future__ import annotations

import math

import pytest
import torch
from method_setting import make_setting
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.losses import dist
from limbeck.methods.parts.blocks import centered


def logits(samples: int = 4, classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = 2 * torch.randn(2, samples, classes, generator=generator, dtype=torch.float64)
    return student, teacher


def pearson(a: list[float], b: list[float]) -> float:
    mean_a, mean_b = math.fsum(a) / len(a), math.fsum(b) / len(b)
    covariance = math.fsum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    spreads = [math.hypot(*(x - mean for x in row)) for row, mean in ((a, mean_a), (b, mean_b))]
    return covariance / (spreads[0] * spreads[1] + 1e-8)


def naive(student: Tensor, teacher: Tensor, beta: float, gamma: float, temperature: float) -> float:
    def softmax(row: list[float]) -> list[float]:
        powers = [math.exp(z / temperature) for z in row]
        return [power / math.fsum(powers) for power in powers]

    ours, theirs = ([softmax(row) for row in rows.tolist()] for rows in (student, teacher))
    inter = [pearson(a, b) for a, b in zip(ours, theirs, strict=True)]
    columns = [[list(column) for column in zip(*rows, strict=True)] for rows in (ours, theirs)]
    intra = [pearson(a, b) for a, b in zip(*columns, strict=True)]
    means = [1 - math.fsum(values) / len(values) for values in (inter, intra)]
    return temperature**2 * (beta * means[0] + gamma * means[1])


@pytest.mark.parametrize(("beta", "gamma", "temperature"), [(1, 1, 1), (2, 2, 4.0), (0.5, 0, 1), (0, 3, 2)])
@pytest.mark.parametrize(("samples", "classes"), [(4, 5), (2, 2), (7, 30)])
def test_it_is_the_papers_equation(
    beta: float, gamma: float, temperature: float, samples: int, classes: int
) -> None:
    pair = logits(samples, classes)
    expected = naive(*pair, beta, gamma, temperature)
    assert dist(*pair, beta, gamma, temperature).item() == pytest.approx(expected, rel=1e-9)


def test_a_value_by_hand() -> None:
    """Two classes: rows correlate by 1 or -1, and the columns likewise."""
    student = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 1.0]])
    teacher = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 5.0]])
    assert dist(student, teacher, gamma=0).item() == pytest.approx(1 - (1 + 1 - 1 + 1) / 4, abs=1e-6)
    assert dist(student, -student, gamma=0, temperature=3).item() == pytest.approx(9 * 2, abs=1e-5)
    assert dist(student, student).item() == pytest.approx(0, abs=1e-6)


def test_it_matches_proportions_and_not_sizes() -> None:
    """Rows that are linear in one another correlate perfectly."""
    teacher = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]], dtype=torch.float64)
    student = 0.5 * teacher + 0.5 / 3
    assert dist(student.log(), teacher.log()).item() == pytest.approx(0, abs=1e-6)


def test_gradient_and_half_precision() -> None:
    student, teacher = logits()
    assert torch.autograd.gradcheck(lambda z: dist(z, teacher, 2, 3, 4.0), student.requires_grad_())
    short, other = student.detach().bfloat16(), teacher.bfloat16()
    assert dist(short, other).dtype == torch.float32
    assert torch.equal(dist(short, other), dist(short.float(), other.float()))


@pytest.mark.parametrize("flat", [0.0, 0.1, 7.3])
def test_what_is_constant_up_to_rounding_gets_no_gradient(flat: float) -> None:
    """As released, a student whose logits are all equal would get one of a hundred million."""
    student = torch.full((4, 100), flat, requires_grad=True)
    teacher = torch.randn(4, 100, generator=torch.Generator().manual_seed(1))
    loss = dist(student, teacher)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 2
    assert student.grad is not None
    assert student.grad.abs().max() == 0
    near = (flat + 1e-3 * torch.randn(4, 100, generator=torch.Generator().manual_seed(2))).requires_grad_()
    dist(near, teacher).backward()  # type: ignore[no-untyped-call]
    assert near.grad is not None
    assert near.grad.abs().max() > 1, "a small spread has an order to be learned"


def test_certainty_is_finite() -> None:
    one_hot = 1e4 * torch.eye(4)[[0, 0, 1, 2]]
    for teacher in (one_hot, one_hot.roll(1, 1), one_hot.roll(1, 0)):
        student = one_hot.clone().requires_grad_()
        loss = dist(student, teacher)
        loss.backward()  # type: ignore[no-untyped-call]
        assert loss.isfinite()
        assert student.grad is not None
        assert student.grad.isfinite().all()
    assert dist(one_hot, one_hot).item() == pytest.approx(0.25), "the class that nobody is given to"


def test_centered_rows() -> None:
    rows = torch.tensor([[1.0, 3.0], [0.1, 0.1], [0.0, 0.0]])
    assert centered(rows).tolist() == [[-1, 1], [0, 0], [0, 0]]
    small = 1 + 1e-6 * torch.arange(3.0)
    assert centered(small).tolist() == pytest.approx([-1e-6, 0, 1e-6], abs=2e-7)


def test_the_method_has_two_weighted_terms() -> None:
    setting = make_setting()
    distiller = setting.distiller("dist(beta=2, gamma=3, temperature=4)").eval()
    losses = distiller(setting.inputs)
    assert list(losses) == ["dist.inter", "dist.intra"]
    with torch.no_grad():
        student, teacher = distiller.student(setting.inputs), setting.teacher.eval()(setting.inputs)
    assert losses["dist.inter"].item() == pytest.approx(dist(student, teacher, 1, 0, 4).item(), rel=1e-4)
    assert losses["dist.intra"].item() == pytest.approx(dist(student, teacher, 0, 1, 4).item(), rel=1e-4)
    assert losses.total.item() == pytest.approx(dist(student, teacher, 2, 3, 4).item(), rel=1e-4)


def test_what_it_refuses() -> None:
    setting = make_setting()
    with pytest.raises(LimbeckError, match=r"dist compares logits of one shape, not \(4, 5\) and \(4, 6\)"):
        dist(torch.zeros(4, 5), torch.zeros(4, 6))
    with pytest.raises(LimbeckError, match=r"dist .* at least 2 in a batch, not 1"):
        setting.distiller("dist")(setting.inputs[:1])
    for argument in ("beta=-1", "gamma=-1", "temperature=0"):
        with pytest.raises(LimbeckError, match=f"dist: the argument {argument}"):
            setting.distiller(f"dist({argument})")
