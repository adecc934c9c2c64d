"""Methods that are over when training begins, tried with one that has no parts of its own."""

from __future__ import annotations

import pytest
import torch
from method_setting import Setting, make_setting
from torch import Tensor, nn

import limbeck
from limbeck import Batch, Distiller
from limbeck.errors import LimbeckError
from limbeck.methods.parts.initializing import Initializing
from limbeck.optimization import SGD


@pytest.fixture
def setting() -> Setting:
    return make_setting("fsp")


def prepare(distiller: Distiller, setting: Setting) -> None:
    limbeck.prepare(distiller, [Batch(setting.inputs, setting.targets)], display=False, device="cpu")


def test_the_phase_is_the_benchmarks(setting: Setting) -> None:
    ((name, phase),) = setting.distiller("ce + fsp").phases
    assert name == "fsp.initialize"
    assert (phase.epochs, phase.optimizer, phase.schedule) == (30, SGD(lr=0.05), None)
    assert SGD(lr=0.05) == SGD(lr=0.05, momentum=0.9, weight_decay=5e-4)
    assert (phase.seed, phase.cache, phase.freezes) == (None, None, False)
    ((_, phase),) = setting.distiller("ce + fsp(epochs=2, lr=0.2)").phases
    assert (phase.epochs, phase.optimizer) == (2, SGD(lr=0.2))


def test_it_trains_the_student_and_leaves_all_of_it_to_be_trained(setting: Setting) -> None:
    distiller = setting.distiller("ce + fsp(epochs=3)")
    before = {name: value.clone() for name, value in distiller.student.state_dict().items()}
    prepare(distiller, setting)
    moved = {
        name for name, value in distiller.student.state_dict().items() if not torch.equal(before[name], value)
    }
    assert {"stage1.0.weight", "stage2.0.weight", "stage2.1.running_mean"} <= moved
    assert not [name for name in moved if name.startswith("classifier")], "which the loss does not reach"
    assert all(parameter.requires_grad for parameter in distiller.student.parameters())
    (group,) = distiller.optimizer(SGD()).param_groups
    assert len(group["params"]) == len(list(distiller.student.parameters()))


class Counting(nn.Module):
    """A network that counts its calls."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.calls = network, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        logits: Tensor = self.network(x)
        return logits


def test_training_has_no_term_of_it_and_asks_the_teacher_nothing(setting: Setting) -> None:
    teacher = Counting(setting.teacher)
    distiller = Distiller(
        setting.student,
        teacher,
        "ce + fsp(epochs=3)",
        example=setting.inputs[:2],
        teacher_features={"stem": "network.stage1.0", "stages": ["network.stage1", "network.stage2"]},
    )
    before = teacher.calls
    prepare(distiller, setting)
    assert teacher.calls == before + 3
    losses = distiller(setting.inputs, setting.targets)
    assert list(losses) == ["ce"]
    assert teacher.calls == before + 3


def test_beside_a_method_that_reads_the_teacher_it_is_asked(setting: Setting) -> None:
    distiller = setting.distiller("mgd(ce + kd + fsp(epochs=1), epochs=1)")
    assert [name for name, _ in distiller.phases] == ["fsp.initialize", "mgd.low", "mgd.high"]
    prepare(distiller, setting)
    losses = distiller(setting.inputs, setting.targets)
    assert list(losses) == ["mgd.ce", "mgd.kd", "mgd.low", "mgd.high"]


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("fsp", r"fsp is over when training begins, so the objective 'fsp' leaves .* add .* ce \+ fsp$"),
        ("fsp + fsp(lr=0.1)", r"leaves nothing to minimize"),
        ("ce + 50*fsp", r"fsp is over .* so the weight 50 would do nothing; write fsp without one"),
        ("0.5*mgd(ce + 0*fsp)", r"the weight 0 would do nothing"),
        ("ce + fsp(epochs=0)", r"fsp: the argument epochs=0"),
        ("ce + fsp(lr=0)", r"fsp: the argument lr=0"),
    ],
)
def test_what_makes_no_sense_is_refused(setting: Setting, objective: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        setting.distiller(objective)


def test_it_needs_a_teacher(setting: Setting) -> None:
    with pytest.raises(LimbeckError, match="fsp learns from a teacher, and none was given"):
        Distiller(setting.student, None, "ce + fsp", example=setting.inputs[:2])


def test_a_subclass_must_say_what_it_minimizes() -> None:
    with pytest.raises(NotImplementedError, match="Initializing has no initialize"):
        Initializing().initialize(None, None, None)  # type: ignore[arg-type]
