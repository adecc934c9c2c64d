from __future__ import annotations

import copy
import math
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from method_setting import Scaled, SmallNet, make_setting
from torch import Tensor, nn

from limbeck import Batch, Distiller
from limbeck.errors import LimbeckError
from limbeck.losses import native_ensemble
from limbeck.methods import ONE
from limbeck.methods.one import Gate, gated
from limbeck.models import CNN
from limbeck.optimization import SGD
from limbeck.outputs import UNLABELED, Outputs, Progress


def scores(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [2 * torch.randn(4, 6, generator=generator, dtype=torch.float64) for _ in range(count)]


def softmax(row: list[float], temperature: float) -> list[float]:
    powers = [math.exp(z / temperature) for z in row]
    return [power / math.fsum(powers) for power in powers]


def naive(branches: list[Tensor], ensemble: Tensor, temperature: float) -> float:
    total = 0.0
    for logits in branches:
        for row, known in zip(logits.tolist(), ensemble.tolist(), strict=True):
            pairs = zip(softmax(known, temperature), softmax(row, temperature), strict=True)
            total += temperature**2 * math.fsum(q * math.log(q / p) for q, p in pairs) / len(logits)
    return total


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_it_is_the_papers_equation(temperature: float) -> None:
    *branches, ensemble = scores(4)
    found = native_ensemble(branches, ensemble, temperature)
    assert found.item() == pytest.approx(naive(branches, ensemble, temperature), rel=1e-12)


def test_it_is_the_authors_value_but_for_what_they_add_to_the_probabilities() -> None:
    (logits, ensemble) = scores(2)
    target = F.softmax(ensemble / 3, dim=1) + 10**-7
    theirs = 3 * 3 * (target * (target.log() - F.log_softmax(logits / 3, dim=1))).sum(1).sum() / len(logits)
    assert native_ensemble([logits], ensemble).item() == pytest.approx(theirs.item(), abs=1e-4)


def test_the_ensemble_does_not_learn_from_the_branches_distance() -> None:
    first, second = (tensor.requires_grad_() for tensor in scores(2))
    shares = torch.rand(4, 2, dtype=torch.float64, requires_grad=True)
    ensemble = gated([first, second], shares)
    alone = torch.autograd.grad(
        native_ensemble([first, second], ensemble), [first, second, shares], allow_unused=True
    )
    assert alone[2] is None
    fixed = ensemble.detach()
    for found, own in zip(alone, (first, second), strict=False):
        (wanted,) = torch.autograd.grad(native_ensemble([own], fixed), own)
        torch.testing.assert_close(found, wanted)


def test_the_ensemble_is_the_sum_of_the_branches_by_their_shares() -> None:
    branches = scores(3)
    shares = torch.rand(4, 3, dtype=torch.float64).softmax(1)
    found = gated(branches, shares)
    for sample in range(4):
        for label in range(6):
            expected = sum(float(shares[sample, i] * branches[i][sample, label]) for i in range(3))
            assert found[sample, label].item() == pytest.approx(expected, rel=1e-12)
    with pytest.raises(LimbeckError, match="there are 3 branches and 2 shares"):
        gated(branches, shares[:, :2])
    with pytest.raises(LimbeckError, match=r"shares has the shape \(4,\)"):
        gated(branches, shares[:, 0])


@pytest.mark.parametrize("shape", [(5, 4, 3, 2), (5, 6, 4), (5, 4)])
def test_the_gate_is_the_authors(shape: tuple[int, ...]) -> None:
    """As in their ONE_ResNet: average, linear, batch norm, ReLU, softmax."""
    torch.manual_seed(0)
    gate = Gate(4, 3).double()
    norm = cast(nn.BatchNorm2d, gate.layers[1])
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 1)
    stage = torch.randn(*shape, dtype=torch.float64)
    pooled = stage.mean((2, 3)) if stage.ndim == 4 else stage.mean(1) if stage.ndim == 3 else stage
    scored = pooled @ gate.layers.get_parameter("0.weight").flatten(1).T
    scored = (scored - scored.mean(0)) / (scored.var(0, correction=0) + norm.eps).sqrt()
    expected = (scored * norm.weight + norm.bias).clamp(min=0).softmax(1)
    torch.testing.assert_close(gate(stage), expected)


def test_padding_has_no_part_in_the_gate() -> None:
    torch.manual_seed(0)
    gate = Gate(4, 3).double().eval()
    stage, mask = torch.randn(3, 5, 4, dtype=torch.float64), torch.ones(3, 5, dtype=torch.bool)
    mask[1, 2:] = mask[2] = False
    padded = stage.masked_fill(~mask.unsqueeze(2), 1e3)
    expected = torch.cat([gate(stage[:1]), gate(stage[1:2, :2]), gate(torch.zeros(1, 4).double())])
    torch.testing.assert_close(gate(padded, mask), expected)


def method_of(distiller: Distiller) -> ONE:
    return cast(ONE, next(distiller.objective.wrapped))


def behind(branch: nn.Module) -> tuple[nn.Module, nn.Linear]:
    """Second stage and classifier of a branch of a SmallNet."""
    found = {name.rpartition(".")[2]: module for name, module in branch.named_modules()}
    return found["stage2"], cast(nn.Linear, found["classifier"])


@pytest.mark.parametrize("branches", [2, 3, 4])
def test_the_terms_are_the_equations(branches: int) -> None:
    setting = make_setting(dtype=torch.float64)
    targets = setting.targets.clone()
    targets[3] = UNLABELED
    distiller = setting.distiller(f"one(branches={branches}, temperature=2)").eval()
    method = method_of(distiller)
    losses = distiller(setting.inputs, targets)
    labeled = targets != UNLABELED

    def ce(logits: Tensor) -> float:
        return F.cross_entropy(logits[labeled], targets[labeled], reduction="sum").item() / len(targets)

    with torch.no_grad():
        shared = distiller.student.get_submodule("stage1")(setting.inputs)
        logits = [distiller.student(setting.inputs)]
        for branch in method.branches:
            stage2, classifier = behind(branch)
            logits.append(classifier(stage2(shared).mean((2, 3))))
        ensemble = gated(logits, method.gate(shared))
    expected = {"one.ensemble": ce(ensemble)}
    assert len(logits) == branches
    for place, own in enumerate(logits):
        name = f"branch{place}." if place else ""
        expected[f"one.{name}ce"] = ce(own)
        expected[f"one.{name}kd"] = naive([own], ensemble, 2.0)
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(expected, rel=1e-9)
    assert losses.total.item() == pytest.approx(sum(expected.values()), rel=1e-9)


def test_who_learns_from_what() -> None:
    setting = make_setting()
    distiller = setting.distiller("one")
    method = method_of(distiller)
    parts: dict[str, nn.Module] = {
        "shared": distiller.student.get_submodule("stage1"),
        "own": distiller.student.get_submodule("stage2"),
        "first": method.branches[0],
        "second": method.branches[1],
        "gate": method.gate,
    }
    reached = {
        "ce": {"shared", "own"},
        "kd": {"shared", "own"},
        "branch1.ce": {"shared", "first"},
        "branch1.kd": {"shared", "first"},
        "branch2.kd": {"shared", "second"},
        "ensemble": set(parts),
    }
    losses = distiller(setting.inputs, setting.targets)
    for term, learners in reached.items():
        distiller.zero_grad()
        losses[f"one.{term}"].backward(retain_graph=True)
        found = {
            name
            for name, part in parts.items()
            if any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
        }
        assert found == learners, term


def test_the_weight_of_the_objective_is_on_all_of_it() -> None:
    setting = make_setting()
    plain = setting.distiller("one").eval()(setting.inputs, setting.targets)
    half = setting.distiller("0.5*one").eval()(setting.inputs, setting.targets)
    assert half.total.item() == pytest.approx(plain.total.item() / 2, rel=1e-6)


def test_the_branches_start_afresh_and_hold_nothing_of_what_is_shared() -> None:
    setting = make_setting()
    with torch.no_grad():
        for parameter in setting.student.parameters():
            parameter.requires_grad_(parameter.ndim == 1).fill_(0.5)
    method = method_of(setting.distiller("one"))
    weights = [behind(branch)[0].get_parameter("0.weight") for branch in method.branches]
    assert not torch.equal(weights[0], weights[1])
    for branch, weight in zip(method.branches, weights, strict=True):
        assert weight.std() > 0
        assert all(parameter.requires_grad for parameter in branch.parameters())
        stage2, classifier = behind(branch)
        own = [*stage2.parameters(), *classifier.parameters()]
        assert {id(p) for p in branch.parameters()} == {id(p) for p in own}


def test_what_is_shipped_is_the_student() -> None:
    setting = make_setting()
    distiller = setting.distiller("one")
    optimizer = distiller.optimizer(SGD(lr=0.1))
    distiller.train()
    first = None
    for _ in range(20):
        losses = distiller(setting.inputs, setting.targets)
        first = first or losses.total.item()
        losses.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses.total.item() < first
    assert distiller.deploy() is distiller.student
    assert type(distiller.student) is SmallNet


def test_the_divergence_rises_as_in_the_authors_scripts() -> None:
    setting = make_setting()
    distiller = setting.distiller("one(rampup=80)")
    method = method_of(distiller)
    student = Outputs(
        logits=distiller.student(setting.inputs),
        stages=(distiller.student.get_submodule("stage1")(setting.inputs), torch.zeros(16, 6, 3, 3)),
    )
    for epoch, weight in ((0, math.exp(-5)), (40, math.exp(-1.25)), (80, 1.0), (300, 1.0)):
        batch = Batch(setting.inputs, setting.targets, progress=Progress(epoch=epoch))
        terms = method.terms(student, Outputs(), batch)
        assert terms["one.kd"].weight == terms["one.branch2.kd"].weight == pytest.approx(weight)
        assert terms["one.ce"].weight == terms["one.ensemble"].weight == 1
    with pytest.raises(LimbeckError, match="one needs the progress of the batch"):
        distiller(setting.inputs, setting.targets)


def test_the_branches_may_share_all_but_the_classifier() -> None:
    setting = make_setting()
    method = method_of(setting.distiller("one(stage=-1)"))
    for branch in method.branches:
        assert sorted(p.shape for p in branch.parameters()) == [(5,), (5, 6)]
    assert method.gate.layers.get_parameter("0.weight").shape == (3, 6, 1, 1)


def test_students_of_vectors_branch_too() -> None:
    student = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    distiller = Distiller(student, None, "one", example=torch.rand(2, 6))
    losses = distiller(torch.rand(7, 6), torch.arange(7) % 3)
    losses.backward()
    assert losses.total.isfinite()
    sizes = [sum(p.numel() for p in branch.parameters()) for branch in method_of(distiller).branches]
    assert sizes == [5 * 4 + 4 + 4 * 3 + 3] * 2


def test_a_student_in_half_precision_has_branches_in_full() -> None:
    setting = make_setting(dtype=torch.bfloat16)
    distiller = setting.distiller("one")
    losses = distiller(setting.inputs, setting.targets)
    losses.backward()
    assert {parameter.dtype for parameter in method_of(distiller).parameters()} == {torch.float32}
    assert losses.total.isfinite()


class Around(SmallNet):
    """A path leads round its second stage."""

    def forward(self, x: Tensor) -> Tensor:
        low = self.stage1(x)
        logits: Tensor = self.classifier(self.stage2(low).mean((2, 3)) + x.mean((2, 3)))
        return logits


def test_what_it_refuses() -> None:
    setting = make_setting()
    example = setting.inputs[:2]
    with pytest.raises(
        LimbeckError,
        match=r"one cannot make a branch like the student's: the network \(Scaled\) has parameters",
    ):
        Distiller(Scaled(), None, "one", example=example)
    with pytest.raises(LimbeckError, match="one: the student cannot be entered behind its stage -2"):
        Distiller(Around(4), None, "one", example=example)
    with pytest.raises(
        LimbeckError, match=r"one\(stage=-2\) is no stage of the student, which has 1; with one\(stage=-1\)"
    ):
        Distiller(CNN([4], in_channels=1, size=8, num_classes=3), None, "one", example=torch.rand(2, 1, 8, 8))
    with pytest.raises(LimbeckError, match="one compares samples and needs at least 2 in a batch, not 1"):
        setting.distiller("one")(setting.inputs[:1], setting.targets[:1])
    with pytest.raises(LimbeckError, match="has no use for a teacher"):
        Distiller(setting.student, copy.deepcopy(setting.teacher), "one", example=example)
    for argument in ("branches=1", "branches=2.5", "temperature=0", "rampup=-1", "stage=0.5"):
        with pytest.raises(LimbeckError, match=f"one: the argument {argument}"):
            setting.distiller(f"one({argument})")
