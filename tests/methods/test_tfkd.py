from __future__ import annotations

import math

import pytest
import torch
from method_setting import CLASSES, make_setting
from torch import Tensor

from limbeck import Batch, Distiller, Outputs
from limbeck.errors import LimbeckError
from limbeck.losses import kd, tfkd
from limbeck.methods.tfkd import TFKD, Form
from limbeck.models import MLP
from limbeck.objective import parse
from limbeck.outputs import UNLABELED

TARGETS = torch.tensor([0, 3, 2])
FORMS: tuple[Form, ...] = ("paper", "released")


def logits(scale: float = 3.0) -> Tensor:
    return scale * torch.randn(3, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def softmax(values: list[float]) -> list[float]:
    top = max(values)
    return [math.exp(value - top) / sum(math.exp(other - top) for other in values) for value in values]


def naive(scores: list[float], target: int, temperature: float, correct: float, form: Form) -> float:
    classes = len(scores)
    virtual = [correct if k == target else (1 - correct) / (classes - 1) for k in range(classes)]
    if form == "paper":
        teacher = softmax([math.log(share) / temperature for share in virtual])
        student = softmax([score / temperature for score in scores])
    else:
        teacher, student = softmax([share / temperature for share in virtual]), softmax(scores)
    divergence = sum(q * math.log(q / p) for q, p in zip(teacher, student, strict=True))
    return divergence if form == "paper" else divergence / classes


@pytest.mark.parametrize(("temperature", "correct"), [(20.0, 0.99), (1.0, 0.9), (6.0, 0.5)])
@pytest.mark.parametrize("form", FORMS)
def test_it_is_the_papers_equation_or_the_released_one(
    temperature: float, correct: float, form: Form
) -> None:
    rows = zip(logits().tolist(), TARGETS.tolist(), strict=True)
    expected = [naive(scores, target, temperature, correct, form) for scores, target in rows]
    found = tfkd(logits(), TARGETS, temperature, correct, form, "none")
    assert found.tolist() == pytest.approx(expected, rel=1e-9)
    assert tfkd(logits(), TARGETS, temperature, correct, form).item() == pytest.approx(
        sum(expected) / 3, rel=1e-9
    )


def test_a_student_like_the_virtual_teacher_costs_nothing() -> None:
    virtual = torch.full((3, 4), math.log(0.01 / 3), dtype=torch.float64)
    virtual[range(3), TARGETS] = math.log(0.99)
    assert tfkd(virtual, TARGETS).item() == pytest.approx(0, abs=1e-12)


def test_the_released_target_is_all_but_uniform() -> None:
    target = torch.tensor([0])
    uniform = torch.zeros(1, 100, dtype=torch.float64)
    assert tfkd(uniform, target, form="released").item() == pytest.approx(0, abs=1e-6)
    assert tfkd(uniform, target, form="paper").item() > 1e-3


def test_gradients_full_precision_and_extreme_logits() -> None:
    for form in FORMS:
        assert torch.autograd.gradcheck(
            lambda z, form=form: tfkd(z, TARGETS, form=form), logits().requires_grad_()
        )
        extreme = (1e6 * logits()).float().requires_grad_()
        loss = tfkd(extreme, TARGETS, form=form)
        loss.backward()  # type: ignore[no-untyped-call]
        assert extreme.grad is not None
        assert loss.isfinite()
        assert extreme.grad.isfinite().all()
    short = tfkd(logits().bfloat16(), TARGETS)
    assert short.dtype == torch.float32
    assert short.item() == pytest.approx(tfkd(logits(), TARGETS).item(), rel=0.02)


def test_a_sample_without_a_label_counts_as_zero() -> None:
    targets = torch.tensor([0, UNLABELED, 2])
    found = tfkd(logits(), targets, reduction="none")
    assert found[1].item() == 0
    assert found[[0, 2]].tolist() == tfkd(logits(), TARGETS, reduction="none")[[0, 2]].tolist()
    scores = logits().requires_grad_()
    tfkd(scores, targets).backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    assert scores.grad[1].eq(0).all()


def test_the_virtual_teacher_needs_no_other() -> None:
    setting = make_setting()
    distiller = setting.distiller("tfkd(temperature=5, correct=0.9)").eval()
    found = distiller(setting.inputs, setting.targets)["tfkd"].item()
    expected = tfkd(setting.student.eval()(setting.inputs), setting.targets, 5.0, 0.9).item()
    assert found == pytest.approx(expected, rel=1e-6)
    with pytest.raises(LimbeckError, match="no use for a teacher"):
        Distiller(setting.student, setting.teacher, "tfkd", example=setting.inputs)


def test_the_self_teacher_is_a_trained_network_and_its_loss_is_kd() -> None:
    setting = make_setting()
    distiller = setting.distiller('tfkd(mode="self", temperature=6)').eval()
    assert distiller.teacher is not None
    found = distiller(setting.inputs)["tfkd"].item()
    student, teacher = (network.eval()(setting.inputs) for network in (setting.student, setting.teacher))
    assert found == pytest.approx(kd(student, teacher, 6.0).item(), rel=1e-6)
    with pytest.raises(LimbeckError, match="tfkd learns from a teacher, and none was given"):
        Distiller(setting.student, None, 'tfkd(mode="self")', example=setting.inputs)
    assert setting.student(setting.inputs).shape[1] == CLASSES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('tfkd(mode="selfish")', "mode"),
        ("tfkd(temperature=0)", "temperature=0 should be greater than 0"),
        ("tfkd(correct=1)", "correct=1 should be less than 1"),
        ('tfkd(mode="self", correct=0.9)', "correct is the virtual teacher's"),
        ('tfkd(mode="self", form="paper")', "form is the virtual teacher's"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        parse(text)


def test_a_single_output_is_refused() -> None:
    with pytest.raises(LimbeckError, match="one output, and a choice among classes needs 2 or more"):
        Distiller(MLP(in_features=4, num_classes=1), None, "tfkd", example=torch.rand(2, 4))


def test_the_teacher_may_tell_some_classes_apart_alone() -> None:
    student, teacher = 3 * torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    known = torch.arange(5).lt(2).expand(4, 5)
    outputs = Outputs(logits=teacher, known=known)
    found = TFKD(mode="self").terms(Outputs(logits=student), outputs, Batch(student))["tfkd"].value
    torch.testing.assert_close(found, kd(student, teacher, 20, known=known))
