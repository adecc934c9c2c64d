from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from method_setting import Scaled, SmallNet, make_setting
from phase_runs import epochs_of_phases
from token_networks import WordNet
from torch import Tensor, nn

import limbeck
from limbeck import Batch, Distiller, LimbeckError, Trainer
from limbeck.losses import cross_entropy, infoflow
from limbeck.methods import DataFacts, InfoFlow
from limbeck.methods.parts.stages import without_padding
from limbeck.models import MLP
from limbeck.objective import parse
from limbeck.optimization import Adam
from limbeck.outputs import Outputs, Progress
from limbeck.tasks import Regression
from limbeck.training import phase_loops
from maps import Maps, Pixels, images


def features(student: tuple[int, ...], teacher: tuple[int, ...], samples: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return (
        torch.randn(samples, *student, generator=generator, dtype=torch.float64),
        torch.randn(samples, *teacher, generator=generator, dtype=torch.float64),
    )


def cosine(a: list[float], b: list[float]) -> float:
    product = math.fsum(x * y for x, y in zip(a, b, strict=True))
    return (1 + product / (math.hypot(*a) * math.hypot(*b) or 1)) / 2  # zero is at right angles to all


def student_t(a: list[float], b: list[float]) -> float:
    return 1 / (1 + math.dist(a, b))


def naive(student: Tensor, teacher: Tensor) -> float:
    """The mean over all pairs, one pair after the other, for each kernel."""
    count, total = len(student), 0.0
    for kernel in (cosine, student_t):
        for i in range(count):
            p, q = (neighbors(kernel, [row.flatten().tolist() for row in it], i) for it in (teacher, student))
            total += sum((a - b) * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))
    return total / count**2


def neighbors(
    kernel: Callable[[list[float], list[float]], float], rows: list[list[float]], i: int
) -> list[float]:
    values = [kernel(rows[i], row) for row in rows]
    return [value / sum(values) for value in values]


@pytest.mark.parametrize(("student", "teacher"), [((4,), (7,)), ((2, 3, 5), (3,)), ((2,), (2, 2))])
def test_it_is_the_equation(student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    pair = features(student, teacher)
    assert infoflow(*pair).item() == pytest.approx(naive(*pair), rel=1e-9)


def test_it_gives_the_authors_codes_value() -> None:
    """passalis/pkth, nn/pkt_transfer.py, prob_loss with "combined" kernels and loss, run on these numbers."""
    student = torch.sin(torch.arange(20, dtype=torch.float64)).view(5, 4)
    teacher = 2 * torch.cos(torch.arange(35, dtype=torch.float64) ** 2).view(5, 7)
    found = infoflow(student, teacher).item()
    assert found == pytest.approx(0.08888650500582684, rel=3e-5)  # as it is, with its epsilon of 1e-6
    assert found == pytest.approx(0.08888438139653582, rel=1e-7)  # with an epsilon of 0


def test_a_divergence_is_of_both_alike_and_zero_where_they_agree() -> None:
    student, teacher = features((4,), (7,))
    assert infoflow(student, teacher).item() == pytest.approx(infoflow(teacher, student).item(), rel=1e-12)
    assert infoflow(student, student).item() == 0
    turned = student.flip(1)  # no distance and no angle is another
    assert infoflow(turned, student).item() == pytest.approx(0, abs=1e-15)
    assert infoflow(3 * student, student).item() > 1e-3, "the distances are others"


def test_gradients_and_full_precision() -> None:
    student, teacher = features((4,), (3,))
    assert torch.autograd.gradcheck(infoflow, (student.requires_grad_(), teacher.requires_grad_()))
    short = infoflow(student.bfloat16(), teacher.bfloat16())
    assert short.dtype == torch.float32
    assert short.item() == pytest.approx(infoflow(student, teacher).item(), rel=0.1)


@pytest.mark.parametrize("kind", ["coincident", "nearly so", "zero", "opposite", "far"])
def test_samples_that_coincide_or_are_opposite_have_finite_gradients(kind: str) -> None:
    student, teacher = (tensor.float() for tensor in features((6,), (6,)))
    if kind == "coincident":
        student[1] = student[0]
    elif kind == "nearly so":
        student[1] = student[0] + 1e-7
    elif kind == "zero":
        student[:2] = 0
    elif kind == "opposite":
        student[1] = -1e3 * student[0]
    else:
        student[1] = 1e12
    for pair in ((student, teacher), (teacher, student)):
        ours = pair[0].clone().requires_grad_()
        theirs = pair[1].clone().requires_grad_()
        value = infoflow(ours, theirs)
        assert value.isfinite()
        for gradient in torch.autograd.grad(value, (ours, theirs)):
            assert gradient.isfinite().all()
            assert gradient.abs().max() < 1e4


def test_other_numbers_of_samples_are_refused() -> None:
    student, teacher = features((4,), (3,))
    with pytest.raises(LimbeckError, match="infoflow compares the same samples, not 5 and 4 of them"):
        infoflow(student, teacher[:4])
    with pytest.raises(LimbeckError, match=r"infoflow: student has the shape \(5,\)"):
        infoflow(student[:, 0], teacher)


def method_of(distiller: Distiller) -> InfoFlow:
    return cast(InfoFlow, next(distiller.objective.wrapped))


def prepared(text: str, progress: int = 0) -> tuple[Distiller, Batch]:
    setting = make_setting(dtype=torch.float64)
    distiller = setting.distiller(text)
    batch = Batch(setting.inputs, setting.targets, progress=Progress(epoch=progress))
    limbeck.prepare(distiller, [batch], display=False, device="cpu")
    return distiller.eval(), batch


def layers(network: nn.Module, inputs: Tensor) -> tuple[list[Tensor], Tensor]:
    assert isinstance(network, SmallNet)
    first = network.stage1(inputs)
    second = network.stage2(first)
    return [first, second], second.mean((2, 3))


@pytest.mark.parametrize("text", ["infoflow(epochs=2)", 'infoflow(auxiliary="none")'])
@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_the_auxiliary_teaches_stage_by_stage_with_a_weight_that_falls(text: str, epoch: int) -> None:
    distiller, batch = prepared(text, epoch)
    network = method_of(distiller).network
    teaches = make_setting(dtype=torch.float64).teacher.eval() if network is None else network
    assert isinstance(batch.inputs, Tensor)
    (ours, own), (theirs, other) = (layers(it, batch.inputs) for it in (distiller.student, teaches))
    losses = distiller(batch)
    assert losses["infoflow.last"].item() == pytest.approx(naive(own, other), rel=1e-6)
    expected = sum(naive(*pair) for pair in zip(ours, theirs, strict=True))
    assert losses["infoflow.stages"].item() == pytest.approx(expected, rel=1e-6)
    total = losses["infoflow.last"] + 100 * 0.7**epoch * losses["infoflow.stages"]
    assert losses.total.item() == pytest.approx(total.item(), rel=1e-12)
    losses.backward()
    assert all(p.grad is not None for n, p in distiller.student.named_parameters() if "classifier" not in n)
    assert all(p.grad is None for p in (teaches or distiller.student).parameters())


def test_initial_and_decay_are_arguments() -> None:
    distiller, batch = prepared("infoflow(epochs=1, initial=8, decay=0.5)", progress=2)
    losses = distiller(batch)
    assert losses.terms["infoflow.stages"].weight == 2
    assert losses.terms["infoflow.last"].weight == 1


def test_the_phase_follows_the_teacher_at_the_last_layer_and_freezes() -> None:
    setting = make_setting()
    distiller = setting.distiller("infoflow(epochs=40, lr=0.01)")
    method = method_of(distiller)
    [(name, phase)] = distiller.phases
    assert name == "infoflow.auxiliary"
    assert (phase.epochs, phase.batch_size, phase.freezes, phase.optimizer) == (40, 128, True, Adam(lr=0.01))
    assert phase.schedule is not None
    assert [phase.schedule.at(step, 1, 40) for step in (29, 30)] == pytest.approx([1, 0.1])
    lines: list[dict[str, Any]] = []
    trainer = Trainer(display=False, device="cpu")
    trainer.history.add = lambda line: lines.append(dict(line))  # type: ignore[method-assign]
    batch = Batch(setting.inputs)  # no labels
    assert method.network is not None
    teacher = Outputs(embedding=layers(setting.teacher.eval(), setting.inputs)[1])
    own = layers(method.network.eval(), setting.inputs)[1]
    found = phase.loss(Outputs(), teacher, batch)
    torch.testing.assert_close(found, infoflow(own, teacher.embedding))
    trainer.fit(distiller, phase_loops(distiller, lambda phase: lambda epoch: [batch] * 2))
    assert lines[-1]["terms"]["total"] < 0.5 * lines[0]["terms"]["total"]
    distiller.train()
    assert not any(parameter.requires_grad for parameter in method.network.parameters())
    assert not any(module.training for module in method.network.modules())


def test_it_may_start_with_the_labels() -> None:
    setting = make_setting()
    distiller = setting.distiller("infoflow(epochs=2, start=8)")
    method = method_of(distiller)
    (name, phase), (_, following) = distiller.phases
    assert name == "infoflow.start"
    assert (phase.epochs, following.epochs, phase.freezes) == (8, 2, False)
    assert phase.reads.teacher == ()
    assert phase.schedule is not None
    assert [phase.schedule.at(step, 1, 8) for step in (4, 5)] == pytest.approx([1, 0.1])
    batch = Batch(setting.inputs, setting.targets)
    assert method.network is not None
    expected = cross_entropy(method.network.eval()(setting.inputs), setting.targets)
    torch.testing.assert_close(phase.loss(Outputs(), Outputs(), batch), expected)
    before = method.network.get_submodule("classifier").state_dict()["weight"].clone()
    limbeck.prepare(distiller, [batch], display=False, device="cpu")
    assert not torch.equal(before, method.network.get_submodule("classifier").state_dict()["weight"])
    with pytest.raises(LimbeckError, match="needs the targets of the batch"):
        limbeck.prepare(setting.distiller("infoflow(start=1)"), [setting.inputs], display=False, device="cpu")


def test_the_teacher_is_asked_in_the_phase_alone() -> None:
    for text, asked in (("infoflow(epochs=2)", False), ('infoflow(auxiliary="none")', True)):
        distiller, batch = prepared(text)
        assert distiller.teacher is not None
        assert distiller.teacher.network is not None
        before = distiller.teacher.shown
        distiller(batch)
        assert (distiller.teacher.shown > before) == asked
        assert ("teacher" in distiller._fields[True]) == asked
    distiller, batch = prepared("kd + infoflow(epochs=2)")
    assert distiller._fields[True] == {"teacher": ("logits",)}


@pytest.mark.parametrize("kind", ["epochs=2", 'auxiliary="none"'])
def test_one_of_several_teachers_is_named(kind: str) -> None:
    setting, found = make_setting(), {}
    teachers = {"first": setting.teacher, "second": make_setting(size=(5, 5)).student}
    for name, other in (("first", "second"), ("second", "first")):
        objective = f'infoflow({kind}, teacher="{name}") + kd(teacher="{other}")'
        distiller = Distiller(make_setting().student, teachers, objective, example=setting.inputs[:2])
        batch = Batch(setting.inputs, setting.targets, progress=Progress())
        limbeck.prepare(distiller, [batch], display=False, device="cpu")
        method = method_of(distiller)
        teaches = teachers[name] if method.network is None else method.network
        distiller.eval()
        expected = infoflow(*(layers(it, setting.inputs)[1] for it in (distiller.student, teaches)))
        found[name] = distiller(batch)["infoflow.last"].item()
        assert found[name] == pytest.approx(expected.item(), rel=1e-4)
    assert found["first"] != found["second"]


def test_an_auxiliary_is_named_and_has_the_students_depth() -> None:
    setting = make_setting(size=(8, 8))
    distiller = setting.distiller('infoflow(auxiliary="cnn(channels=[4, 8])", epochs=1)')
    assert type(method_of(distiller).network).__name__ == "CNN"
    limbeck.prepare(distiller, [setting.inputs], display=False, device="cpu")
    distiller.progress(0, 0, 0.0)
    assert set(distiller(setting.inputs)) == {"infoflow.last", "infoflow.stages"}
    with pytest.raises(
        LimbeckError,
        match=r"student has 2 and the auxiliary 3; name one of the student's depth",
    ):
        setting.distiller('infoflow(auxiliary="cnn(channels=[4, 8, 8])")')
    deeper = Distiller(
        MLP([5, 6, 7], in_features=4, num_classes=3),
        MLP([8, 6], in_features=4, num_classes=3),
        "infoflow",
        example=torch.rand(2, 4),
    )
    assert deeper.phases, "between networks of different depth the auxiliary stands"
    with pytest.raises(
        LimbeckError, match=r"student has 3 and the teacher 2; leave auxiliary out, and a network of"
    ):
        Distiller(
            MLP([5, 6, 7], in_features=4, num_classes=3),
            MLP([8, 6], in_features=4, num_classes=3),
            'infoflow(auxiliary="none")',
            example=torch.rand(2, 4),
        )


def test_a_student_that_cannot_be_drawn_anew_is_refused() -> None:
    setting = make_setting()
    with pytest.raises(
        LimbeckError, match=r"infoflow cannot make a network like the student.*infoflow\(auxiliary="
    ):
        Distiller(Scaled(3), setting.teacher, "infoflow", example=setting.inputs[:2])


@pytest.mark.parametrize(("hidden", "names"), [([5, 6], {"last", "stages"}), ([6], {"last"})])
def test_a_last_stage_that_is_the_embedding_counts_once(hidden: list[int], names: set[str]) -> None:
    torch.manual_seed(0)
    student, teacher = (MLP(hidden, in_features=4, num_classes=3).double() for _ in range(2))
    inputs = torch.rand(7, 4, dtype=torch.float64)
    distiller = Distiller(student, teacher, 'infoflow(auxiliary="none")', example=inputs[:2]).eval()
    distiller.progress(0, 0, 0.0)
    losses = distiller(inputs)
    assert set(losses) == {f"infoflow.{name}" for name in names}
    if "stages" in names:
        first: dict[nn.Module, Tensor] = {}
        for network in (student, teacher):
            [point] = [p.path for p in distiller._points.stages[:1]]
            handle = network.get_submodule(point).register_forward_hook(
                lambda module, args, output, network=network: first.update({network: output})
            )
            network.eval()(inputs)
            handle.remove()
        expected = naive(first[student].detach(), first[teacher].detach())
        assert losses["infoflow.stages"].item() == pytest.approx(expected, rel=1e-6)


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    student, teacher = WordNet(4).double(), WordNet(6).double()
    distiller = Distiller(student, teacher, 'infoflow(auxiliary="none")', example=WordNet.batch())
    distiller.progress(0, 0, 0.0)
    short, long = (distiller(WordNet.batch(padding)) for padding in (0, 3))
    for name, value in short.items():
        assert value.item() == pytest.approx(long[name].item(), rel=1e-9)
    batch = WordNet.batch()
    mask = batch["attention_mask"].bool()
    ours, theirs = (network.layer1(network.words(batch["input_ids"])) for network in (student, teacher))
    expected = naive(without_padding(ours, mask).detach(), without_padding(theirs, mask).detach())
    second = naive(
        without_padding(student.layer2(ours), mask).detach(),
        without_padding(teacher.layer2(theirs), mask).detach(),
    )
    assert short["infoflow.stages"].item() == pytest.approx(expected + second, rel=1e-6)


def test_of_very_many_rows_a_draw_is_related_in_phase_and_training(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, int]] = []

    def noted(student: Tensor, teacher: Tensor) -> Tensor:
        sizes.append((len(student), len(teacher)))
        return infoflow(student, teacher)

    monkeypatch.setattr("limbeck.methods.infoflow.infoflow", noted)
    monkeypatch.setattr("limbeck.methods.parts.draws.RELATED", 12)
    inputs, targets = images(6, 4)
    batch = Batch(inputs, targets, index=torch.arange(6), progress=Progress())
    student, teacher = Pixels(4), Pixels(6, seed=1)
    where = {"stages": ["body"], "embedding": "head:input"}
    distiller = Distiller(
        student,
        teacher,
        "ce + infoflow(epochs=1)",
        example=inputs[:2],
        task=Maps(("a", "b", "c")),
        related=10,
        student_features=where,
        teacher_features=where,
    )
    limbeck.prepare(distiller, [batch], display=False, device="cpu")
    assert sizes[-1] == (12, 12)
    assert distiller(batch)["infoflow.last"].isfinite()
    assert sizes[-2:] == [(10, 10), (6, 6)], "pixels at the last layer, samples at the stages"


def test_an_auxiliary_is_reused_for_the_same_teacher_data_and_arguments_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path))
    setting = make_setting()

    def run(
        objective: str = "infoflow(epochs=2, start=1)", data: str = "a", seed: int = 0, width: int = 3
    ) -> tuple[dict[str, Tensor], int]:
        torch.manual_seed(seed)
        distiller = Distiller(
            SmallNet(width), setting.teacher, objective, example=setting.inputs[:2], data=DataFacts(16, data)
        )
        trained = epochs_of_phases(distiller, Batch(setting.inputs, setting.targets), seed)
        network = method_of(distiller).network
        assert network is not None
        return network.state_dict(), trained

    first, steps = run()
    assert steps == 1 + 1 + 2 + 1  # and once each for the length
    again, steps = run("infoflow(epochs=2, start=1, initial=5, decay=0.9)", seed=5)
    assert steps == 0, "neither the run's seed nor its student's weights have a part in it"
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert run("infoflow(epochs=3, start=1)")[1] == 3 + 1, "the labels are learned already"
    for objective in (
        "infoflow(epochs=2, start=2)",
        "infoflow(epochs=2, lr=0.01)",
        "infoflow(epochs=2, seed=1)",
        'infoflow(epochs=2, auxiliary="cnn(channels=[4, 8])")',
    ):
        assert run(objective)[1] > 0
    assert run(data="b")[1] > 0
    assert run(width=4)[1] > 0
    with torch.no_grad():
        setting.teacher.classifier.bias.add_(1)
    assert run()[1] > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('infoflow(auxiliary="none", epochs=2)', "nothing is trained beforehand; leave epochs out"),
        ('infoflow(auxiliary="none", start=2)', "leave start out"),
        ("infoflow(epochs=0)", "greater than or equal to 1"),
        ("infoflow(start=-1)", "greater than or equal to 0"),
        ("infoflow(decay=1.5)", "less than or equal to 1"),
        ("infoflow(initial=-1)", "greater than or equal to 0"),
        ("infoflow(lr=0)", "greater than 0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=f"^infoflow: .*{message}"):
        parse(text)


def test_an_unknown_network_and_one_of_other_outputs_are_refused() -> None:
    setting = make_setting()
    with pytest.raises(LimbeckError, match="cnnn"):
        setting.distiller('infoflow(auxiliary="cnnn")')
    other = "method_setting:SmallNet(width=3, classes=7)"
    with pytest.raises(
        LimbeckError, match=r"infoflow: the network 'method_setting:.*' has 7 outputs and the"
    ):
        setting.distiller(f'infoflow(auxiliary="{other}")')


def test_values_have_no_cross_entropy_to_start_with() -> None:
    torch.manual_seed(0)
    student, teacher = (MLP([5, 6], in_features=4, num_classes=2) for _ in range(2))
    task = Regression(("a", "b"), mean=(0.0, 0.0), std=(1.0, 1.0))
    inputs = torch.rand(6, 4)
    with pytest.raises(LimbeckError, match="the outputs of regression are values; leave it out"):
        Distiller(student, teacher, "infoflow(start=1)", example=inputs[:2], task=task)
    distiller = Distiller(student, teacher, "infoflow(epochs=1)", example=inputs[:2], task=task)
    limbeck.prepare(distiller, [inputs], display=False, device="cpu")
    distiller.progress(0, 0, 0.0)
    assert distiller(inputs).total.isfinite()


def test_one_sample_has_no_other_neighbors() -> None:
    setting = make_setting()
    distiller = setting.distiller('infoflow(auxiliary="none")')
    distiller.progress(0, 0, 0.0)
    with pytest.raises(LimbeckError, match=r"infoflow .* at least 2 in a batch, not 1"):
        distiller(setting.inputs[:1])


@pytest.mark.parametrize("padding", [0, 3])
def test_a_teacher_that_reads_other_tokens_has_a_mask_of_its_own(padding: int) -> None:
    torch.manual_seed(0)
    student, teacher = WordNet(4).double(), WordNet(6).double()
    inputs, others = WordNet.batch(), WordNet.batch(padding)
    others["attention_mask"] = others["attention_mask"].roll(1, 0)  # of other lengths than the student's
    distiller = Distiller(
        student, teacher, 'infoflow(auxiliary="none")', example=inputs, teacher_example=others
    )
    batch = Batch(inputs, teacher_inputs={"teacher": others}, progress=Progress(0, 0, 0.0))
    found = distiller(batch)["infoflow.stages"].item()
    expected = 0.0
    for names in (["layer1"], ["layer1", "layer2"]):
        stages = []
        for network, given in ((student, inputs), (teacher, others)):
            stage = network.words(given["input_ids"])
            for name in names:
                stage = getattr(network, name)(stage)
            stages.append(without_padding(stage, given["attention_mask"].bool()).detach())
        expected += naive(*stages)
    assert found == pytest.approx(expected, rel=1e-6)
