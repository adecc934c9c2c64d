"""A teacher that adapts: what its modules minimize, and that the teacher that is given stays as it is."""

from __future__ import annotations

import copy

import pytest
import torch
from language_pair import TASK, answers, batch, distiller, network

from limbeck import Distiller, LimbeckError
from limbeck.losses import cross_entropy, kd
from limbeck.methods import OKD
from limbeck.methods.base import Objective
from limbeck.optimization import SGD
from limbeck.outputs import UNLABELED


def method_of(made: Distiller) -> OKD:
    assert isinstance(made.objective, Objective)
    (found,) = (method for _, method in made.objective.summands if isinstance(method, OKD))
    return found


def test_at_first_the_copy_is_the_teacher() -> None:
    made = distiller("ce + okd(temperature=2, near=0.5, stays=0.25)").eval()
    some, teacher = batch(), made.teachers["teacher"].network
    assert teacher is not None
    assert some.targets is not None
    rows = some.targets != UNLABELED
    with torch.no_grad():
        ours, theirs = (answers(each, some)[rows] for each in (made.student, teacher))
        losses = made(some)
    assert losses["okd.kd"].item() == pytest.approx(kd(ours, theirs, 2.0).item(), rel=1e-5)
    assert losses["okd.teacher.ce"].item() == pytest.approx(
        cross_entropy(theirs, some.targets[rows]).item(), rel=1e-5
    )
    assert losses["okd.teacher.near"].item() == pytest.approx(kd(ours, theirs, 1.0).item(), rel=1e-5)
    assert losses["okd.teacher.stays"].item() == pytest.approx(0, abs=1e-6)
    kinds = {name: (term.kind, term.weight) for name, term in losses.terms.items()}
    assert kinds == {
        "ce": ("task", 1.0),
        "okd.kd": ("distillation", 1.0),
        "okd.teacher.ce": ("own", 1.0),
        "okd.teacher.near": ("own", 0.5),
        "okd.teacher.stays": ("own", 0.25),
    }


def test_without_a_rate_it_is_kd_bit_for_bit() -> None:
    found = []
    for objective in ("okd(lr=0, near=0, stays=0, temperature=1)", "kd(temperature=1)"):
        made = distiller(objective).eval()
        optimizer = made.optimizer(SGD(lr=0.1))
        for step in range(3):
            optimizer.zero_grad()
            made(batch(step)).backward()
            optimizer.step()
        found.append(made.student.state_dict())
    assert all(torch.equal(found[0][name], value) for name, value in found[1].items())


def test_the_modules_learn_and_the_teacher_stays() -> None:
    teacher = network(1, 24)
    before = copy.deepcopy(teacher.state_dict())
    made = distiller("0.5*ce + 0.5*okd(near=1, stays=0, lr=0.05)", teacher).eval()
    optimizer = made.optimizer(SGD(lr=1e-12))  # the student stays, too
    near = []
    for step in range(30):
        optimizer.zero_grad()
        losses = made(batch(step))
        near.append(losses["okd.teacher.near"].item() + losses["okd.teacher.ce"].item())
        losses.backward()
        optimizer.step()
    assert near[-1] < 0.7 * near[0]
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    learned = method_of(made).modules_that_learn
    assert all(parameter.count_nonzero() for parameter in learned.parameters())
    assert sum(p.numel() for p in learned.parameters()) < sum(p.numel() for p in teacher.parameters())


def test_the_student_gets_no_gradient_of_the_modules_terms() -> None:
    made = distiller("okd").eval()
    losses = made(batch())
    for name in ("okd.teacher.ce", "okd.teacher.near", "okd.teacher.stays"):
        own = torch.autograd.grad(
            losses[name], [*made.student.parameters()], retain_graph=True, allow_unused=True
        )
        assert all(each is None for each in own)
    learned = method_of(made).modules_that_learn
    of_kd = torch.autograd.grad(
        losses["okd.kd"], [*learned.parameters()], retain_graph=True, allow_unused=True
    )
    assert all(each is None for each in of_kd)


def test_what_is_saved_are_the_modules_alone() -> None:
    made = distiller("okd")
    saved = {name for name in made.state_dict() if not name.startswith("student.")}
    assert all("modules_that_learn" in name or name == "phases_done" for name in saved)
    other = distiller("okd(lr=0.1)")
    with torch.no_grad():
        for parameter in method_of(made).modules_that_learn.parameters():
            parameter.add_(0.3)
    other.load_state_dict(made.state_dict())
    assert torch.equal(other.eval()(batch())["okd.kd"], made.eval()(batch())["okd.kd"])


def test_the_copy_never_drops_anything() -> None:
    made = distiller("okd").train()
    assert not any(module.training for module in method_of(made)._copies[0].modules())


def test_there_is_something_to_add_to() -> None:
    class Bare(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(19, 8)
            self.head = torch.nn.Linear(8, 19)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.head(self.embedding(input_ids).tanh())
            return logits

    with pytest.raises(LimbeckError, match=r"^okd adds modules to linear layers, and the teacher has none"):
        Distiller(network(0), Bare(), "okd", example=batch().inputs, task=TASK)
