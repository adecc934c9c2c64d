from __future__ import annotations

import math

import pytest
import reference_values
import torch
from method_setting import make_setting
from reference_values import has_reference
from torch import Tensor

from limbeck import Batch, LimbeckError, Outputs
from limbeck.losses import dkd, kd
from limbeck.methods import DKD
from limbeck.outputs import UNLABELED, Progress


def logits(samples: int = 4, classes: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = 3 * torch.randn(2, samples, classes, generator=generator, dtype=torch.float64)
    return student, teacher, torch.randint(classes, (samples,), generator=generator)


def divergence(p: list[float], q: list[float]) -> float:
    return math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def naive(student: list[float], teacher: list[float], target: int, temperature: float) -> tuple[float, float]:
    """TCKD and NCKD of one sample, one number after the other."""

    def softmax(row: list[float]) -> list[float]:
        powers = [math.exp(z / temperature) for z in row]
        return [power / math.fsum(powers) for power in powers]

    def without(row: list[float]) -> list[float]:
        return row[:target] + row[target + 1 :]

    p, q = softmax(teacher)[target], softmax(student)[target]
    binary = divergence([p, 1 - p], [q, 1 - q])
    others = divergence(softmax(without(teacher)), softmax(without(student)))
    return temperature**2 * binary, temperature**2 * others


@pytest.mark.parametrize("temperature", [0.5, 1, 4.0])
@pytest.mark.parametrize(("samples", "classes"), [(4, 5), (1, 2), (3, 100)])
def test_it_is_the_papers_equation(temperature: float, samples: int, classes: int) -> None:
    student, teacher, targets = logits(samples, classes)
    rows = zip(student.tolist(), teacher.tolist(), targets.tolist(), strict=True)
    expected = [0.5 * tckd + 3 * nckd for tckd, nckd in (naive(*row, temperature) for row in rows)]
    found = dkd(student, teacher, targets, 0.5, 3.0, temperature, reduction="none")
    assert found.tolist() == pytest.approx(expected, rel=1e-9)
    assert dkd(student, teacher, targets, 0.5, 3.0, temperature).item() == pytest.approx(found.mean().item())


@has_reference
def test_it_gives_the_published_value() -> None:
    inputs = reference_values.inputs()
    found = dkd(inputs["student_logits"], inputs["teacher_logits"], inputs["targets"])
    assert found.item() == reference_values.value("dkd_a1_b8_T4")


def test_weighted_by_one_and_the_teachers_doubt_it_is_kd() -> None:
    """Section 3.1: KD is TCKD + (1 - p_y) NCKD, each sample with its own p_y."""
    student, teacher, targets = logits()
    doubt = 1 - (teacher / 4).softmax(1)[range(4), targets]
    tckd, nckd = (dkd(student, teacher, targets, *weights, reduction="none") for weights in ((1, 0), (0, 1)))
    torch.testing.assert_close(tckd + doubt * nckd, kd(student, teacher, reduction="none"))


def test_gradient_and_shared_shifts() -> None:
    student, teacher, targets = logits()
    assert torch.autograd.gradcheck(lambda z: dkd(z, teacher, targets), student.requires_grad_())
    torch.testing.assert_close(dkd(student + 100, teacher - 50, targets), dkd(student, teacher, targets))
    assert dkd(teacher, teacher, targets).item() == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize("size", [150.0, 1e4])
def test_certain_networks_that_disagree(size: float) -> None:
    """At 150 and T = 1 the logarithm of a softmax is infinite; at 1e4 a mask of -1000 does not mask."""
    # By the target: in it, all of the difference; half of the rest besides; in the rest alone.
    for target, expected in ((0, size), (1, 1.5 * size - math.log(2)), (2, size)):
        student = torch.tensor([[size, 0.0, 0.0]], requires_grad=True)
        teacher = torch.tensor([[0.0, size, 0.0]])
        loss = dkd(student, teacher, torch.tensor([target]), 1.0, 1.0, temperature=1.0)
        loss.backward()  # type: ignore[no-untyped-call]
        assert loss.item() == pytest.approx(expected)
        assert student.grad is not None
        assert student.grad.isfinite().all()
        assert student.grad.abs().max() > 0.4


def test_a_sample_without_a_label_counts_as_zero() -> None:
    student, teacher, targets = logits()
    known = dkd(student, teacher, targets, reduction="none")
    targets[1] = UNLABELED
    student.requires_grad_()
    found = dkd(student, teacher, targets, reduction="none")
    assert found.tolist() == [known[0], 0, known[2], known[3]]
    assert dkd(student, teacher, targets).item() == pytest.approx(found.sum().item() / 4)
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert student.grad[1].tolist() == [0] * 5


def test_half_precision_is_left_at_the_door() -> None:
    student, teacher, targets = logits()
    student, teacher = student.bfloat16(), teacher.bfloat16()
    assert dkd(student, teacher, targets).dtype == torch.float32
    assert torch.equal(dkd(student, teacher, targets), dkd(student.float(), teacher.float(), targets))


def terms_at(method: DKD, epoch: int) -> dict[str, tuple[float, float]]:
    student, teacher, targets = logits()
    batch = Batch(student, targets, progress=Progress(epoch=epoch))
    terms = method.terms(Outputs(logits=student), Outputs(logits=teacher), batch)
    return {name: (term.value.item(), term.weight) for name, term in terms.items()}


def test_the_weights_rise_with_the_epochs_counted_from_one() -> None:
    student, teacher, targets = logits()
    tckd, nckd = (dkd(student, teacher, targets, *weights).item() for weights in ((1, 0), (0, 1)))
    for epoch, risen in ((0, 0.05), (9, 0.5), (19, 1), (200, 1)):
        terms = terms_at(DKD(alpha=2, beta=6), epoch)
        assert list(terms) == ["dkd.target", "dkd.non_target"]
        assert terms["dkd.target"] == pytest.approx((tckd, 2 * risen))
        assert terms["dkd.non_target"] == pytest.approx((nckd, 6 * risen))
    assert terms_at(DKD(warmup=1), 0)["dkd.non_target"][1] == 8


def test_only_with_a_warmup_must_the_epoch_be_known() -> None:
    setting = make_setting()
    assert setting.distiller("dkd(warmup=0)")(setting.inputs, setting.targets).total > 0
    distiller = setting.distiller("dkd")
    with pytest.raises(LimbeckError, match="dkd needs the progress of the batch"):
        distiller(setting.inputs, setting.targets)
    distiller.progress(step=40, epoch=10, fraction=0.5)
    losses = distiller(setting.inputs, setting.targets)
    parts = losses["dkd.target"] + 8 * losses["dkd.non_target"]
    assert losses.total.item() == pytest.approx(11 / 20 * parts.item())


def test_what_it_refuses() -> None:
    student, _, targets = logits()
    with pytest.raises(LimbeckError, match=r"dkd compares logits of one shape, not \(4, 5\) and \(4, 6\)"):
        dkd(student, torch.zeros(4, 6), targets)
    for argument in ("alpha=-1", "beta=-1", "temperature=0", "warmup=-1"):
        with pytest.raises(LimbeckError, match=f"dkd: the argument {argument}"):
            make_setting().distiller(f"dkd({argument})")
