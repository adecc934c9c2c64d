from __future__ import annotations

import copy
import math
from typing import cast

import pytest
import torch
from method_setting import make_setting
from torch import Tensor, nn

from limbeck import Batch, Distiller
from limbeck.errors import LimbeckError
from limbeck.losses import cross_entropy, kd, mutual_learning
from limbeck.methods import DML, Term
from limbeck.models import CNN, Normalization, normalization_of, normalize_inputs
from limbeck.objective import parse
from limbeck.outputs import Outputs


def scores(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(6)
    return [2 * torch.randn(3, 4, generator=generator, dtype=torch.float64) for _ in range(count)]


def naive(own: Tensor, others: list[Tensor]) -> float:
    def softmax(row: list[float]) -> list[float]:
        return [math.exp(value) / sum(map(math.exp, row)) for value in row]

    total = 0.0
    for other in others:
        for row, taught in zip(own.tolist(), other.tolist(), strict=True):
            pairs = zip(softmax(taught), softmax(row), strict=True)
            total += sum(q * math.log(q / p) for q, p in pairs)
    return total / (len(own) * len(others))


@pytest.mark.parametrize("count", [2, 4])
def test_it_is_the_papers_equation(count: int) -> None:
    own, *others = scores(count)
    assert mutual_learning(own, others).item() == pytest.approx(naive(own, others), rel=1e-12)


def test_gradients_flow_into_the_one_that_learns_only() -> None:
    own, *others = (tensor.requires_grad_() for tensor in scores(3))
    assert torch.autograd.gradcheck(lambda logits: mutual_learning(logits, others), own)
    mutual_learning(own, others).backward()  # type: ignore[no-untyped-call]
    assert own.grad is not None
    assert all(other.grad is None for other in others)


def test_half_precision_and_extreme_logits() -> None:
    own, other = scores(2)
    short = mutual_learning(own.bfloat16(), [other.bfloat16()])
    assert short.dtype == torch.float32
    assert short.item() == pytest.approx(mutual_learning(own, [other]).item(), rel=0.05)
    extreme = (1e5 * own).float().requires_grad_()
    loss = mutual_learning(extreme, [-1e5 * other.float()])
    loss.backward()  # type: ignore[no-untyped-call]
    assert extreme.grad is not None
    assert loss.isfinite()
    assert extreme.grad.isfinite().all()


def method_of(distiller: Distiller) -> DML:
    return cast(DML, next(distiller.objective.wrapped))


def test_every_network_learns_the_labels_and_from_all_others() -> None:
    setting = make_setting()
    distiller = setting.distiller("dml(peers=2)").eval()
    losses = distiller(setting.inputs, setting.targets)
    logits = [network(setting.inputs) for network in (distiller.student, *method_of(distiller).peers)]
    assert len(logits) == 3
    expected = {}
    for place, own in enumerate(logits):
        name = f"peer{place}." if place else ""
        others = [other for other in logits if other is not own]
        expected[f"dml.{name}ce"] = cross_entropy(own, setting.targets).item()
        expected[f"dml.{name}mutual"] = sum(kd(own, other, 1.0).item() for other in others) / 2
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(expected, rel=1e-5)
    assert losses.total.item() == pytest.approx(sum(expected.values()), rel=1e-5)
    assert losses.task is not None
    assert losses.task.item() == pytest.approx(expected["dml.ce"], rel=1e-5)


def test_the_weight_of_the_objective_is_the_students() -> None:
    setting = make_setting()
    plain = setting.distiller("dml").eval()(setting.inputs, setting.targets)
    half = setting.distiller("0.5*dml").eval()(setting.inputs, setting.targets)
    own = plain["dml.peer1.ce"] + plain["dml.peer1.mutual"]
    assert half.total.item() == pytest.approx((plain.total / 2 + own / 2).item(), rel=1e-6)


def test_each_gradient_is_that_of_its_own_loss_alone() -> None:
    setting = make_setting()
    distiller = setting.distiller("dml")
    peer = method_of(distiller).peers[0]
    distiller.eval()(setting.inputs, setting.targets).backward()
    for own, other in ((distiller.student, peer), (peer, distiller.student)):
        alone = copy.deepcopy(own)
        alone.zero_grad()
        logits = alone(setting.inputs)
        loss = cross_entropy(logits, setting.targets) + kd(logits, other(setting.inputs).detach(), 1.0)
        loss.backward()  # type: ignore[no-untyped-call]
        for (name, found), wanted in zip(own.named_parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(found.grad, wanted.grad, msg=name)


def test_peers_like_the_student_start_afresh() -> None:
    setting = make_setting()
    with torch.no_grad():
        for buffer in setting.student.buffers():
            buffer.add_(1)
    distiller = setting.distiller("dml(peers=2)")
    networks = [distiller.student, *method_of(distiller).peers]
    weights = [network.get_submodule("classifier").weight for network in networks]
    assert not any(torch.equal(weights[0], weight) for weight in weights[1:])
    assert not torch.equal(weights[1], weights[2])
    for peer in networks[1:]:
        assert type(peer) is type(distiller.student)
        assert cast(Tensor, peer.get_submodule("stage1.1").running_mean).eq(0).all()
    assert torch.equal(cast(Tensor, weights[0]), setting.student.classifier.weight)
    trained = {id(p) for p in distiller.optimizer(torch.optim.SGD).param_groups[0]["params"]}
    assert {id(parameter) for network in networks for parameter in network.parameters()} == trained


def test_the_whole_is_in_the_hands_of_the_modules_own_rules() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.norm = nn.LayerNorm(4)
            self.classifier = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            mixed, _ = self.attention(x, x, x)
            logits: Tensor = self.classifier(self.norm(mixed).mean(1))
            return logits

    student = Layer()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.fill_(0.25)
    peer = method_of(Distiller(student, None, "dml", example=torch.rand(2, 5, 4))).peers[0]
    attention = cast(nn.MultiheadAttention, peer.get_submodule("attention"))
    assert attention.in_proj_weight.std() > 0
    assert attention.out_proj.bias.eq(0).all()  # the attention's own rule, not that of the layer inside it
    assert cast(nn.LayerNorm, peer.get_submodule("norm")).weight.eq(1).all()


def test_a_network_that_cannot_be_drawn_anew_is_named() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classifier = nn.Linear(4, 3)
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.classifier(x) * self.scale
            return logits

    with pytest.raises(
        LimbeckError, match=r"the network \(Scaled\) has parameters and no reset_parameters\(\)"
    ):
        Distiller(Scaled(), None, "dml", example=torch.rand(2, 4))
    named = Distiller(Scaled(), None, 'dml(peers="mlp(hidden=[5])")', example=torch.rand(2, 4))
    assert named(torch.rand(3, 4), torch.tensor([0, 1, 2])).total.isfinite()


def test_peers_by_name_get_the_facts_and_the_normalization_of_the_student() -> None:
    student = normalize_inputs(
        CNN([4, 4], in_channels=2, size=8, num_classes=3), Normalization((0.1, 0.2), (0.5, 0.6))
    )
    text = 'dml(peers=["cnn(channels=[3])", "lenet5(size=16)"])'
    with pytest.raises(LimbeckError, match="size is 8 in the data"):
        Distiller(student, None, text, example=torch.rand(2, 2, 8, 8))
    distiller = Distiller(
        student, None, 'dml(peers=["cnn(channels=[3])", "mlp"])', example=torch.rand(2, 2, 8, 8)
    )
    kinds = [type(peer).__name__ for peer in method_of(distiller).peers]
    assert kinds == ["CNN", "MLP"]
    for peer in method_of(distiller).peers:
        assert normalization_of(peer) == normalization_of(student)
    like = method_of(Distiller(student, None, "dml", example=torch.rand(2, 2, 8, 8))).peers[0]
    assert normalization_of(like) == normalization_of(student)


def test_peers_of_other_classes_are_refused() -> None:
    with pytest.raises(LimbeckError, match="has 2 outputs and the student 3"):
        Distiller(
            CNN([4], in_channels=1, size=8, num_classes=3),
            None,
            'dml(peers="peers_for_dml:two_classes()")',
            example=torch.rand(2, 1, 8, 8),
        )


def test_a_wrapper_gets_the_outputs_of_all_and_the_terms_from_them() -> None:
    setting = make_setting()
    distiller = setting.distiller("dml(peers=2)").eval()
    method = method_of(distiller)
    batch = Batch(setting.inputs, setting.targets)
    student = Outputs(logits=distiller.student(setting.inputs), embedding=torch.zeros(16, 6))
    outputs = method.outputs(student, batch, ("embedding",))
    assert outputs[0] is student
    for output, peer in zip(outputs[1:], method.peers, strict=True):
        classifier = peer.get_submodule("classifier")
        torch.testing.assert_close(output.logits, classifier(output.embedding))
    terms = method.mutual(outputs, batch)
    whole = distiller(batch)
    assert [f"dml.{name}" for name in terms] == list(whole)
    assert all(isinstance(term, Term) for term in terms.values())
    assert sum(term.value.item() for term in terms.values()) == pytest.approx(whole.total.item(), rel=1e-6)


def test_features_that_the_user_named_hold_for_peers_like_the_student() -> None:
    setting = make_setting()
    distiller = Distiller(
        setting.student, None, "dml", example=setting.inputs, student_features={"embedding": "stage2"}
    )
    student = Outputs(logits=torch.zeros(16, 5))
    _, peer = method_of(distiller).outputs(student, Batch(setting.inputs), ("embedding",))
    assert peer.embedding.shape == (16, 6)


def test_a_student_in_half_precision_has_peers_in_full() -> None:
    setting = make_setting()
    distiller = setting.distiller("dml").bfloat16()
    losses = distiller(setting.inputs.bfloat16(), setting.targets)
    losses.backward()
    assert {parameter.dtype for parameter in method_of(distiller).parameters()} == {torch.float32}
    assert losses.total.isfinite()


@pytest.mark.parametrize("text", ["dml(peers=0)", "dml(peers=1.5)", "dml(peers=[1])"])
def test_arguments_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(LimbeckError, match="dml: the argument peers"):
        parse(text)
    with pytest.raises(LimbeckError, match="at least one peer"):
        parse("dml(peers=[])")
