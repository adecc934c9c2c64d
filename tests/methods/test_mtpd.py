"""One teacher after the other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import limbeck
from detectors import TASK, boxed_batch, detector
from limbeck import Distiller, LimbeckError
from limbeck.data import from_tensors
from limbeck.methods import MTPD
from limbeck.methods.mtpd import adaptation_cost, chain
from limbeck.objective import parse

BOTH = 'mtpd(fcos + kd + 2*giou + masked_generative, teachers=["near", "strong"], epochs=2)'


def made(objective: str = BOTH) -> Distiller:
    torch.manual_seed(0)
    teachers = {"near": detector(4, seed=1), "strong": detector(6, seed=2)}
    return Distiller(detector(), teachers, objective, example=boxed_batch().inputs, task=TASK)


def test_each_teacher_but_the_last_is_a_phase() -> None:
    distiller = made()
    ((name, phase),) = distiller.phases
    assert name == "mtpd.near"
    assert phase.epochs == 2
    assert phase.reads.teachers == ("near",)
    assert str(distiller.objective) == BOTH
    optimizer = phase.optimizer([nn.Parameter(torch.zeros(1))])
    assert optimizer.defaults["lr"] == 0.01
    assert optimizer.defaults["momentum"] == 0.9


def test_training_is_the_objective_with_the_last_teacher() -> None:
    distiller, batch = made(), boxed_batch()
    distiller.phase_finished()
    losses = distiller(batch)
    inside = ("fcos.class", "fcos.box", "fcos.center", "kd", "giou", "masked_generative")
    assert set(losses) == {f"mtpd.{name}" for name in inside}
    assert losses.terms["mtpd.giou"].weight == 2
    alone = Distiller(detector(), detector(6, seed=2), "fcos + kd + 2*giou", example=batch.inputs, task=TASK)(
        batch
    )
    for name in alone:
        torch.testing.assert_close(losses[f"mtpd.{name}"], alone[name])


def test_a_phase_is_the_objective_with_its_teacher() -> None:
    distiller, batch = made(), boxed_batch()
    ((name, phase),) = distiller.phases
    alone = Distiller(detector(), detector(4, seed=1), "fcos + kd + 2*giou", example=batch.inputs, task=TASK)(
        batch
    )
    with distiller.phase_open(name, phase) as (module, optimizer):
        module.train()
        losses = module(batch)
        learned = {id(each) for group in optimizer.param_groups for each in group["params"]}
    for term in alone:
        torch.testing.assert_close(losses[f"{name}.{term}"], alone[term])
    assert {id(each) for each in distiller.student.parameters()} <= learned
    (mtpd,) = (each for each in distiller.objective.modules() if isinstance(each, MTPD))
    assert {id(each) for each in mtpd.earlier.parameters()} <= learned
    assert not {id(each) for each in mtpd.last.parameters()} & learned


def test_what_a_phase_has_learned_is_in_no_later_optimizer() -> None:
    distiller = made()
    (mtpd,) = (each for each in distiller.objective.modules() if isinstance(each, MTPD))
    distiller.phase_finished()
    assert not any(each.requires_grad for each in mtpd.earlier.parameters())
    optimizer = distiller.optimizer(lambda parameters: torch.optim.SGD(parameters, lr=0.1))
    learned = {id(each) for group in optimizer.param_groups for each in group["params"]}
    assert {id(each) for each in mtpd.last.parameters()} <= learned
    assert {id(each) for each in distiller.student.parameters()} <= learned


def test_what_cannot_begin_anew_is_refused() -> None:
    for objective, reason in {
        'mtpd(fcos + ft, teachers=["a", "b"])': "ft has a training, an optimizer or a batch of its own",
        'mtpd(fcos, teachers=["a", "b"])': "mtpd goes from teacher to teacher, and fcos learns from none",
        'mtpd(kd(teacher="a"), teachers=["a", "b"])': "leave out the one of kd inside it",
        'mtpd(kd, teachers=["a"])': "mtpd learns from several teachers",
        'mtpd(kd, teachers=["a", "a"])': "names 'a' more than once",
    }.items():
        with pytest.raises(LimbeckError, match=reason):
            parse(objective)


def test_the_cost_is_what_a_linear_map_leaves() -> None:
    draw = torch.Generator().manual_seed(0)
    maps = torch.randn(6, 4, 5, 5, generator=draw)
    weights = torch.randn(3, 4, generator=draw)
    told = torch.einsum("oc,bchw->bohw", weights, maps) + 2
    assert adaptation_cost([maps], [told]) < 1e-3
    assert adaptation_cost([maps], [torch.randn(6, 3, 5, 5, generator=draw)]) > 0.8
    noisy = told + 0.5 * told.std() * torch.randn(told.shape, generator=draw)
    assert 0.05 < adaptation_cost([maps], [noisy]) < 0.5
    with pytest.raises(LimbeckError, match="compares as many stages, not 1 and 2"):
        adaptation_cost([maps], [told, told])
    with pytest.raises(LimbeckError, match="of the same images, 2 or more"):
        adaptation_cost([maps[:1]], [told[:1]])


def test_the_order_is_found_backwards() -> None:
    costs = {
        ("a", "c"): 0.9,
        ("b", "c"): 0.2,
        ("a", "b"): 0.3,
        ("b", "a"): 0.1,
    }
    assert chain(costs, ["b", "a", "c"]) == ["a", "b", "c"]
    assert chain({**costs, ("a", "c"): 0.1}, ["b", "a", "c"]) == ["b", "a", "c"]


class Twice(nn.Module):
    """A detector that sees its images brighter, so that its features are those of the other."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        answers: dict[str, Tensor] = self.inside(1.1 * images)
        return answers

    def feature_points(self) -> dict[str, str | list[str]]:
        return {"stages": ["inside.pyramid.smooth.0", "inside.pyramid.smooth.1"]}


def test_the_nearest_teacher_comes_last_but_one() -> None:
    strong = detector(6, seed=2)
    teachers = {"alike": Twice(detector(6, seed=2)), "other": detector(6, seed=9), "strong": strong}
    objective = 'mtpd(fcos + masked_generative, teachers=["alike", "other", "strong"], order="cost")'
    distiller = Distiller(detector(), teachers, objective, example=boxed_batch().inputs, task=TASK)
    assert [name for name, _ in distiller.phases] == ["mtpd.other", "mtpd.alike"]


def test_a_run_goes_from_teacher_to_teacher(tmp_path: Path) -> None:
    pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")
    batch = boxed_batch()
    assert isinstance(batch.inputs, Tensor)
    assert batch.targets is not None
    source = from_tensors(
        batch.inputs[:3],
        batch.targets[:3],
        task="detection",
        names=TASK.names,
        validation=None,
    )
    run = limbeck.distill(
        student=detector(),
        teacher={"near": detector(4, seed=1), "strong": detector(6, seed=2)},
        objective=BOTH,
        data=source,
        out=tmp_path / "run",
        epochs=1,
        batch_size=3,
        settings={"training.trackers": [], "training.precision": "fp32"},
        display=False,
    )
    assert run.finished
