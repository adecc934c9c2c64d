from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import limbeck
from glyph_files import write_mnist
from limbeck import Batch, Distiller, losses
from limbeck.data.synthetic.glyphs import read_glyphs
from limbeck.errors import LimbeckError
from limbeck.methods import LWKD, DataFacts
from limbeck.methods.lwkd import lwkd
from limbeck.objective import parse, resolved
from limbeck.optimization import SGD
from limbeck.outputs import UNLABELED, Progress
from limbeck.teachers import LightweightTeacher

SMALL = "epochs=3, batch_size=20, images_per_class=60, bank_size=10"
PLAIN = f'{SMALL}, alpha=0.3, teacher_temperature=5, real="target", r1=0, conditional=false'
"""The adversary that sees nothing but soft targets and outputs."""
CLASSES = 5


def naive(student: Tensor, teacher: Tensor, tau_t: float, tau_s: float) -> list[float]:
    """KL(softmax(z_t / tau_t) || softmax(z_s / tau_s)) of each sample, class by class."""
    values = []
    for z_s, z_t in zip(student.tolist(), teacher.tolist(), strict=True):
        q = [math.exp(z / tau_t) for z in z_t]
        p = [math.exp(z / tau_s) for z in z_s]
        q, p = [value / sum(q) for value in q], [value / sum(p) for value in p]
        values.append(sum(a * math.log(a / b) for a, b in zip(q, p, strict=True)))
    return values


def logits(seed: int = 0, dtype: torch.dtype = torch.float64, batch: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pair = 3 * torch.randn(2, batch, CLASSES, generator=generator, dtype=torch.float64)
    return pair[0].to(dtype), pair[1].to(dtype)


# The equation


@pytest.mark.parametrize(("tau_t", "tau_s"), [(5.0, 1.0), (5.0, 5.0), (1.0, 3.0)])
def test_the_divergence_is_the_equation(tau_t: float, tau_s: float) -> None:
    student, teacher = logits()
    expected = naive(student, teacher, tau_t, tau_s)
    assert lwkd(student, teacher, tau_t, tau_s, "none").tolist() == pytest.approx(expected, rel=1e-10)
    assert lwkd(student, teacher, tau_t, tau_s).item() == pytest.approx(sum(expected) / 6, rel=1e-10)
    assert losses.lwkd is lwkd


def test_with_one_temperature_it_is_kd_without_its_square() -> None:
    student, teacher = logits()
    assert 9 * lwkd(student, teacher, 3.0, 3.0).item() == pytest.approx(
        losses.kd(student, teacher, 3.0).item()
    )


def test_its_gradient() -> None:
    student, teacher = logits()
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: lwkd(z, teacher, 5.0, 1.0), student)


def test_half_precision_and_extreme_logits() -> None:
    student, teacher = logits(dtype=torch.bfloat16)
    value = lwkd(student, teacher)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(lwkd(student.double(), teacher.double()).item(), rel=1e-5)
    extreme = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    loss = lwkd(extreme, torch.tensor([[-1e4, 1e4, 0.0]]))
    assert loss.item() == pytest.approx(2e4)
    loss.backward()  # type: ignore[no-untyped-call]
    assert extreme.grad is not None
    assert extreme.grad.isfinite().all()


# The method


class Student(nn.Module):
    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 8), nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).relu())  # type: ignore[no-any-return]


def batch(step: int = 3, size: int = 20) -> Batch:
    inputs = torch.rand(size, 6, generator=torch.Generator().manual_seed(1))
    index = torch.arange(size)
    return Batch(inputs, index % CLASSES, index, progress=Progress(step, 0, 0.5))


def prepared(objective: str, seed: int = 0, dtype: torch.dtype = torch.float32, **given: Any) -> Distiller:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        student = Student().to(dtype)
        distiller = Distiller(student, None, objective, example=batch().inputs.to(dtype), **given)  # type: ignore[union-attr]
    limbeck.prepare(distiller, [batch()], display=False, device="cpu")
    return distiller


def method_of(distiller: Distiller) -> LWKD:
    (found,) = (method for method in distiller.objective.wrapped if isinstance(method, LWKD))
    return found


def test_the_terms_are_the_equations() -> None:
    distiller = prepared(f"0.7*ce + lwkd({PLAIN})", dtype=torch.float64)
    method, samples = method_of(distiller), batch()
    samples = replace(samples, inputs=samples.inputs.double())  # type: ignore[union-attr]
    found = distiller(samples)
    assert list(found) == ["ce", "lwkd.kd", "lwkd.generator", "lwkd.discriminator", "lwkd.accuracy"]

    student = distiller.student(samples.inputs)
    assert samples.targets is not None
    drawn = method.bank.draw(samples.targets, samples.index, 3, method.draws).double()
    assert (drawn.argmax(1) == samples.targets).all()
    q, p = (drawn / 5).softmax(1), student.softmax(1)
    real, fake = method.discriminator(q).sigmoid(), method.discriminator(p).sigmoid()
    expected = {
        "lwkd.kd": sum(naive(student, drawn, 5.0, 1.0)) / 20,
        "lwkd.generator": -fake.log().mean().item(),
        "lwkd.discriminator": -(real.log() + (1 - fake).log()).mean().item(),
        "lwkd.accuracy": ((real > 0.5).double().mean() + (fake < 0.5).double().mean()).item() / 2,
    }
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, rel=1e-9), name
    ce = F.cross_entropy(student, samples.targets).item()
    total = 0.7 * ce + 0.3 * expected["lwkd.kd"] + 0.1 * expected["lwkd.generator"]
    assert found.total.item() == pytest.approx(total + expected["lwkd.discriminator"], rel=1e-9)


def test_the_default_asks_for_a_tenth_of_the_mass_off_the_true_class() -> None:
    distiller = prepared(f"ce + lwkd({SMALL})", dtype=torch.float64)
    method, samples = method_of(distiller), batch()
    samples = replace(samples, inputs=samples.inputs.double())  # type: ignore[union-attr]
    targets = samples.targets
    assert targets is not None
    on_class = [(method.bank.logits[own].double() / 10).softmax(-1)[:, own] for own in range(CLASSES)]
    alpha = 0.1 / (1 - torch.cat(on_class).mean().item())
    found = distiller(samples)

    student = distiller.student(samples.inputs)
    drawn = method.bank.draw(targets, samples.index, 3, method.draws).double()
    onehot = F.one_hot(targets, CLASSES).double()
    real = ((1 - alpha) * onehot + alpha * (drawn / 10).softmax(1)).requires_grad_()
    fake = student.softmax(1)
    steep = []
    for row, told in zip(real, onehot, strict=True):
        score = method.discriminator(torch.cat([row, told]))
        steep.append(torch.autograd.grad(score.sum(), row)[0].square().sum().item())
    score_real = method.discriminator(torch.cat([real, onehot], 1))
    score_fake = method.discriminator(torch.cat([fake, onehot], 1))
    kd = sum(naive(student, drawn, 10.0, 1.0)) / 20
    own = (F.softplus(-score_real) + F.softplus(score_fake)).mean().item() + sum(steep) / 20 / 2
    assert found["lwkd.kd"].item() == pytest.approx(kd, rel=1e-9)
    assert found["lwkd.discriminator"].item() == pytest.approx(own, rel=1e-9)
    generator = F.softplus(-score_fake).mean().item()
    assert found["lwkd.generator"].item() == pytest.approx(generator, rel=1e-9)
    ce = F.cross_entropy(student, targets).item()
    total = ce + alpha / (1 - alpha) * kd + 0.1 * generator + own
    assert found.total.item() == pytest.approx(total, rel=1e-9)


def test_the_penalty_teaches_the_discriminator_alone() -> None:
    distiller = prepared(f"lwkd({SMALL}, r1=50, adversarial=1)", dtype=torch.float64)
    without = prepared(f"lwkd({SMALL}, r1=0, adversarial=1)", dtype=torch.float64)
    samples = batch()
    samples = replace(samples, inputs=samples.inputs.double())  # type: ignore[union-attr]
    for each in (distiller, without):
        each(samples).backward()
    for ours, theirs in zip(distiller.student.parameters(), without.student.parameters(), strict=True):
        assert ours.grad is not None
        torch.testing.assert_close(ours.grad, theirs.grad)
    first = [next(iter(method_of(each).discriminator.parameters())).grad for each in (distiller, without)]
    assert not torch.allclose(first[0], first[1])  # type: ignore[arg-type]
    with torch.no_grad():
        assert distiller(samples)["lwkd.discriminator"] > without(samples)["lwkd.discriminator"]


def test_figures_are_had_without_gradients() -> None:
    distiller = prepared(f"ce + lwkd({SMALL})")
    expected = distiller(batch())["lwkd.generator"].item()
    with torch.inference_mode():
        assert distiller(batch())["lwkd.generator"].item() == pytest.approx(expected)


def test_a_mass_that_the_soft_targets_do_not_have_is_refused() -> None:
    with pytest.raises(LimbeckError, match=r"at teacher_temperature=0\.01, and mass=0\.5 must be less"):
        prepared(f"lwkd({SMALL}, mass=0.5, teacher_temperature=0.01)")(batch())


def test_neither_side_learns_from_the_others_loss() -> None:
    distiller = prepared(f"lwkd({PLAIN}, adversarial=0.5)", dtype=torch.float64)
    method, samples = method_of(distiller), batch()
    samples = replace(samples, inputs=samples.inputs.double())  # type: ignore[union-attr]
    distiller(samples).backward()
    assert samples.targets is not None
    drawn = method.bank.draw(samples.targets, samples.index, 3, method.draws).double()
    student = distiller.student(samples.inputs)
    scores = method.discriminator(student.softmax(1))
    theirs = list(distiller.student.parameters())
    alone = 0.3 * lwkd(student, drawn, 5.0, 1.0) + 0.5 * F.softplus(-scores).mean()
    for parameter, gradient in zip(
        theirs, torch.autograd.grad(alone, theirs, retain_graph=True), strict=True
    ):
        torch.testing.assert_close(parameter.grad, gradient)
    own = F.softplus(-method.discriminator((drawn / 5).softmax(1))).mean() + F.softplus(scores).mean()
    ours = list(method.discriminator.parameters())
    for parameter, gradient in zip(ours, torch.autograd.grad(own, ours), strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    assert all(parameter.grad is None for parameter in method.lightweight.parameters())


def test_the_discriminator_learns_by_an_optimizer_of_its_own() -> None:
    distiller = prepared(
        f'0*ce + lwkd({SMALL}, profile="faithful", student_temperature=1, alpha=0, adversarial=0.001)'
    )
    method = method_of(distiller)
    optimizer = distiller.optimizer(SGD(lr=1e-6, momentum=0, weight_decay=0))
    main, own = optimizer.parts  # type: ignore[attr-defined]
    assert isinstance(own, torch.optim.Adam)
    assert own.param_groups[0]["betas"] == (0.5, 0.999)
    assert own.param_groups[0]["lr"] == 1e-3
    claimed = {id(parameter) for parameter in own.param_groups[0]["params"]}
    assert claimed == {id(parameter) for parameter in method.discriminator.parameters()}
    assert not claimed & {id(parameter) for parameter in main.param_groups[0]["params"]}
    figures = []
    for step in range(150):
        found = distiller(batch(step))
        found.backward()
        optimizer.step()
        optimizer.zero_grad()
        figures.append((found["lwkd.discriminator"].item(), found["lwkd.accuracy"].item()))
    assert figures[0][0] == pytest.approx(2 * math.log(2), abs=0.1), "at first it cannot tell"
    assert figures[-1][0] < 1
    assert figures[-1][1] > 0.9


def test_without_an_adversary_there_is_no_discriminator() -> None:
    distiller = prepared(f"0.7*ce + lwkd({SMALL}, adversarial=0)")
    assert list(distiller(batch())) == ["ce", "lwkd.kd"]
    assert not hasattr(method_of(distiller), "discriminator")
    assert not any("discriminator" in key for key in distiller.state_dict())
    assert isinstance(distiller.optimizer(SGD()), torch.optim.SGD)


def test_a_conditional_discriminator_is_told_the_class() -> None:
    distiller = prepared(f"lwkd({SMALL}, conditional=true, discriminator=[7])")
    method, samples = method_of(distiller), batch()
    widths = [tuple(parameter.shape) for parameter in method.discriminator.parameters()]
    assert widths == [(7, 2 * CLASSES), (7,), (1, 7), (1,)]
    found = distiller(samples)["lwkd.generator"].item()
    assert samples.targets is not None
    told = torch.cat([distiller.student(samples.inputs).softmax(1), F.one_hot(samples.targets, CLASSES)], 1)
    assert found == pytest.approx(F.softplus(-method.discriminator(told)).mean().item(), rel=1e-5)


def test_the_class_mean_as_the_target() -> None:
    distiller = prepared(
        f'lwkd({SMALL}, target="class_mean", adversarial=0, alpha=0.3, teacher_temperature=5)'
    )
    samples = batch()
    assert samples.targets is not None
    q = (method_of(distiller).bank.logits.double() / 5).softmax(-1).mean(1)[samples.targets]
    log_p = distiller.student(samples.inputs).double().log_softmax(1)
    expected = (q * (q.log() - log_p)).sum(1).mean().item()
    assert distiller(samples)["lwkd.kd"].item() == pytest.approx(expected, rel=1e-4)
    assert distiller(batch(4))["lwkd.kd"].item() == distiller(samples)["lwkd.kd"].item(), "nothing is drawn"


def test_a_sample_without_a_label_counts_as_zero() -> None:
    distiller = prepared(f"lwkd({SMALL})")
    samples = batch()
    assert samples.targets is not None
    hidden = replace(samples, targets=samples.targets.where(samples.targets < 3, UNLABELED))
    half = hidden.targets != UNLABELED  # 12 of 20
    labeled = samples.map(lambda tensor: tensor[half])
    found, alone = distiller(hidden), distiller(labeled)
    for name, value in alone.items():
        assert found[name].item() == pytest.approx(value.item() * 12 / 20, rel=1e-5), name
    nothing = distiller(replace(samples, targets=torch.full((20,), UNLABELED)))
    assert all(value.item() == 0 for value in nothing.values())


def test_draws_follow_the_runs_seed_and_are_made_anew_at_every_visit() -> None:
    objective = f"lwkd({SMALL}, adversarial=0)"
    first, again, other = (prepared(objective, seed) for seed in (1, 1, 2))
    assert torch.equal(method_of(first).bank.logits, method_of(other).bank.logits), "the bank is shared"
    other.student.load_state_dict(first.student.state_dict())
    values = [distiller(batch())["lwkd.kd"].item() for distiller in (first, again, other)]
    assert values[0] == values[1] != values[2]
    assert first(batch(4))["lwkd.kd"].item() != values[0]

    bare = replace(batch(), index=None)  # a foreign loop that knows no index
    with torch.random.fork_rng():
        torch.manual_seed(5)
        drawn = [first(bare)["lwkd.kd"].item() for _ in range(2)]
        torch.manual_seed(5)
        assert [first(bare)["lwkd.kd"].item() for _ in range(2)] == drawn
    assert drawn[0] != drawn[1]


# Profiles and arguments


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", (10, 1, None, 0.1, 1, "mixture", 1, True)),
        ('profile="faithful"', (5, 5, 0.1, None, 25, "target", 0, False)),
        (
            'profile="faithful", teacher_temperature=4, student_temperature=2',
            (4, 2, 0.1, None, 8, "target", 0, False),
        ),
        ('profile="faithful", kd_scale=1, alpha=0', (5, 5, 0, None, 1, "target", 0, False)),
        ('profile="faithful", mass=0.2, r1=2', (5, 5, None, 0.2, 25, "target", 2, False)),
        ("teacher_temperature=2, alpha=0.3, real='target'", (2, 1, 0.3, None, 1, "target", 1, True)),
    ],
)
def test_profiles(arguments: str, expected: tuple[object, ...]) -> None:
    names = (
        "teacher_temperature",
        "student_temperature",
        "alpha",
        "mass",
        "kd_scale",
        "real",
        "r1",
        "conditional",
    )
    objective = parse(f"lwkd({arguments})" if arguments else "lwkd")
    record = resolved(objective)["lwkd"]
    assert tuple(record[name] for name in names) == expected
    assert record["adversarial"] == 0.1
    assert record["discriminator"] == [128, 64]


def test_the_faithful_kd_term_weighs_as_the_profile_says() -> None:
    distiller = prepared(f'lwkd({SMALL}, profile="faithful", adversarial=0)')
    found = distiller(batch())
    assert found.total.item() == pytest.approx(0.1 * 25 * found["lwkd.kd"].item(), rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("teacher_temperature=0", "teacher_temperature=0 should be greater than 0"),
        ("student_temperature=-1", "student_temperature=-1 should be greater than 0"),
        ("alpha=-0.1", "alpha=-0.1 should be greater than or equal to 0"),
        ("adversarial=-1", "adversarial=-1"),
        ('profile="gentle"', "'regularizer' or 'faithful'"),
        ('target="mean"', "'instance' or 'class_mean'"),
        ("bank_size=0", "bank_size=0"),
        ("discriminator=[0]", "discriminator"),
        ("adversarial=0, conditional=true", "there is no discriminator; leave conditional out"),
        ("adversarial=0, discriminator=[3]", "leave discriminator out"),
        ("adversarial=0, r1=1", "leave r1 out"),
        ("alpha=0.1, mass=0.1", "mass decides alpha; give one of the two"),
        ("mass=1.5", "mass=1.5"),
        ("lambda_=0.1", "unknown argument of lwkd"),
    ],
)
def test_refuses_arguments(arguments: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        parse(f"lwkd({arguments})")


def test_refuses_what_it_cannot_teach(tmp_path: Path) -> None:
    example = torch.rand(2, 6)

    def bound(
        objective: str, classes: int = CLASSES, teacher: nn.Module | None = None, data: Any = None
    ) -> None:
        Distiller(Student(classes), teacher, objective, example=example, data=data)

    with pytest.raises(LimbeckError, match="at most 10,000 classes, and the student has 10,001"):
        bound("lwkd", classes=10_001)
    with pytest.raises(LimbeckError, match="no sample of class 3; it should have some of each of the 5"):
        bound("lwkd", data=DataFacts(9, "digest", (3, 3, 2, 0, 1)))
    with pytest.raises(LimbeckError, match="has no use for a teacher"):
        bound("lwkd", teacher=Student())
    with pytest.raises(LimbeckError, match="unknown model 'lenet'; did you mean 'lenet5'"):
        bound('lwkd(teacher="lenet")')
    with pytest.raises(LimbeckError, match="no MNIST files at"):
        bound(f'lwkd(glyphs="{tmp_path}")')
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(b"no idx")
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(b"no idx")
    with pytest.raises(LimbeckError, match="t10k-images-idx3-ubyte' is no IDX file"):
        bound(f'lwkd(glyphs="{tmp_path}")')


# The phase


def test_the_teacher_is_trained_once_and_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))

    def trained(arguments: str, name: str) -> tuple[LWKD, list[dict[str, Any]]]:
        with torch.random.fork_rng():
            torch.manual_seed(len(name))  # every run has another seed
            distiller = Distiller(Student(), None, f"0.7*ce + lwkd({arguments})", example=torch.rand(2, 6))
        limbeck.prepare(
            distiller, [batch()], display=False, device="cpu", directory=tmp_path / name, seed=len(name)
        )
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        return method_of(distiller), [json.loads(line) for line in lines]

    first, lines = trained(SMALL, "a")
    assert [line["phase"] for line in lines] == ["lwkd.teacher"] * 3
    terms = lines[-1]["terms"]
    assert terms["lwkd.teacher.ce"] < lines[0]["terms"]["lwkd.teacher.ce"]
    assert 0 <= terms["lwkd.teacher.unseen_accuracy"] <= 1
    assert terms["lwkd.teacher.accuracy"] > 0.4
    again, reused = trained(f'{SMALL}, adversarial=0, target="class_mean"', "bb")
    assert [line.get("cached") for line in reused] == [True]
    assert reused[0]["terms"] == terms
    assert torch.equal(first.bank.logits, again.bank.logits)
    assert first.draws != again.draws
    for name, value in first.lightweight.state_dict().items():
        assert torch.equal(value, again.lightweight.state_dict()[name])
    assert not any(parameter.requires_grad for parameter in again.lightweight.parameters())
    glyphs = read_glyphs()
    write_mnist(tmp_path, glyphs.scans[:800, 0], glyphs.digits[:800].byte())
    for other in ("seed=1", f'glyphs="{tmp_path}"', "lr=0.002", 'teacher="mlp(hidden=[32])"'):
        method, lines = trained(f"{SMALL}, {other}", other[:3])
        assert len(lines) == 3, f"{other}: trained anew"
        assert not torch.equal(method.bank.logits, first.bank.logits)


def test_named_inputs_are_all_the_same_to_it() -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.head = nn.Embedding(30, 8), nn.Linear(8, CLASSES)

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            shares = attention_mask / attention_mask.sum(1, keepdim=True)
            return self.head((self.words(input_ids) * shares[..., None]).sum(1))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    texts = {"input_ids": torch.arange(40).view(10, 4) % 30, "attention_mask": torch.ones(10, 4)}
    distiller = Distiller(Reader(), None, f"lwkd({SMALL}, adversarial=0)", example=texts)
    samples = Batch(texts, torch.arange(10) % CLASSES)
    limbeck.prepare(distiller, [samples], display=False, device="cpu")
    optimizer = distiller.optimizer(SGD(lr=0.5))
    values = []
    for _ in range(30):
        found = distiller(samples)
        found.backward()
        optimizer.step()
        optimizer.zero_grad()
        values.append(found["lwkd.kd"].item())
    assert values[-1] < 0.5 * values[0]


@pytest.mark.parametrize("data", ["digits(labeled=50)", "wine"])
def test_a_whole_run_without_a_teacher(data: str, tmp_path: Path) -> None:
    run = limbeck.distill(
        data=data,
        student="mlp(hidden=[8])",
        objective=f"0.7*ce + lwkd({SMALL})",
        epochs=2,
        batch_size=25,
        settings={"training.trackers": []},
        display=False,
        out=tmp_path / "run",
    )
    assert run.result.teachers == {}
    assert run.result.agreement is None
    assert run.result.arguments["lwkd"]["teacher_temperature"] == 10
    assert run.result.arguments["lwkd"]["images_per_class"] == 60
    last = run.history[-1]
    assert last["phase"] == "training"
    assert {"ce", "lwkd.kd", "lwkd.generator", "lwkd.discriminator", "lwkd.accuracy"} <= last["terms"].keys()
    assert not any("lwkd" in key for key in limbeck.load(run).state_dict())


def test_a_class_without_a_training_sample_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    source = limbeck.data.from_tensors(torch.rand(40, 4), torch.arange(40) % 3, num_classes=4)
    with pytest.raises(LimbeckError, match="no sample of class 3"):
        limbeck.distill(
            data=source, student="mlp(hidden=[4])", objective="0.7*ce + lwkd", out=tmp_path / "run"
        )
    assert not list(tmp_path.iterdir())


class Killed(BaseException):
    """What ends the process in the middle of an epoch."""


def test_killed_in_its_phase_it_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(name: str, resume: bool = False) -> dict[str, Tensor]:
        monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache" / name))
        settings: dict[str, Any] = {
            "data": "wine",
            "student": "mlp(hidden=[8])",
            "objective": f"0.7*ce + lwkd({SMALL})",
            "epochs": 2,
            "settings": {"training.trackers": []},
        }
        given = {"resume": True} if resume else settings
        done = limbeck.distill(**given, display=False, out=tmp_path / name)
        return limbeck.load(done).state_dict()

    calm = run("calm")

    def cut_short(teacher: LightweightTeacher, epoch: int) -> Iterable[Batch]:
        whole = list(batches(teacher, epoch))
        return Broken(whole) if epoch == 1 else whole

    class Broken(list[Batch]):
        def __iter__(self) -> Iterator[Batch]:
            yield from list(super().__iter__())[:7]
            raise Killed

    batches = LightweightTeacher.batches
    with monkeypatch.context() as patch:
        patch.setattr(LightweightTeacher, "batches", cut_short)
        with pytest.raises(Killed):
            run("killed")
    resumed = run("killed", resume=True)
    assert all(torch.equal(value, resumed[name]) for name, value in calm.items())
