from __future__ import annotations

import copy
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from method_setting import SAMPLES, Answers, make_setting
from token_networks import WordNet
from torch import Tensor, nn
from torch.func import functional_call

from limbeck import Distiller
from limbeck.errors import LimbeckError
from limbeck.losses import kd
from limbeck.methods import IKD
from limbeck.methods.ikd import exam_gradient
from limbeck.optimization import Adam
from limbeck.outputs import UNLABELED


def method_of(distiller: Distiller) -> IKD:
    return next(method for method in distiller.objective.wrapped if isinstance(method, IKD))


def disturb(network: nn.Module) -> None:
    """Moves the weights, so that a copy is not the teacher any more."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))


def test_the_gradient_by_the_logits_that_taught_is_that_of_the_exam_through_a_step() -> None:
    torch.manual_seed(0)
    weights, inputs = torch.randn(3, 4, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    taught = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    a, e, temperature = 0.3, 0.2, 2.0

    def exam(moved: Tensor) -> Tensor:
        return (inputs.flip(0) @ moved).logsumexp(1).sum() - moved.sum()

    learning = weights.clone().requires_grad_()
    course = a * kd(inputs @ learning, taught, temperature)
    (direction,) = torch.autograd.grad(course, learning, create_graph=True)
    after = learning - e * direction
    (expected,) = torch.autograd.grad(exam(after), taught)

    (g,) = torch.autograd.grad(exam(at := after.detach().requires_grad_()), at)
    moving = inputs @ g / temperature
    slopes = moving - ((inputs @ weights / temperature).softmax(1) * moving).sum(1, keepdim=True)
    found = exam_gradient(taught.detach(), slopes, a * e * temperature**2 / 6, temperature)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(found.sum(1), torch.zeros(6, dtype=torch.float64))
    assert exam_gradient(taught.detach(), 0 * slopes, 1.0, 1.0).eq(0).all()


def explicit(
    distiller: Distiller, targets: Tensor, inputs: Tensor, held: Tensor, order: str, a: float
) -> dict[str, Tensor]:
    """The exam's gradient by the copy's weights, by autograd through a step of SGD of the student."""
    student, tutor, temperature, size = distiller.student, copy.deepcopy(method_of(distiller).tutor), 3.0, 0.5
    buffers = {name: tensor.clone() for name, tensor in student.named_buffers()}
    weights = {name: p.detach().clone().requires_grad_() for name, p in student.named_parameters()}

    def answer(state: dict[str, Tensor], chosen: Tensor) -> Tensor:
        fresh = {name: tensor.clone() for name, tensor in buffers.items()}
        return cast(Tensor, functional_call(student, {**state, **fresh}, (inputs[chosen],)))

    def entropy(logits: Tensor, chosen: Tensor) -> Tensor:
        known = targets[chosen] != UNLABELED
        return F.cross_entropy(logits[known], targets[chosen][known], reduction="sum") / len(logits)

    logits = answer(weights, ~held)
    course = a * kd(logits, tutor(inputs)[~held], temperature) + (1 - a) * entropy(logits, ~held)
    directions = torch.autograd.grad(course, list(weights.values()), create_graph=True)
    if order == "exact":
        after = {name: w - size * d for (name, w), d in zip(weights.items(), directions, strict=True)}
        value = entropy(answer(after, held), held)
    else:
        steepest = torch.autograd.grad(entropy(answer(weights, held), held), list(weights.values()))
        products = [(g * d).sum() for g, d in zip(steepest, directions, strict=True)]
        value = -size * torch.stack(products).sum()
    found = torch.autograd.grad(value, list(tutor.parameters()))
    return dict(zip(dict(tutor.named_parameters()), found, strict=True))


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("order", ["exact", "first_order"])
def test_the_copy_gets_the_gradient_of_the_exam_through_the_course(order: str, norm: bool) -> None:
    setting = make_setting(norm=norm, dtype=torch.float64)
    text = f'0.7*ikd(3, alpha=0.6, step=0.5, exam=0.25, gradient="{order}")'
    distiller = setting.distiller(text).train()
    method = method_of(distiller)
    disturb(method.tutor)
    targets = setting.targets.clone()
    targets[[2, 3]] = UNLABELED  # one in the course, one in the exam
    held, counts = method._held_out(SAMPLES, torch.device("cpu"))
    assert counts == (12, 4)
    assert held.nonzero().flatten().tolist() == [3, 7, 11, 15]
    expected = explicit(distiller, targets, setting.inputs, held, order, 0.6)
    distiller(setting.inputs, targets).backward()
    largest = max(float(tensor.abs().max()) for tensor in expected.values())
    for name, parameter in method.tutor.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-6, atol=1e-8 * largest, msg=name)


def test_the_exam_is_after_the_course_and_first_order_before_it() -> None:
    setting = make_setting(dtype=torch.float64)
    figures = {}
    for order in ("exact", "first_order"):
        distiller = setting.distiller(f'ikd(alpha=0, step=0.5, gradient="{order}")').eval()
        figures[order] = distiller(setting.inputs, setting.targets)["ikd.exam"].item()
        held, _ = method_of(distiller)._held_out(SAMPLES, torch.device("cpu"))
    student = copy.deepcopy(setting.student).eval()
    F.cross_entropy(student(setting.inputs[~held]), setting.targets[~held]).backward()  # type: ignore[no-untyped-call]
    before = F.cross_entropy(student(setting.inputs[held]), setting.targets[held]).item()
    torch.optim.SGD(student.parameters(), lr=0.5).step()
    after = F.cross_entropy(student(setting.inputs[held]), setting.targets[held]).item()
    assert figures == {
        "exact": pytest.approx(after, rel=1e-9),
        "first_order": pytest.approx(before, rel=1e-9),
    }


def test_the_student_learns_as_by_kd_and_is_left_alone_otherwise() -> None:
    states: list[dict[str, Tensor]] = []
    gradients: list[list[Tensor]] = []
    for objective in ("0.5*ce + 0.5*ikd", "0.5*ce + 0.5*kd"):
        setting = make_setting(dropout=0.5)
        distiller = setting.distiller(objective).train()
        torch.manual_seed(1)
        distiller(setting.inputs, setting.targets).backward()
        gradients.append([cast(Tensor, p.grad) for p in distiller.student.parameters()])
        states.append({**distiller.student.state_dict(), "random": torch.get_rng_state()})
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_what_the_copy_learns_makes_the_exam_easier() -> None:
    setting = make_setting()
    distiller = setting.distiller("ikd(alpha=1, step=0.5, temperature=1)").train()
    method = method_of(distiller)
    optimizer = Adam(lr=0.03)(method.tutor.parameters())
    values = []
    for _ in range(15):
        losses = distiller(setting.inputs, setting.targets)
        values.append(losses["ikd.exam"].item())
        losses["ikd.exam"].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert values[-1] < values[0] - 0.02
    assert all(parameter.grad is None for parameter in distiller.student.parameters())


def test_the_copy_has_an_optimizer_of_its_own_and_stays_in_eval_mode() -> None:
    setting = make_setting()
    distiller = setting.distiller("ce + ikd(lr=0.01)").train()
    tutor = method_of(distiller).tutor
    claims = method_of(distiller).claims()
    assert [claim.module for claim in claims] == [tutor]
    assert claims[0].optimizer == Adam(lr=0.01)
    assert not any(module.training for module in tutor.modules())
    assert distiller.teacher is not None
    shown = distiller.teacher.shown
    distiller(setting.inputs, setting.targets)
    assert distiller.teacher.shown == shown, "the teacher itself is not run"


@pytest.mark.parametrize(("share", "own", "expected"), [(0.5, 2, [1]), (0.01, 3, [2]), (0.99, 4, [1, 2, 3])])
def test_at_least_one_sample_and_at_most_all_but_one_are_held_out(
    share: float, own: int, expected: list[int]
) -> None:
    method = IKD(exam=share)
    held, counts = method._held_out(own, torch.device("cpu"))
    assert held.nonzero().flatten().tolist() == expected
    assert counts == (own - len(expected), len(expected))


def test_texts_and_a_student_in_half_precision() -> None:
    torch.manual_seed(0)
    words = Distiller(WordNet(4), WordNet(6), "ikd", example=WordNet.batch())
    words(WordNet.batch(), torch.tensor([0, 2, 1])).backward()
    embedding = cast(nn.Embedding, method_of(words).tutor.get_submodule("words"))
    assert embedding.weight.grad is not None
    assert embedding.weight.grad.abs().sum() > 0
    setting = make_setting(dtype=torch.bfloat16)
    halves = setting.distiller("ikd")
    losses = halves(setting.inputs, setting.targets)
    losses.backward()
    assert losses.total.isfinite()
    assert {parameter.dtype for parameter in method_of(halves).tutor.parameters()} == {torch.float32}


def test_what_it_refuses() -> None:
    setting = make_setting()
    arguments: dict[str, Any] = {"example": setting.inputs[:2]}
    with pytest.raises(LimbeckError, match="ikd makes a copy of the teacher's network, and this teacher has"):
        Distiller(setting.student, Answers(), "ce + ikd", **arguments)
    with pytest.raises(LimbeckError, match="ikd: the argument exam=1"):
        setting.distiller("ikd(exam=1)")
    with pytest.raises(LimbeckError, match="'exact' or 'first_order'"):
        setting.distiller('ikd(gradient="second")')
    with pytest.raises(LimbeckError, match="ikd compares samples and needs at least 2 in a batch, not 1"):
        setting.distiller("ikd")(setting.inputs[:1], setting.targets[:1])
