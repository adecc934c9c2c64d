from __future__ import annotations

import math
from typing import cast

import pytest
import torch
from method_setting import CLASSES, make_setting
from torch import Tensor, nn

import limbeck
from limbeck import Distiller
from limbeck.errors import LimbeckError
from limbeck.losses import cross_entropy, nasty
from limbeck.methods import Nasty
from limbeck.objective import parse
from limbeck.optimization import SGD
from limbeck.outputs import Batch, Outputs


def scores() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(9)
    own, normal = 2 * torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    return own, normal


def naive(own: Tensor, normal: Tensor, temperature: float) -> list[float]:
    def softmax(row: list[float]) -> list[float]:
        powers = [math.exp(value / temperature) for value in row]
        return [power / sum(powers) for power in powers]

    return [
        -(temperature**2) * sum(p * math.log(p / q) for p, q in zip(softmax(a), softmax(b), strict=True))
        for a, b in zip(own.tolist(), normal.tolist(), strict=True)
    ]


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_it_is_the_papers_equation(temperature: float) -> None:
    own, normal = scores()
    expected = naive(own, normal, temperature)
    assert max(expected) < 0
    assert nasty(own, normal, temperature, "none").tolist() == pytest.approx(expected, rel=1e-12)
    assert nasty(own, normal, temperature).item() == pytest.approx(sum(expected) / 3, rel=1e-12)
    assert nasty(own, normal).item() == pytest.approx(sum(naive(own, normal, 4.0)) / 3, rel=1e-12)


def test_the_gradient_flows_into_the_first_and_pushes_away() -> None:
    own, normal = (logits.requires_grad_() for logits in scores())
    assert torch.autograd.gradcheck(lambda logits: nasty(logits, normal), own)
    value = nasty(own, normal)
    value.backward()  # type: ignore[no-untyped-call]
    assert normal.grad is None
    assert own.grad is not None
    assert nasty(own.detach() - 0.1 * own.grad, normal).item() < value.item()
    assert nasty(normal.detach(), normal).item() == pytest.approx(0, abs=1e-12)


def test_wrong_logits_are_refused() -> None:
    own, normal = scores()
    with pytest.raises(LimbeckError, match=r"nasty compares logits of one shape"):
        nasty(own, normal[:1])
    with pytest.raises(LimbeckError, match="must have the shape"):
        nasty(own[0], normal[0])


def method_of(distiller: Distiller) -> Nasty:
    return next(method for method in distiller.objective.wrapped if isinstance(method, Nasty))


def prepared(objective: str = "ce + nasty(epochs=3, weight=0.5, temperature=2)") -> tuple[Distiller, Batch]:
    setting = make_setting()
    distiller, batch = setting.distiller(objective), Batch(setting.inputs, setting.targets)
    limbeck.prepare(distiller, [batch], display=False, device="cpu", precision="fp32")
    return distiller, batch


def test_the_normal_self_learns_the_labels_in_a_phase_by_the_authors_recipe() -> None:
    setting = make_setting()
    distiller = setting.distiller("ce + nasty(epochs=8, lr=0.2)")
    ((name, phase),) = distiller.phases
    assert (name, phase.epochs, phase.freezes, phase.batch_size) == ("nasty.normal", 8, True, None)
    assert phase.optimizer == SGD(lr=0.2, momentum=0.9, weight_decay=5e-4)
    assert phase.schedule is not None
    assert [round(phase.schedule.at(epoch, 1, 8), 6) for epoch in (3, 4, 5, 6, 7)] == [
        1,
        0.1,
        0.1,
        0.01,
        0.01,
    ]
    method = method_of(distiller)
    fresh = [parameter.clone() for parameter in method.normal.parameters()]
    weights = list(distiller.student.parameters())
    assert [each.shape for each in fresh] == [each.shape for each in weights]
    assert not torch.equal(fresh[0], weights[0]), "from weights of its own"
    batch = Batch(setting.inputs, setting.targets)
    expected = cross_entropy(method.normal.eval()(setting.inputs), setting.targets)
    assert torch.equal(cast(Tensor, phase.loss(Outputs(), Outputs(), batch)), expected)


def test_the_phase_trains_the_copy_alone_and_leaves_it_frozen() -> None:
    setting = make_setting()
    distiller = setting.distiller("ce + nasty(epochs=100)")
    normal, student = method_of(distiller).normal, distiller.student
    before = [parameter.clone() for parameter in student.parameters()]
    batch = Batch(setting.inputs, setting.targets)
    first = cross_entropy(normal.train()(setting.inputs), setting.targets).item()
    limbeck.prepare(distiller, [batch], display=False, device="cpu", precision="fp32")
    distiller.train()
    assert not normal.training
    assert not any(parameter.requires_grad for parameter in normal.parameters())
    assert cross_entropy(normal(setting.inputs), setting.targets).item() < 0.8 * first
    assert all(torch.equal(a, b) for a, b in zip(before, student.parameters(), strict=True))
    learning = {id(p) for group in distiller.optimizer(SGD()).param_groups for p in group["params"]}
    assert learning == {id(parameter) for parameter in student.parameters()}


def test_the_objective_is_cross_entropy_less_the_divergence_from_the_normal_self() -> None:
    distiller, batch = prepared()
    normal = method_of(distiller).normal
    statistics = {name: buffer.clone() for name, buffer in normal.named_buffers()}
    losses = distiller.train()(batch)
    assert all(torch.equal(buffer, statistics[name]) for name, buffer in normal.named_buffers())
    distiller.eval()
    losses = distiller(batch)
    assert isinstance(batch.inputs, Tensor)
    own, theirs = distiller.student(batch.inputs), normal(batch.inputs)
    closeness = losses["nasty.closeness"]
    assert closeness.item() == pytest.approx(sum(naive(own.double(), theirs.double(), 2.0)) / 16, rel=1e-4)
    assert closeness.item() < 0
    torch.testing.assert_close(losses.total, losses["ce"] + 0.5 * closeness)
    losses.backward()
    assert all(parameter.grad is None for parameter in normal.parameters())


def test_the_normal_self_may_be_a_teacher() -> None:
    setting = make_setting()
    distiller = setting.distiller('ce + nasty(normal="teacher", weight=0.1)').eval()
    assert not distiller.phases
    assert not list(distiller.objective.parameters())
    losses = distiller(setting.inputs, setting.targets)
    expected = nasty(distiller.student(setting.inputs), setting.teacher.eval()(setting.inputs))
    torch.testing.assert_close(losses["nasty.closeness"], expected)
    torch.testing.assert_close(losses.total, losses["ce"] + 0.1 * expected)


def test_a_weight_moves_it_away_from_the_normal_self() -> None:
    setting = make_setting()
    torch.manual_seed(0)
    agreement = {}
    for weight in (0.0, 2.0):
        distiller = setting.distiller(f'ce + nasty(normal="teacher", weight={weight}, temperature=2)').train()
        optimizer = distiller.optimizer(SGD(lr=0.05, weight_decay=0))
        for _ in range(150):
            distiller(setting.inputs, setting.targets).backward()
            optimizer.step()
            optimizer.zero_grad()
        losses = distiller(setting.inputs, setting.targets)
        agreement[weight] = losses["nasty.closeness"].item()
        assert losses.total.isfinite()
    assert agreement[2.0] < agreement[0.0] - 1


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(CLASSES, 36))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T


def test_weights_that_cannot_be_drawn_anew_are_refused_with_another_way() -> None:
    with pytest.raises(
        LimbeckError, match=r"nasty cannot make a network .* or train one before and give it as"
    ):
        Distiller(Bare(), None, "ce + nasty", example=torch.rand(2, 1, 6, 6))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('nasty(normal="teacher", epochs=3)', "epochs is of the phase; leave it out"),
        ('nasty(normal="teacher", lr=0.1)', "lr is of the phase; leave it out"),
        ('nasty(normal="peer")', "'phase' or 'teacher'"),
        ("nasty(weight=-1)", "weight=-1 should be greater than or equal to 0"),
        ("nasty(temperature=0)", "temperature=0 should be greater than 0"),
        ("nasty(epochs=0)", "epochs=0 should be greater than or equal to 1"),
    ],
)
def test_what_is_wrong_in_the_notation_is_named(text: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        parse(text)


def test_it_needs_the_teacher_that_it_is_to_read() -> None:
    setting = make_setting()
    with pytest.raises(LimbeckError, match="nasty learns from a teacher, and none was given"):
        Distiller(setting.student, None, 'ce + nasty(normal="teacher")', example=setting.inputs[:2])
