from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import cast

import pytest
import torch
from method_setting import make_setting
from token_networks import WordNet
from torch import Tensor, nn

from limbeck import Distiller, data
from limbeck.data import Loader
from limbeck.errors import LimbeckError
from limbeck.losses import cross_entropy, kd, uncertainty_weighted_kd
from limbeck.methods import DataFacts, Dual
from limbeck.methods.dual import uncertainty_weights
from limbeck.models import CNN, Normalization, normalization_of, normalize_inputs
from limbeck.outputs import UNLABELED
from limbeck.teachers import CachedTeacher


def scores(classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    student, teacher = 2 * torch.randn(2, 4, classes, generator=generator, dtype=torch.float64)
    return student, teacher


def softmax(row: list[float], temperature: float) -> list[float]:
    powers = [math.exp(z / temperature) for z in row]
    return [power / math.fsum(powers) for power in powers]


def naive(student: Tensor, teacher: Tensor, temperature: float, of_weight: float) -> list[float]:
    """The loss of each sample, one number after the other."""
    found = []
    for ours, theirs in zip(student.tolist(), teacher.tolist(), strict=True):
        entropy = -math.fsum(p * math.log(p) for p in softmax(theirs, of_weight))
        weight = 1 - entropy / math.log(len(theirs))
        pairs = zip(softmax(theirs, temperature), softmax(ours, temperature), strict=True)
        found.append(weight * temperature**2 * math.fsum(q * math.log(q / p) for q, p in pairs))
    return found


@pytest.mark.parametrize(("temperature", "of_weight"), [(1.0, 1.0), (4.0, 1.0), (4.0, 4.0)])
@pytest.mark.parametrize("classes", [2, 5, 100])
def test_it_is_the_papers_equation(classes: int, temperature: float, of_weight: float) -> None:
    student, teacher = scores(classes)
    found = uncertainty_weighted_kd(student, teacher, temperature, of_weight, reduction="none")
    assert found.tolist() == pytest.approx(naive(student, teacher, temperature, of_weight), rel=1e-11)


@pytest.mark.parametrize("classes", [2, 10])
def test_the_weight_is_1_where_the_teacher_is_certain_and_0_where_it_knows_nothing(classes: int) -> None:
    rows = torch.zeros(3, classes)
    rows[1, 0] = 1e4
    rows[2, 0] = math.log(classes - 1)  # half of the probability on one class
    half = 1 - (0.5 * math.log(2) + 0.5 * math.log(2 * (classes - 1))) / math.log(classes)
    found = uncertainty_weights(rows)
    assert found.tolist() == pytest.approx([0.0, 1.0, half], abs=1e-6)
    assert found.min() >= 0
    assert uncertainty_weights(rows + 300).tolist() == pytest.approx(found.tolist(), abs=1e-5)


def test_a_single_class_has_no_uncertainty() -> None:
    with pytest.raises(LimbeckError, match=r"teacher_logits has the shape \(3, 1\) .* at least 2 classes"):
        uncertainty_weights(torch.zeros(3, 1))
    with pytest.raises(LimbeckError, match=r"must have the shape \(P, C\), a row of logits"):
        uncertainty_weights(torch.zeros(3, 4, 2))


def method_of(distiller: Distiller) -> Dual:
    return cast(Dual, next(distiller.objective.wrapped))


TEXT = "dual(alpha=0.5, beta=2, gamma=0.25, temperature=3, weight_temperature=2, weigh_mutual={})"


@pytest.mark.parametrize("weigh", [False, True])
def test_both_learn_labels_the_teacher_and_each_other(weigh: bool) -> None:
    setting = make_setting(dtype=torch.float64)
    targets = setting.targets.clone()
    targets[1] = UNLABELED
    distiller = setting.distiller(TEXT.format(str(weigh).lower())).eval()
    losses = distiller(setting.inputs, targets)
    taught = setting.teacher.eval()(setting.inputs)
    logits = [network(setting.inputs) for network in (distiller.student, method_of(distiller).peer)]
    weights = uncertainty_weights(taught, 2.0) if weigh else torch.ones(16, dtype=torch.float64)
    expected, total = {}, 0.0
    for name, own, other in (("", *logits), ("peer.", *reversed(logits))):
        mutual = (weights * kd(own, other, 3.0, reduction="none")).mean()
        expected[f"dual.{name}ce"] = cross_entropy(own, targets).item()
        expected[f"dual.{name}kd"] = sum(naive(own, taught, 3.0, 2.0)) / 16
        expected[f"dual.{name}mutual"] = mutual.item()
        total += 0.5 * expected[f"dual.{name}ce"] + 2 * expected[f"dual.{name}kd"] + 0.25 * mutual.item()
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(expected, rel=1e-9)
    assert losses.total.item() == pytest.approx(total, rel=1e-9)


def test_each_gradient_is_that_of_its_own_loss_alone() -> None:
    setting = make_setting(dtype=torch.float64)
    distiller = setting.distiller("dual(gamma=3)").eval()
    peer = method_of(distiller).peer
    distiller(setting.inputs, setting.targets).backward()
    taught = setting.teacher.eval()(setting.inputs).detach()
    for own, other in ((distiller.student, peer), (peer, distiller.student)):
        alone = copy.deepcopy(own)
        alone.zero_grad()
        logits = alone(setting.inputs)
        loss = cross_entropy(logits, setting.targets) + uncertainty_weighted_kd(logits, taught)
        total = loss + 3 * kd(logits, other(setting.inputs).detach())
        total.backward()  # type: ignore[no-untyped-call]
        for (name, found), wanted in zip(own.named_parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(found.grad, wanted.grad, msg=name)


def test_the_weight_of_the_objective_is_the_students() -> None:
    setting = make_setting()
    plain = setting.distiller("dual").eval()(setting.inputs, setting.targets)
    half = setting.distiller("0.5*dual").eval()(setting.inputs, setting.targets)
    own = sum(value for name, value in plain.items() if name.startswith("dual.peer."))
    assert half.total.item() == pytest.approx(((plain.total + own) / 2).item(), rel=1e-6)


def test_the_peer_is_like_the_student_and_fresh_or_of_another_architecture() -> None:
    setting = make_setting()
    peer = method_of(setting.distiller("dual")).peer
    assert type(peer) is type(setting.student)
    assert not torch.equal(peer.get_parameter("classifier.weight"), setting.student.classifier.weight)

    normalization = Normalization((0.1, 0.2), (0.5, 0.6))
    student, teacher = (
        normalize_inputs(CNN([4, 4], in_channels=2, size=8, num_classes=3), normalization) for _ in range(2)
    )
    distiller = Distiller(student, teacher, 'dual(peer="mlp(hidden=[5])")', example=torch.rand(2, 2, 8, 8))
    peer = method_of(distiller).peer
    assert type(peer).__name__ == "MLP"
    assert normalization_of(peer) == normalization
    learning = {id(p) for group in distiller.optimizer(torch.optim.SGD).param_groups for p in group["params"]}
    assert {id(parameter) for parameter in peer.parameters()} <= learning
    assert distiller.deploy() is student


class Scaled(nn.Module):
    """A network with a weight that nobody knows how to draw."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier, self.scale = nn.Linear(4, 3), nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(x) * self.scale
        return logits


def test_peers_that_cannot_be() -> None:
    with pytest.raises(
        LimbeckError, match=r"dual cannot make a network like the student: .* or name the peer"
    ):
        Distiller(Scaled(), nn.Linear(4, 3), "dual", example=torch.rand(2, 4))
    student, teacher = (CNN([4], in_channels=1, size=8, num_classes=3) for _ in range(2))
    with pytest.raises(LimbeckError, match="has 2 outputs and the student 3"):
        Distiller(
            student, teacher, 'dual(peer="peers_for_dml:two_classes()")', example=torch.rand(2, 1, 8, 8)
        )
    for argument in ("alpha=-1", "temperature=0", "weight_temperature=0", "peer=3", "weigh_mutual=1"):
        with pytest.raises(LimbeckError, match=f"dual: the argument {argument}"):
            make_setting().distiller(f"dual({argument})")


def test_the_teachers_logits_may_come_from_a_cache(tmp_path: Path) -> None:
    images = torch.randint(256, (12, 1, 6, 6), dtype=torch.uint8)
    source = data.from_tensors(images, torch.arange(12) % 5, validation=None, views="crop(padding=1)")
    setting = make_setting()
    teacher = CachedTeacher(setting.teacher, source, directory=tmp_path)
    distiller = Distiller(setting.student, teacher, "dual", example=source.example()).train()
    batch = next(iter(Loader(source.train, 12, views=source.views)))
    asked = teacher.shown
    first = distiller(batch)
    assert teacher.shown == asked + 12
    again = distiller(batch)
    assert teacher.shown == asked + 12, "the second time the cache answers"
    assert dict(first) == dict(again)
    live = uncertainty_weighted_kd(setting.student(batch.inputs), setting.teacher(batch.inputs))
    assert first["dual.kd"].item() == pytest.approx(live.item(), rel=2e-3)  # float16


def test_of_a_question_the_certainty_is_that_of_its_two_answers() -> None:
    setting = make_setting()
    targets = (torch.arange(16)[:, None] + torch.arange(5)) % 2
    student, teacher = (copy.deepcopy(network).eval() for network in (setting.student, setting.teacher))
    distiller = Distiller(student, teacher, "dual", example=setting.inputs[:2], task="multilabel").eval()
    losses = distiller(setting.inputs, targets)
    with torch.no_grad():
        ours, theirs = (network(setting.inputs).flatten().double() for network in (student, teacher))
    asked, answered = (torch.stack((torch.zeros_like(z), z), 1) for z in (ours, theirs))
    assert losses["dual.kd"].item() == pytest.approx(sum(naive(asked, answered, 4.0, 1.0)) / 80, rel=1e-4)


def test_a_peer_by_name_is_told_the_size_of_the_vocabulary() -> None:
    inputs, facts = WordNet.batch(), DataFacts(3, facts={"vocab_size": 20})
    objective = 'dual(peer="textcnn(dim=4, channels=4)")'
    distiller = Distiller(WordNet(4), WordNet(6), objective, example=inputs, data=facts)
    (method,) = (each for each in distiller.objective.wrapped if isinstance(each, Dual))
    assert max(len(part.weight) for part in method.peer.modules() if isinstance(part, nn.Embedding)) == 20
