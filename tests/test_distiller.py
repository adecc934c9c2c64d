"""The contract of the Distiller, by value; what holds for every method is in methods/test_conformance.py."""

from __future__ import annotations

import copy
import gc
import io
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from invented_methods import Adversarial, Projected
from method_setting import CLASSES, SAMPLES, Setting, SmallNet, make_setting
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset

import limbeck
import limbeck.data
from limbeck import Batch, Distiller, LimbeckError, Outputs
from limbeck.data import Loader
from limbeck.methods import CE, KD, Context, DataFacts, Losses, Method, Phase, Reads, Term
from limbeck.objective import parse
from limbeck.optimization import SGD
from limbeck.outputs import ABSENT, UNLABELED, Inputs, Progress
from limbeck.teachers import LiveTeacher, Teacher


@pytest.fixture
def setting() -> Setting:
    return make_setting(norm=False, dtype=torch.float64)


def naive_kd(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    p, q = (teacher / temperature).softmax(1), (student / temperature).softmax(1)
    return temperature**2 * (p * (p.log() - q.log())).sum(1).mean()


def prepare(distiller: Distiller, setting: Setting) -> None:
    limbeck.prepare(distiller, [(setting.inputs, setting.targets)], display=False, device="cpu")


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(module: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


# What one call gives


def test_losses_are_named_terms_and_their_weighted_sum(setting: Setting) -> None:
    losses = setting.distiller("0.1*ce + 0.9*kd(temperature=2)")(setting.inputs, setting.targets)
    logits, soft = setting.student(setting.inputs), setting.teacher(setting.inputs)
    ce, kd = F.cross_entropy(logits, setting.targets).item(), naive_kd(logits, soft, 2).item()
    assert list(losses) == ["ce", "kd"]
    assert {name: value.item() for name, value in losses.items()} == pytest.approx({"ce": ce, "kd": kd})
    assert losses.total.item() == pytest.approx(0.1 * ce + 0.9 * kd)
    assert losses.task is not None
    assert losses.task.item() == pytest.approx(0.1 * ce)
    assert losses.distillation is not None
    assert losses.distillation.item() == pytest.approx(0.9 * kd)
    assert repr(losses) == f"Losses(total={losses.total.item():.4g}, ce={ce:.4g}, kd={kd:.4g})"


def test_backward_gives_the_student_the_gradient_of_the_weighted_sum(setting: Setting) -> None:
    distiller = setting.distiller("0.1*ce + 0.9*kd(temperature=2)")
    distiller(setting.inputs, setting.targets).backward()
    logits, soft = setting.student(setting.inputs), setting.teacher(setting.inputs).detach()
    loss = 0.1 * F.cross_entropy(logits, setting.targets) + 0.9 * naive_kd(logits, soft, 2)
    expected = torch.autograd.grad(loss, list(setting.student.parameters()))
    for parameter, gradient in zip(distiller.student.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_weights_scale_what_trains_the_student_and_nothing_else(setting: Setting) -> None:
    distiller = setting.distiller("ce + 0.1*adversarial")
    losses = distiller(setting.inputs, setting.targets)
    assert list(losses) == ["ce", *(f"adversarial.{n}" for n in ("generator", "discriminator", "accuracy"))]
    assert losses.total.item() == pytest.approx(
        losses["ce"].item()
        + 0.1 * losses["adversarial.generator"].item()
        + losses["adversarial.discriminator"].item()
    )
    assert losses.distillation is not None
    assert losses.distillation.item() == pytest.approx(0.1 * losses["adversarial.generator"].item())
    assert not losses["adversarial.accuracy"].requires_grad
    assert 0 <= losses["adversarial.accuracy"].item() <= 1


def test_one_backward_trains_the_adversaries_each_by_its_own_loss(setting: Setting) -> None:
    distiller = setting.distiller("ce + 0.1*adversarial")
    losses = distiller(setting.inputs, setting.targets)
    adversary = next(method for method in distiller.objective.wrapped if isinstance(method, Adversarial))
    learners: list[tuple[nn.Module, Tensor]] = [
        (distiller.student, losses["ce"] + 0.1 * losses["adversarial.generator"]),
        (adversary.discriminator, losses["adversarial.discriminator"]),
    ]
    alone = [
        torch.autograd.grad(loss, list(learner.parameters()), retain_graph=True) for learner, loss in learners
    ]
    losses.backward()
    for (learner, _), gradients in zip(learners, alone, strict=True):
        for parameter, gradient in zip(learner.parameters(), gradients, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-12)


def test_an_objective_without_task_terms_has_no_task_loss(setting: Setting) -> None:
    losses = setting.distiller("kd")(setting.inputs)
    assert losses.task is None
    assert losses.distillation is not None
    assert losses.distillation.item() == losses.total.item() == losses["kd"].item()


class Watching(Method):
    """Only logs."""

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Any]:
        return {"norm": Term(student.logits.detach().norm(), "monitor")}


def test_an_objective_with_nothing_to_minimize_is_refused(setting: Setting) -> None:
    distiller = Distiller(setting.student, objective=Watching(), example=setting.inputs)
    with pytest.raises(LimbeckError, match="has no term to minimize in this phase; add one, for example ce"):
        distiller(setting.inputs)


def test_a_sample_without_a_label_counts_as_zero(setting: Setting) -> None:
    distiller = setting.distiller("ce + kd")
    some = setting.targets.clone()
    some[::4] = UNLABELED
    losses = distiller(setting.inputs, some)
    labeled = some != UNLABELED
    logits = setting.student(setting.inputs[labeled])
    expected = F.cross_entropy(logits, some[labeled], reduction="sum") / SAMPLES
    assert losses["ce"].item() == pytest.approx(expected.item())
    all_labeled = distiller(setting.inputs, setting.targets)
    assert losses["kd"].item() == all_labeled["kd"].item()


def test_a_batch_goes_in_whole_or_in_parts(setting: Setting) -> None:
    distiller = setting.distiller("ce + remembered").eval()
    index = torch.arange(SAMPLES)
    parts = distiller(setting.inputs, setting.targets, index=index)
    whole = distiller(Batch(setting.inputs, setting.targets, index))
    assert dict(parts.items()) == dict(whole.items())


# Objectives


def test_text_and_methods_are_the_same_objective(setting: Setting) -> None:
    totals = {
        Distiller(setting.student, setting.teacher, objective, example=setting.inputs)(
            setting.inputs, setting.targets
        ).total.item()
        for objective in ("0.5*ce + kd(temperature=3)", 0.5 * CE() + KD(temperature=3))
    }
    assert len(totals) == 1


def test_a_single_method_is_an_objective(setting: Setting) -> None:
    distiller = Distiller(setting.student, setting.teacher, KD(temperature=3), example=setting.inputs)
    assert list(distiller(setting.inputs)) == ["kd"]
    assert str(distiller.objective) == "kd(temperature=3)"


def test_one_objective_serves_many_distillers(setting: Setting) -> None:
    objective = parse("ce + projected")
    first, second = (
        Distiller(copy.deepcopy(setting.student), setting.teacher, objective, example=setting.inputs)
        for _ in range(2)
    )
    ours, theirs = ({id(p) for p in d.objective.parameters()} for d in (first, second))
    assert len(ours) == len(theirs) == 6
    assert not ours & theirs
    assert not list(objective.parameters())


# The networks


def test_the_student_is_the_users_own(setting: Setting) -> None:
    keys = list(setting.student.state_dict())
    distiller = Distiller(setting.student, setting.teacher, "ce + kd", example=setting.inputs)
    assert distiller.student is setting.student
    assert type(distiller.student) is SmallNet
    distiller(setting.inputs, setting.targets).backward()
    assert list(setting.student.state_dict()) == keys
    assert distiller.deploy() is setting.student


def test_making_a_distiller_leaves_student_and_random_state_as_they_were() -> None:
    setting = make_setting(norm=True, dropout=0.5)
    setting.student.stage1.eval()
    modes = [module.training for module in setting.student.modules()]
    before, random = state_of(setting.student), torch.get_rng_state()
    Distiller(setting.student, setting.teacher, "ce + kd", example=setting.inputs)
    assert [module.training for module in setting.student.modules()] == modes
    assert not changed(setting.student, before)
    assert torch.equal(torch.get_rng_state(), random)
    assert not setting.teacher.training


def test_the_state_holds_student_and_methods_parts_and_no_teacher(setting: Setting) -> None:
    distiller = setting.distiller("ce + projected")
    roots = Counter(name.split(".")[0] for name in distiller.state_dict())
    assert roots == {"student": len(setting.student.state_dict()), "objective": 6, "phases_done": 1}
    assert not any(module is setting.teacher for module in distiller.modules())


def test_the_teacher_moves_with_the_student(setting: Setting) -> None:
    distiller = setting.distiller("ce + projected").to("meta")
    assert isinstance(distiller.teacher, LiveTeacher)
    tensors = [*distiller.parameters(), *distiller.buffers(), *distiller.teacher.network.parameters()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_a_module_around_the_distiller_moves_the_teacher_too(setting: Setting) -> None:
    distiller = setting.distiller("kd")
    nn.ModuleDict({"inner": distiller}).float()
    assert isinstance(distiller.teacher, LiveTeacher)
    assert {parameter.dtype for parameter in distiller.teacher.network.parameters()} == {torch.float32}
    assert distiller(setting.inputs.float()).total.dtype == torch.float32


@pytest.mark.parametrize("cast", ["networks", "distiller"])
def test_with_networks_in_half_precision_losses_and_parts_stay_in_single(cast: str) -> None:
    setting = make_setting(norm=False)
    networks = setting.student, setting.teacher
    if cast == "networks":
        networks[0].bfloat16()
        networks[1].bfloat16()
    dtype = networks[0].classifier.weight.dtype
    distiller = Distiller(*networks, "ce + kd + projected", example=setting.inputs.to(dtype))
    parts = state_of(distiller.objective)
    distiller.bfloat16()
    assert not changed(distiller.objective, parts), "nor are the parts rounded"
    inputs = setting.inputs.bfloat16()
    limbeck.prepare(distiller, [(inputs, setting.targets)], display=False, device="cpu")
    losses = distiller(inputs, setting.targets)
    assert {value.dtype for value in losses.values()} == {torch.float32}
    assert {p.dtype for p in distiller.student.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in distiller.objective.parameters()} == {torch.float32}
    losses.backward()
    gradients = [p.grad for p in distiller.parameters() if p.requires_grad]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


def test_networks_in_double_precision_have_parts_and_losses_in_double() -> None:
    setting = make_setting(dtype=torch.float64)
    distiller = setting.distiller("ce + projected")
    prepare(distiller, setting)
    assert {p.dtype for p in distiller.parameters()} == {torch.float64}
    assert {value.dtype for value in distiller(setting.inputs, setting.targets).values()} == {torch.float64}


def test_under_autocast_networks_run_in_bfloat16_and_losses_in_float32() -> None:
    setting = make_setting(norm=False)
    distiller = setting.distiller("ce + kd")
    dtypes: list[torch.dtype] = []
    assert isinstance(distiller.teacher, LiveTeacher)
    for network in (distiller.student, distiller.teacher.network):
        network.register_forward_hook(lambda module, args, output: dtypes.append(output.dtype))
    exact = distiller(setting.inputs, setting.targets)
    with torch.autocast("cpu", torch.bfloat16):
        losses = distiller(setting.inputs, setting.targets)
    assert dtypes == [torch.float32, torch.float32, torch.bfloat16, torch.bfloat16]
    assert {value.dtype for value in [losses.total, *losses.values()]} == {torch.float32}
    assert losses.total.item() == pytest.approx(exact.total.item(), rel=2e-2)
    losses.backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in distiller.student.parameters())


class Multiplying(Method):
    """Notes in which precision it multiplies matrices."""

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        similarity = student.logits @ student.logits.T
        self.dtype = similarity.dtype
        return similarity.mean()


def test_methods_do_not_run_under_the_autocast_of_the_networks() -> None:
    setting = make_setting()
    distiller = Distiller(setting.student, objective=Multiplying(), example=setting.inputs)
    with torch.autocast("cpu", torch.bfloat16):
        distiller(setting.inputs)
    assert [m.dtype for m in distiller.objective.wrapped if isinstance(m, Multiplying)] == [torch.float32]


class TokenNet(nn.Module):
    """Called with named tensors: mean of the valid tokens' embeddings, a hidden layer, a classifier."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(11, width)
        self.hidden = nn.Linear(width, width)
        self.classifier = nn.Linear(width, CLASSES)

    def forward(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
        valid = attention_mask.unsqueeze(2).float()
        mean = (self.tokens(ids) * valid).sum(1) / valid.sum(1)
        logits: Tensor = self.classifier(self.hidden(mean).tanh())
        return logits


def test_networks_may_be_called_with_named_tensors(setting: Setting) -> None:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(11, (SAMPLES, 7), generator=generator)
    inputs = {"ids": ids, "attention_mask": (torch.arange(7) < 1 + ids[:, :1]).long()}
    student, teacher = TokenNet(4), TokenNet(8)
    distiller = Distiller(student, teacher, "ce + projected", example=inputs)
    limbeck.prepare(distiller, [{**inputs, "labels": setting.targets}], display=False, device="cpu")
    losses = distiller(inputs, setting.targets)
    expected = F.cross_entropy(student(**inputs), setting.targets)
    assert losses["ce"].item() == pytest.approx(expected.item())
    assert set(losses) == {"ce", "projected"}


class Pair(NamedTuple):
    features: Tensor
    logits: Tensor


RESULTS: dict[str, Callable[[Tensor], Any]] = {
    "tuple": lambda logits: (logits.unsqueeze(1), logits),
    "dict": lambda logits: {"features": logits * 2, "logits": logits},
    "named tuple": lambda logits: Pair(logits.unsqueeze(1), logits),
}


class Returning(SmallNet):
    """SmallNet in another wrapping."""

    def __init__(self, wrapping: str) -> None:
        super().__init__(3, norm=False)
        self.wrapping = wrapping

    def forward(self, x: Tensor) -> Any:
        return RESULTS[self.wrapping](super().forward(x))


@pytest.mark.parametrize("wrapping", RESULTS)
def test_logits_are_found_in_what_networks_return(setting: Setting, wrapping: str) -> None:
    student, teacher = (Returning(wrapping).double() for _ in range(2))
    student.load_state_dict(setting.student.state_dict())
    teacher.load_state_dict(setting.student.state_dict())
    losses = Distiller(student, teacher, "ce + kd", example=setting.inputs)(setting.inputs, setting.targets)
    expected = F.cross_entropy(setting.student(setting.inputs), setting.targets)
    assert losses["ce"].item() == pytest.approx(expected.item())
    assert losses["kd"].item() == pytest.approx(0, abs=1e-12)


class Answers(Teacher):
    """A table of logits by index, and no network."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        self.asked: list[Sequence[str]] = []

    def open(self, example: Inputs, fields: Sequence[str]) -> None:
        self.asked.append(fields)

    def __call__(self, batch: Batch) -> Outputs:
        rows = torch.arange(len(batch)) if batch.index is None else batch.index
        return Outputs(logits=self.logits[rows])


def test_a_phase_learns_from_the_teacher_that_its_method_names(setting: Setting) -> None:
    teachers = {"first": setting.student, "second": setting.teacher}
    objective = 'kd(teacher="first") + projected(teacher="second") + projected(teacher="first")'
    distiller = Distiller(
        make_setting(norm=False, dtype=torch.float64).student, teachers, objective, example=setting.inputs[:2]
    )
    asked = {name: teacher.shown for name, teacher in distiller.teachers.items()}
    for named, other, (_, phase) in zip(
        ("second", "first"), ("first", "second"), distiller.phases, strict=True
    ):
        assert phase.reads.teachers == (named,)
        with distiller.phase_open("phase", phase) as (module, _):
            module(Batch(setting.inputs))
        shown = {name: teacher.shown for name, teacher in distiller.teachers.items()}
        assert (shown[named] > asked[named], shown[other] > asked[other]) == (True, False)
        asked = shown


def test_a_teacher_may_be_anything_that_answers(setting: Setting) -> None:
    teacher = Answers(setting.teacher(setting.inputs).detach())
    distiller = Distiller(setting.student, teacher, "kd", example=setting.inputs[:2])
    assert teacher.asked == [("logits",)]
    rows = torch.tensor([5, 2, 9])
    losses = distiller(setting.inputs[rows], index=rows)
    expected = naive_kd(setting.student(setting.inputs[rows]), teacher.logits[rows], 4)
    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-9)


# What a batch may hold besides


class Agreement(Method):
    """The student's answer for one view is near the teacher's for another."""

    reads = Reads(student=("logits",), teacher=("logits",), views=("other",))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        return {
            "across": F.mse_loss(student.logits, teacher.views["other"].logits),
            "within": F.mse_loss(student.logits, student.views["other"].logits),
        }


def test_further_views_run_through_both_networks(setting: Setting) -> None:
    distiller = Distiller(setting.student, setting.teacher, Agreement(), example=setting.inputs[:2])
    flipped = setting.inputs.flip(-1)
    losses = distiller(setting.inputs, views={"other": flipped})
    logits = setting.student(setting.inputs)
    expected = {
        "agreement.across": F.mse_loss(logits, setting.teacher(flipped)).item(),
        "agreement.within": F.mse_loss(logits, setting.student(flipped)).item(),
    }
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(expected)


def test_networks_run_once_where_nobody_reads_another_view(setting: Setting) -> None:
    distiller = setting.distiller("ce + kd + projected")
    prepare(distiller, setting)
    runs = 0

    def count(module: nn.Module, args: Any) -> None:
        nonlocal runs
        runs += 1

    assert isinstance(distiller.teacher, LiveTeacher)
    distiller.student.register_forward_pre_hook(count)
    distiller.teacher.network.register_forward_pre_hook(count)
    distiller(setting.inputs, setting.targets, views={"other": setting.inputs.flip(-1)})
    assert runs == 2


class Growing(Method):
    """Weighs its loss by how far training has come."""

    reads = Reads(batch=("progress",))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        assert batch.progress is not None
        self.seen = batch.progress
        return batch.progress.fraction * student.logits.square().mean()


def test_progress_reaches_the_methods(setting: Setting) -> None:
    distiller = Distiller(setting.student, objective=Growing(), example=setting.inputs)
    size = setting.student(setting.inputs).square().mean().item()
    distiller.progress(3, 1, 0.25)
    assert distiller(setting.inputs).total.item() == pytest.approx(0.25 * size)
    assert next(m.seen for m in distiller.objective.wrapped if isinstance(m, Growing)) == Progress(3, 1, 0.25)
    batch = Batch(setting.inputs, progress=Progress(9, 2, 0.5))
    assert distiller(batch).total.item() == pytest.approx(0.5 * size), "a batch that knows better is believed"


# The size of the data


def some_data() -> dict[str, tuple[object, DataFacts]]:
    inputs, targets = torch.rand(20, 1, 6, 6), torch.arange(20) % 5
    dataset = TensorDataset(inputs, targets)
    source = limbeck.data.from_tensors(inputs, targets)
    part = source.train.select(torch.arange(3))
    whole = source.train.positions
    return {
        "nothing": (None, DataFacts()),
        "its size": (20, DataFacts(20)),
        "tensor": (inputs, DataFacts(20)),
        "list": (list(zip(inputs, targets, strict=True)), DataFacts(20)),
        "data set": (dataset, DataFacts(20)),
        "part of a data set": (Subset(dataset, range(7)), DataFacts(7)),
        "DataLoader": (DataLoader(dataset, batch_size=4), DataFacts(20)),
        "DataLoader of a part": (DataLoader(Subset(dataset, range(7)), batch_size=4), DataFacts(7)),
        "split": (part, DataFacts(whole)),
        "Loader": (Loader(part, batch_size=2), DataFacts(whole)),
        "source": (source, DataFacts(whole, source.fingerprint(), (3, 3, 3, 3, 3))),
        "facts": (DataFacts(3, "abc"), DataFacts(3, "abc")),
    }


@pytest.mark.parametrize("form", some_data())
def test_the_size_of_the_data_is_read_from_whatever_tells(form: str) -> None:
    data, facts = some_data()[form]
    assert DataFacts.of(data) == facts


@pytest.mark.parametrize("form", ["split", "Loader", "source"])
def test_a_training_set_of_limbeck_tells_its_targets_by_position(form: str) -> None:
    data, _ = some_data()[form]
    found = DataFacts.of(data).targets
    assert found is not None
    whole = limbeck.data.from_tensors(torch.rand(20, 1, 6, 6), torch.arange(20) % 5).train.targets
    assert torch.equal(found, whole if form == "source" else whole.where(torch.arange(15) < 3, ABSENT))
    assert DataFacts.of(torch.rand(20, 3)).targets is None


@pytest.mark.parametrize("targets", [[0, 1, 2], torch.zeros(4, dtype=torch.int64)], ids=["list", "number"])
def test_there_is_a_target_for_each_position(targets: Any) -> None:
    with pytest.raises(LimbeckError, match=r"DataFacts\(size=3, ...\) must be a tensor of 3 targets"):
        DataFacts(3, targets=targets)


@pytest.mark.parametrize(
    "data",
    ["digits", {"x": torch.zeros(4)}, True, 0, -1, iter("abc")],
    ids=["name", "named tensors", "truth", "zero", "negative", "iterator"],
)
def test_what_does_not_tell_the_size_is_refused(setting: Setting, data: object) -> None:
    with pytest.raises(LimbeckError, match="data must be the training set or its size, not "):
        Distiller(setting.student, objective="remembered", example=setting.inputs, data=data)


# Phases


def test_phases_run_once_and_inner_first(setting: Setting) -> None:
    distiller = setting.distiller("kd + around(ce + projected)")
    assert [name for name, _ in distiller.phases] == ["projected.code", "around.head"]
    ran: list[str] = []
    for name, phase in distiller.phases:
        phase.trains[0].register_forward_hook(lambda *_, name=name: ran.append(name))
    prepare(distiller, setting)
    assert ran == ["projected.code"] * 2 + ["around.head"] * 2
    before = state_of(distiller)
    prepare(distiller, setting)
    assert not changed(distiller, before)
    assert len(ran) == 4


def test_forward_and_optimizer_wait_for_the_phases(setting: Setting) -> None:
    distiller = setting.distiller("around(ce + projected)")
    with pytest.raises(
        LimbeckError, match=r"phases to run first \(projected.code, around.head\); call limbeck.prepare\("
    ):
        distiller(setting.inputs, setting.targets)
    with pytest.raises(LimbeckError, match=r"call limbeck.prepare\(distiller, loader\) first"):
        distiller.optimizer(SGD())
    prepare(distiller, setting)
    assert distiller(setting.inputs, setting.targets).total.isfinite()


def test_a_phase_trains_its_modules_and_nothing_else() -> None:
    setting = make_setting(norm=True, dropout=0.5)
    distiller = setting.distiller("ce + projected")
    distiller.student.get_submodule("stage1").eval()
    modes = {name: module.training for name, module in distiller.student.named_modules()}
    before = state_of(distiller)
    prepare(distiller, setting)
    assert {name: module.training for name, module in distiller.student.named_modules()} == modes
    parts = {f"{part}.{kind}" for part in ("encoder", "decoder") for kind in ("weight", "bias")}
    assert changed(distiller, before) == {"phases_done", *(f"objective.methods.1.{part}" for part in parts)}
    assert {name for name, p in distiller.named_parameters() if not p.requires_grad} == {
        f"objective.methods.1.{part}" for part in parts
    }


def test_a_phase_lowers_its_own_loss(setting: Setting) -> None:
    distiller = Distiller(
        setting.student, setting.teacher, CE() + Projected(dim=8, epochs=200), example=setting.inputs
    )
    method = next(method for method in distiller.objective.wrapped if isinstance(method, Projected))
    teacher = setting.teacher.stage2(setting.teacher.stage1(setting.inputs)).mean((2, 3)).detach()

    def error() -> float:
        return F.mse_loss(method.decoder(method.encoder(teacher)), teacher).item()

    before = error()
    prepare(distiller, setting)
    assert error() < 0.1 * before


def frozen_parts(distiller: Distiller) -> Iterator[nn.Module]:
    for _, phase in distiller.phases:
        for module in phase.trains:
            yield from module.modules()


def test_what_a_phase_froze_stays_frozen_and_in_eval_mode(setting: Setting) -> None:
    distiller = setting.distiller("around(ce + projected)")
    prepare(distiller, setting)
    distiller.train()
    assert distiller.student.training
    assert not any(module.training for module in frozen_parts(distiller))

    again = setting.distiller("around(ce + projected)")
    again.load_state_dict(distiller.state_dict())
    assert not any(module.training for module in frozen_parts(again))
    again.train()
    assert not any(module.training for module in frozen_parts(again))
    frozen = {id(p) for module in frozen_parts(again) for p in module.parameters()}
    assert frozen == {id(p) for p in again.parameters() if not p.requires_grad}
    learning = {id(p) for group in again.optimizer(SGD()).param_groups for p in group["params"]}
    assert not frozen & learning
    batch = setting.inputs, setting.targets
    assert again(*batch).total.item() == distiller(*batch).total.item()


class Warmed(Method):
    """A phase trains the student itself on the teacher's logits."""

    reads = Reads(student=("logits",), teacher=("logits",))

    def bind(self, context: Context) -> None:
        self.student = [context.student_network]  # in a list: it is no part of this module

    def phases(self) -> Sequence[Phase]:
        return [
            Phase(
                name="warm",
                trains=self.student,
                loss=lambda student, teacher, batch: F.mse_loss(student.logits, teacher.logits),
                reads=self.reads,
                epochs=2,
                optimizer=SGD(),
            )
        ]

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return F.mse_loss(student.logits, teacher.logits)


def test_a_phase_may_train_the_student_and_respects_what_the_user_froze(setting: Setting) -> None:
    setting.student.stage1.requires_grad_(False)
    before = state_of(setting.student)
    distiller = Distiller(setting.student, setting.teacher, Warmed(), example=setting.inputs)
    prepare(distiller, setting)
    learned = changed(setting.student, before)
    assert learned == {name for name in before if not name.startswith("stage1")}
    distiller.train()
    assert setting.student.training
    trainable = {name for name, p in setting.student.named_parameters() if p.requires_grad}
    assert trainable == learned


def test_a_phase_that_fails_leaves_no_parameter_frozen(setting: Setting) -> None:
    distiller = setting.distiller("ce + projected")
    with pytest.raises(RuntimeError, match=r"expected input.* to have 1 channels"):
        limbeck.prepare(distiller, [setting.inputs.expand(-1, 3, -1, -1)], display=False, device="cpu")
    assert all(parameter.requires_grad for parameter in distiller.parameters())
    prepare(distiller, setting)
    assert distiller(setting.inputs, setting.targets).total.isfinite()


# Optimizers


def test_one_step_is_a_step_of_every_optimizer(setting: Setting) -> None:
    joint, separate = (setting.distiller("ce + 0.1*adversarial") for _ in range(2))
    make = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    (claim,) = (claim for method in separate.objective.wrapped for claim in method.claims())
    optimizers = [make(separate.student.parameters()), claim.optimizer(claim.module.parameters())]
    optimizer = joint.optimizer(make)
    for _ in range(3):
        joint(setting.inputs, setting.targets).backward()
        optimizer.step()
        optimizer.zero_grad()
        separate(setting.inputs, setting.targets).backward()
        for part in optimizers:
            part.step()
            part.zero_grad()
    assert not changed(joint, state_of(separate))
    assert changed(joint, state_of(setting.distiller("ce + 0.1*adversarial"))) == set(joint.state_dict()) - {
        "phases_done"
    }


def test_without_claims_the_optimizer_is_the_users_own(setting: Setting) -> None:
    distiller = setting.distiller("ce + kd")
    distiller.student.stage1.requires_grad_(False)
    optimizer = distiller.optimizer(partial(torch.optim.AdamW, lr=0.01))
    assert type(optimizer) is torch.optim.AdamW
    (group,) = optimizer.param_groups
    named = dict(distiller.student.named_parameters())
    assert [id(p) for p in group["params"]] == [
        id(p) for name, p in named.items() if not name.startswith("stage1")
    ]


# What is shipped, copied, saved


class Shipping(Method):
    """Ships the student with a softmax."""

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return student.logits.square().mean()

    def deploy(self, student: nn.Module) -> nn.Module:
        return nn.Sequential(student, nn.Softmax(1))


def test_a_method_may_hand_over_the_network_to_ship(setting: Setting) -> None:
    distiller = Distiller(setting.student, objective=CE() + Shipping(), example=setting.inputs)
    expected = setting.student(setting.inputs).softmax(1)
    assert torch.equal(distiller.deploy()(setting.inputs), expected)


def test_a_copy_is_a_distiller_of_its_own(setting: Setting) -> None:
    distiller = setting.distiller("around(ce + projected)")
    before = state_of(distiller)
    twin = copy.deepcopy(distiller)
    prepare(twin, setting)
    assert not changed(distiller, before)
    prepare(distiller, setting)
    assert not changed(distiller, state_of(twin)), "phases of a copy train the copy's parts"
    assert isinstance(twin.teacher, LiveTeacher)
    assert isinstance(distiller.teacher, LiveTeacher)
    assert twin.teacher.network is not distiller.teacher.network
    twin(setting.inputs, setting.targets).backward()
    assert all(parameter.grad is None for parameter in distiller.parameters())
    assert twin.student.classifier.weight.grad is not None  # type: ignore[union-attr]


def test_a_distiller_goes_through_pickle(setting: Setting) -> None:
    distiller = setting.distiller("around(ce + projected)")
    file = io.BytesIO()
    torch.save(distiller, file)
    file.seek(0)
    read = torch.load(file, weights_only=False)
    for one in (distiller, read):
        prepare(one, setting)
    assert not changed(distiller, state_of(read))


def test_the_student_is_saved_without_anything_of_limbeck(setting: Setting) -> None:
    distiller = setting.distiller("ce + projected")
    prepare(distiller, setting)
    distiller(setting.inputs, setting.targets).backward()
    file = io.BytesIO()
    torch.save(distiller.student, file)
    assert b"method_setting" in file.getvalue(), "class names are legible in the file"
    assert b"limbeck" not in file.getvalue()


def test_nothing_captured_outlives_the_step(setting: Setting) -> None:
    distiller = setting.distiller("ce + projected")
    prepare(distiller, setting)
    assert isinstance(distiller.teacher, LiveTeacher)
    seen: list[weakref.ref[Tensor]] = []
    for network in (distiller.student, distiller.teacher.network):
        network.classifier.register_forward_pre_hook(  # type: ignore[union-attr]
            lambda module, args: seen.append(weakref.ref(args[0]))
        )
    losses = distiller(setting.inputs, setting.targets)
    assert seen[0]() is not None, "the graph needs the student's embedding"
    losses.backward()
    del losses
    gc.collect()
    assert [reference() for reference in seen] == [None, None]


# torch.compile


class Near(Method):
    """The student's embedding is near the first numbers of the teacher's: a feature without parts."""

    reads = Reads(student=("embedding",), teacher=("embedding",))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return F.mse_loss(student.embedding, teacher.embedding[:, : student.embedding.shape[1]])


Backend = Callable[..., Any]


def wrapped_before(setting: Setting, backend: Backend) -> Distiller:
    student = torch.compile(setting.student, backend=backend)
    assert isinstance(student, nn.Module)
    return Distiller(student, setting.teacher, CE() + Near(), example=setting.inputs)


def compiled_in_place(setting: Setting, backend: Backend) -> Distiller:
    setting.student.compile(backend=backend)
    return Distiller(setting.student, setting.teacher, CE() + Near(), example=setting.inputs)


def wrapped_after(setting: Setting, backend: Backend) -> Distiller:
    distiller = Distiller(setting.student, setting.teacher, CE() + Near(), example=setting.inputs)
    distiller.student = torch.compile(distiller.student, backend=backend)  # type: ignore[assignment]
    return distiller


def distiller_compiled(setting: Setting, backend: Backend) -> Distiller:
    distiller = Distiller(setting.student, setting.teacher, CE() + Near(), example=setting.inputs)
    distiller.compile(backend=backend)
    return distiller


WAYS = [wrapped_before, compiled_in_place, wrapped_after, distiller_compiled]


@pytest.fixture
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.parametrize("way", WAYS, ids=lambda way: str(way.__name__))
def test_a_compiled_student_trains_alike(way: Callable[[Setting, Backend], Distiller]) -> None:
    setting, plain = make_setting(), make_setting()
    expected = Distiller(plain.student, plain.teacher, CE() + Near(), example=plain.inputs)
    ran = 0

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            nonlocal ran
            ran += 1
            return graph(*args)

        return run

    distiller = way(setting, backend)
    assert not ran, "looking at the example compiles nothing"
    for _ in range(2):
        gradients = []
        for one in (distiller, expected):
            one.train()
            one.zero_grad()
            before = ran
            losses: Losses = one(setting.inputs, setting.targets)
            assert (ran > before) == (one is distiller)
            losses.backward()
            gradients.append([losses.total.detach(), *(p.grad for p in one.student.parameters())])
            one.eval()
            one.student(setting.inputs)  # as a validation in between
        for ours, theirs in zip(*gradients, strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.usefixtures("_fresh_compiler")
def test_a_student_that_was_compiled_without_hooks_is_refused(setting: Setting) -> None:
    student = torch.compile(setting.student, backend="eager")
    assert isinstance(student, nn.Module)
    student(setting.inputs)
    distiller = Distiller(student, setting.teacher, CE() + Near(), example=setting.inputs)
    with pytest.raises(LimbeckError, match=r"did not pass 'classifier:input': .* or was compiled before"):
        distiller(setting.inputs, setting.targets)


@pytest.mark.usefixtures("_fresh_compiler")
def test_both_networks_are_compiled_for_a_while(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        side = "student" if torch.is_grad_enabled() else "teacher"

        def run(*args: Any) -> Any:
            ran.append(side)
            return graph(*args)

        return run

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    distiller = Distiller(setting.student, setting.teacher, CE() + Near(), example=setting.inputs)
    names = list(distiller.state_dict())
    expected = distiller(setting.inputs, setting.targets)
    with distiller.compiled():
        assert list(distiller.state_dict()) == names
        assert distiller.student is setting.student
        for count in (1, 2):
            losses = distiller(setting.inputs, setting.targets)
            assert sorted(ran) == ["student"] * count + ["teacher"] * count
            torch.testing.assert_close(dict(losses), dict(expected))
        distiller.student.eval()
        distiller.student(setting.inputs)  # as a validation in between
        distiller.deploy()(setting.inputs)
        assert len(ran) == 4, "others run it as it is"
        distiller.train()
    distiller(setting.inputs, setting.targets)
    assert len(ran) == 4
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in setting.student.modules())


@pytest.mark.usefixtures("_fresh_compiler")
def test_without_a_teacher_the_student_alone_is_compiled(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    distiller = Distiller(setting.student, None, "ce", example=setting.inputs)
    with distiller.compiled():
        assert list(distiller(setting.inputs, setting.targets)) == ["ce"]


def test_parts_that_learn_in_eval_mode_are_told_of() -> None:
    body = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5)).eval()
    student = nn.Sequential(body, nn.Linear(5, 3))
    with pytest.warns(UserWarning, match=r"the student's '0\.0' learns in eval mode, as it was"):
        Distiller(student, None, "ce", example=torch.rand(2, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        body[0].train()
        Distiller(student, None, "ce", example=torch.rand(2, 4))


def test_a_teacher_is_asked_about_the_views_that_are_read_of_it() -> None:
    setting = make_setting()
    teachers = {"a": LiveTeacher(copy.deepcopy(setting.teacher)), "b": LiveTeacher(setting.teacher)}
    objective = 'ce + kd(teacher="a") + turned(teacher="b")'
    distiller = Distiller(setting.student, teachers, objective, example=setting.inputs[:2])
    prepare(distiller, setting)
    before = {name: teacher.shown for name, teacher in teachers.items()}
    distiller(setting.inputs, setting.targets)
    count = len(setting.inputs)
    assert teachers["a"].shown - before["a"] == count
    assert teachers["b"].shown - before["b"] == 2 * count


def test_one_teacher_may_have_a_name() -> None:
    setting = make_setting()
    named = Distiller(
        setting.student, {"big": setting.teacher}, 'kd(teacher="big")', example=setting.inputs[:2]
    )
    plain = Distiller(setting.student, setting.teacher, "kd", example=setting.inputs[:2])
    assert named.eval()(setting.inputs).total.item() == plain.eval()(setting.inputs).total.item()


def test_what_was_not_found_is_said_of_student_or_teacher() -> None:
    deep = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    flat = nn.Sequential(nn.Linear(5, 3))
    example = torch.ones(2, 5)
    with pytest.raises(LimbeckError, match=r"^found no stages in the student Sequential; name the modules"):
        Distiller(flat, deep, "ce + fitnet", example=example)
    with pytest.raises(LimbeckError, match=r"^found no stages in the teacher Sequential; name the modules"):
        Distiller(deep, flat, "ce + fitnet", example=example)
