from __future__ import annotations

import copy
from typing import Any

import pytest
import reference_values
import torch
from method_setting import SmallNet, make_setting
from reference_values import has_reference
from token_networks import WordNet
from torch import Tensor, nn

import limbeck
from limbeck import Batch, Distiller, Trainer
from limbeck.errors import LimbeckError
from limbeck.losses import activation_boundary
from limbeck.methods import AB
from limbeck.methods.parts.regressors import GlobalBatchNorm2d
from limbeck.models import CNN, MLP
from limbeck.objective import parse
from limbeck.optimization import SGD
from limbeck.outputs import Outputs
from limbeck.teachers.group import TeacherGroup
from limbeck.training import phase_loops


def stages(*shapes: tuple[int, ...], seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]


SHAPES = (3, 2, 4, 3), (3, 3, 2, 5), (3, 4)


def naive(students: list[Tensor], teachers: list[Tensor], margin: float) -> list[float]:
    values = []
    for sample in range(len(students[0])):
        value = 0.0
        for place, (student, teacher) in enumerate(zip(students, teachers, strict=True)):
            weight = 2.0 ** (place - len(students) + 1)
            for s, t in zip(
                student[sample].flatten().tolist(), teacher[sample].flatten().tolist(), strict=True
            ):
                if t <= 0 and s > -margin:
                    value += weight * (s + margin) ** 2
                if t > 0 and s <= margin:
                    value += weight * (s - margin) ** 2
        values.append(3 / 1000 * value)
    return values


@pytest.mark.parametrize("margin", [0.5, 1.0])
def test_it_is_the_benchmark_s_equation(margin: float) -> None:
    ours, theirs = stages(*SHAPES), stages(*SHAPES, seed=2)
    expected = naive(ours, theirs, margin)
    found = activation_boundary(ours, theirs, margin, reduction="none")
    assert found.tolist() == pytest.approx(expected, rel=1e-12)
    assert activation_boundary(ours, theirs, margin).item() == pytest.approx(sum(expected) / 3, rel=1e-12)


@has_reference
def test_it_gives_the_published_value() -> None:
    inputs = reference_values.inputs()
    ours, theirs = ([inputs[f"{role}_stage{n}"] for n in range(3)] for role in ("student", "teacher"))
    assert activation_boundary(ours, theirs).item() == reference_values.value("activation_boundary_sum")


def test_padding_does_not_count() -> None:
    shapes = (2, 4, 3), (2, 4, 5)
    ours, theirs = stages(*shapes), stages(*shapes, seed=2)
    mask = torch.tensor([[True] * 4, [True, False, False, False]])
    expected = [
        activation_boundary([s[:1] for s in ours], [t[:1] for t in theirs]).item(),
        activation_boundary([s[1:, :1] for s in ours], [t[1:, :1] for t in theirs]).item(),
    ]
    found = activation_boundary(ours, theirs, mask=mask, reduction="none")
    assert found.tolist() == pytest.approx(expected, rel=1e-12)


def test_gradients_full_precision_and_neurons_at_zero() -> None:
    ours, theirs = stages((2, 3, 2), (2, 4)), stages((2, 3, 2), (2, 4), seed=2)
    assert torch.autograd.gradcheck(
        lambda *s: activation_boundary(s, theirs), tuple(tensor.requires_grad_() for tensor in ours)
    )
    halves = [[tensor.bfloat16() for tensor in group] for group in (ours, theirs)]
    short = activation_boundary(halves[0], halves[1])
    assert short.dtype == torch.float32
    assert short.item() == pytest.approx(activation_boundary(ours, theirs).item(), rel=0.05)
    zero = torch.zeros(2, 3)
    assert activation_boundary([zero], [zero]).item() == pytest.approx(3 * 3 / 1000)


@pytest.mark.parametrize(
    ("student", "teacher"),
    [([(2, 3)], [(2, 4)]), ([(2, 3)], [(2, 3), (2, 3)]), ([(2, 3, 1)], [(2, 3)]), ([], [])],
)
def test_stages_that_differ_are_refused(student: list[tuple[int]], teacher: list[tuple[int]]) -> None:
    with pytest.raises(LimbeckError, match="stages of the same shapes, not"):
        activation_boundary(
            [torch.ones(shape) for shape in student], [torch.ones(shape) for shape in teacher]
        )


def method_of(distiller: Distiller) -> AB:
    return next(method for method in distiller.objective.wrapped if isinstance(method, AB))


def before_relu(network: nn.Module, inputs: Tensor) -> tuple[Tensor, ...]:
    assert isinstance(network, SmallNet)
    first = network.stage1[1](network.stage1[0](inputs))
    return first, network.stage2[1](network.stage2[0](first.relu()))


def test_the_phase_compares_connected_preactivations() -> None:
    setting = make_setting()
    distiller = setting.distiller("ce + ab(margin=0.5)")
    method = method_of(distiller)
    [(name, phase)] = distiller.phases
    assert name.startswith("ab.")
    assert (phase.epochs, phase.optimizer) == (30, SGD(lr=0.05))
    ours, theirs = (before_relu(network, setting.inputs) for network in (setting.student, setting.teacher))
    found = phase.loss(Outputs(preactivations=ours), Outputs(preactivations=theirs), Batch(setting.inputs))
    connected = [connect(maps) for connect, maps in zip(method.connectors, ours, strict=True)]
    torch.testing.assert_close(found, activation_boundary(connected, theirs, 0.5))


def test_connectors_end_without_relu_and_are_nothing_where_shapes_agree() -> None:
    method = method_of(make_setting().distiller("ce + ab"))
    for connector, (before, after) in zip(method.connectors, [(3, 4), (6, 8)], strict=True):
        assert isinstance(connector[0], nn.Conv2d)  # type: ignore[index]
        assert tuple(connector[0].weight.shape) == (after, before, 1, 1)  # type: ignore[index]
        assert isinstance(connector[1], GlobalBatchNorm2d)  # type: ignore[index]
        assert connector(torch.rand(2, before, 3, 3)).min() < 0
    alike = make_setting()
    alike.student = SmallNet(4)
    assert not list(method_of(alike.distiller("ce + ab")).parameters())


def test_the_student_is_initialized_and_then_left_to_the_rest() -> None:
    setting = make_setting()
    distiller = setting.distiller("ce + ab(epochs=30, lr=0.02)")
    batch = Batch(setting.inputs, setting.targets)
    classifier = copy.deepcopy(setting.student.classifier.state_dict())
    before = copy.deepcopy(setting.student.stage1.state_dict())
    lines: list[dict[str, Any]] = []
    trainer = Trainer(display=False, device="cpu")
    trainer.history.add = lambda line: lines.append(dict(line))  # type: ignore[method-assign]
    trainer.fit(distiller, phase_loops(distiller, lambda phase: lambda epoch: [batch]))
    assert lines[-1]["terms"]["total"] < 0.8 * lines[0]["terms"]["total"]
    after = distiller.student.state_dict()
    assert all(torch.equal(after[f"classifier.{key}"], value) for key, value in classifier.items())
    assert not torch.equal(after["stage1.0.weight"], before["0.weight"])
    losses = distiller(batch)
    assert list(losses) == ["ce"]
    assert losses.total.item() == losses["ce"].item()
    distiller.teachers = TeacherGroup({}, {})  # which nobody asks any more
    assert list(distiller(batch)) == ["ce"]


def test_pairs_of_ones_own_choice() -> None:
    setting = make_setting()
    method = method_of(setting.distiller("ce + ab(pairs=[[0, 1], [-1, -1]])"))
    shapes = [tuple(next(connector.parameters()).shape) for connector in method.connectors]
    assert shapes == [(8, 3, 3, 3), (8, 6, 1, 1)]
    shallow, deep = (CNN(widths, in_channels=1, size=8, num_classes=3) for widths in ([2, 4], [2, 4, 6]))
    with pytest.raises(LimbeckError, match="student has 2 and the teacher 3"):
        Distiller(shallow, deep, "ce + ab", example=torch.rand(2, 1, 8, 8))


def test_vectors_go_through_a_linear_layer() -> None:
    student, teacher = (MLP(hidden, in_features=9, num_classes=3) for hidden in ((5, 6), (7, 8)))
    distiller = Distiller(student, teacher, "ce + ab(epochs=1)", example=torch.rand(2, 9))
    assert [type(connector) for connector in method_of(distiller).connectors] == [nn.Linear, nn.Linear]
    limbeck.prepare(distiller, [(torch.rand(4, 9), torch.tensor([0, 1, 2, 0]))], display=False, device="cpu")


def test_networks_without_preactivations_are_told_how_to_name_them() -> None:
    with pytest.raises(LimbeckError, match="found no preactivations in WordNet"):
        Distiller(WordNet(4), WordNet(6), "ce + ab", example=WordNet.batch())


class Spoken(WordNet):
    """Whose stages end in tanh, and have pre-activations all the same."""

    def feature_points(self) -> dict[str, str | list[str]]:
        return {**super().feature_points(), "preactivations": ["layer1.0", "layer2.0"]}


def test_in_a_token_model_padding_does_not_count() -> None:
    torch.manual_seed(0)
    networks = Spoken(4), Spoken(6)
    [(_, phase)] = Distiller(*networks, "ce + ab", example=WordNet.batch()).phases
    values = []
    for padding in (0, 5):
        inputs = WordNet.batch(padding)
        words = [network.words(inputs["input_ids"]) for network in networks]
        mask = inputs["attention_mask"].bool()
        student, teacher = (Outputs(preactivations=(hidden, hidden + 1), mask=mask) for hidden in words)
        values.append(phase.loss(student, teacher, Batch(inputs)))
    torch.testing.assert_close(values[0], values[1])


def test_stages_that_nothing_brings_together_are_named() -> None:
    small, large = (CNN([4, 4], in_channels=1, size=size, num_classes=3) for size in (8, 12))
    larger = nn.Sequential(nn.Upsample((12, 12)), large)
    points = {"preactivations": ["1.stages.0:input", "1.stages.1:input"]}
    with pytest.raises(LimbeckError, match=r"ab cannot bring together stage 0 of the student"):
        Distiller(small, larger, "ce + ab", example=torch.rand(2, 1, 8, 8), teacher_features=points)


@pytest.mark.parametrize("text", ["ab(margin=0)", "ab(epochs=0)", "ab(lr=0)", "ab(pairs=[0])"])
def test_arguments_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(LimbeckError, match="ab: the argument"):
        parse(text)
