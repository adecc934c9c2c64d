from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from method_setting import SMALLER, make_setting
from torch import Tensor, nn

from limbeck import Batch, Distiller, Outputs
from limbeck.errors import LimbeckError
from limbeck.losses import rrd
from limbeck.methods import RRD
from limbeck.objective import parse
from limbeck.optimization import SGD
from two_processes import run_in_two_processes

# The equation


def vectors(seed: int, count: int, dim: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64)


def keys_of(count: int = 6) -> Tensor:
    return F.normalize(vectors(9, count), dim=1)


def naive(
    student: list[float], teacher: list[float], keys: list[list[float]], t_s: float, t_t: float
) -> float:
    """The authors' code for one sample, one number after the other."""

    def softmax(vector: list[float], temperature: float) -> list[float]:
        length = math.hypot(*vector)
        scores = [math.fsum(x * y for x, y in zip(vector, key, strict=True)) / length for key in keys]
        top = max(scores)
        raised = [math.exp((score - top) / temperature) for score in scores]
        return [value / math.fsum(raised) for value in raised]

    p, q = softmax(teacher, t_t), softmax(student, t_s)
    return -math.fsum(a * math.log(b) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize(("t_s", "t_t"), [(0.1, 0.02), (0.04, 0.1), (1.0, 1.0)])
def test_it_is_the_paper_s_equation(t_s: float, t_t: float) -> None:
    student, teacher, keys = vectors(0, 3), vectors(1, 3), keys_of()
    found = rrd(student, teacher, keys, t_s, t_t, reduction="none")
    expected = [
        naive(u, v, keys.tolist(), t_s, t_t) for u, v in zip(student.tolist(), teacher.tolist(), strict=True)
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-12)
    assert rrd(student, teacher, keys, t_s, t_t).item() == pytest.approx(sum(expected) / 3, rel=1e-12)


def test_the_defaults_are_the_code_s_temperatures() -> None:
    given = vectors(0, 3), vectors(1, 3), keys_of()
    assert rrd(*given).item() == rrd(*given, student_temperature=0.1, teacher_temperature=0.02).item()


def test_keys_that_do_not_count_are_as_if_they_were_not_there() -> None:
    student, teacher, keys = vectors(0, 3), vectors(1, 3), keys_of()
    valid = torch.tensor([True, False, True, True, False, False])
    found, expected = rrd(student, teacher, keys, valid=valid), rrd(student, teacher, keys[valid])
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    assert rrd(student, teacher, keys, valid=torch.arange(6) < 1).item() == 0


def test_its_gradient_is_that_of_its_value_and_the_teacher_gets_none() -> None:
    student, teacher, keys = vectors(0, 3).requires_grad_(), vectors(1, 3).requires_grad_(), keys_of()
    for valid in (None, torch.arange(6) < 4):
        assert torch.autograd.gradcheck(
            lambda given, valid=valid: rrd(given, teacher, keys, 0.3, 0.2, valid), student
        )
    rrd(student, teacher, keys).backward()  # type: ignore[no-untyped-call]
    assert teacher.grad is None


def test_extreme_temperatures_and_vectors_are_finite() -> None:
    student = torch.tensor([[1e4, 0, 0, 0], [0, 0, 0, 0], [-1e-4, 0, 0, 0]]).bfloat16().requires_grad_()
    teacher, keys = torch.eye(4)[:3].bfloat16(), torch.cat([torch.eye(4), -torch.eye(4)]).bfloat16()
    found = rrd(student, teacher, keys, 1e-4, 1e-4, valid=torch.arange(8) < 5)
    found.backward()  # type: ignore[no-untyped-call]
    assert found.dtype == torch.float32
    assert found.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()


# The method


def bound(text: str = SMALLER["rrd"]) -> tuple[Distiller, RRD]:
    distiller = make_setting(norm=False, dtype=torch.float64).distiller(text)
    method = next(method for method in distiller.objective.wrapped if isinstance(method, RRD))
    return distiller, method


def batch_of(start: int, stop: int) -> Batch:
    setting = make_setting(norm=False, dtype=torch.float64)
    return Batch(setting.inputs[start:stop], setting.targets[start:stop])


def test_steps_of_training_are_the_equations() -> None:
    distiller, method = bound("rrd(size=9, dim=3, student_temperature=0.3, teacher_temperature=0.2)")
    setting = make_setting(norm=False, dtype=torch.float64)
    came: list[list[float]] = []
    for start, stop in ((0, 4), (4, 9), (9, 15), (3, 12)):
        batch = batch_of(start, stop)
        student, teacher = (
            project(network.stage2(network.stage1(batch.inputs)).mean((2, 3)))
            for network, project in (
                (setting.student, method.project_student),
                (setting.teacher, method.project_teacher),
            )
        )
        came = (came + F.normalize(teacher, dim=1).tolist())[-9:]
        expected = [
            naive(u, v, came, 0.3, 0.2) for u, v in zip(student.tolist(), teacher.tolist(), strict=True)
        ]
        assert distiller(batch)["rrd"].item() == pytest.approx(sum(expected) / len(expected), rel=1e-9)


def test_the_teacher_s_projector_is_never_trained() -> None:
    distiller, method = bound()
    before = method.project_teacher.weight.clone()
    optimizer = distiller.optimizer(SGD(lr=0.1))
    distiller(batch_of(0, 8)).backward()
    optimizer.step()
    assert torch.equal(before, method.project_teacher.weight)
    assert "rrd" in str(distiller.objective)
    assert method.project_student.weight.grad is not None
    assert any("project_teacher" in name for name in distiller.state_dict())
    assert isinstance(method.project_teacher, nn.Linear)


def test_evaluation_leaves_the_queue_alone() -> None:
    distiller, _ = bound()
    empty = {name: tensor.clone() for name, tensor in distiller.state_dict().items()}
    assert distiller.eval()(batch_of(0, 1))["rrd"].item() == 0, "one key is all there is"
    distiller(batch_of(0, 8))
    assert all(torch.equal(empty[name], tensor) for name, tensor in distiller.state_dict().items())


def test_nothing_is_read_back_from_an_accelerator() -> None:
    _, method = bound()
    method.to("meta")  # which has no values
    student, teacher = (Outputs(embedding=torch.empty(8, width, device="meta")) for width in (6, 8))
    method(student, teacher, Batch(student.embedding)).backward()


def test_two_forwards_may_share_a_backward() -> None:
    distiller, _ = bound()
    (distiller(batch_of(0, 8)).total + distiller(batch_of(4, 12)).total).backward()


def test_the_batch_must_fit_into_the_queue() -> None:
    distiller, _ = bound("rrd(size=7)")
    with pytest.raises(LimbeckError, match=r"a batch of 8 does not fit into a queue of 7.*rrd\(size=8\)"):
        distiller(batch_of(0, 8))


def queue_after(rank: int, world: int) -> dict[str, Any]:
    """In one of two processes: two forwards with uneven shares of the batch."""
    torch.manual_seed(0)
    distiller, _ = bound("rrd(size=13, dim=3)")
    totals = []
    for start, cut in ((0, 3), (6, 7)):
        share = (start, start + cut) if rank == 0 else (start + cut, start + 10)
        totals.append(distiller(batch_of(*share)).total.item() * (share[1] - share[0]))
    return {"state": distiller.state_dict(), "totals": totals}


def test_all_processes_hold_the_queue_of_one_with_the_whole_batch() -> None:
    paths = [Path(__file__).parent, *map(Path, sys.path)]
    (ranks,) = run_in_two_processes([(queue_after, ())], paths=paths)
    distiller, _ = bound("rrd(size=13, dim=3)")
    totals = [distiller(batch_of(start, start + 10)).total.item() for start in (0, 6)]
    both = [sum(parts) / 10 for parts in zip(*(rank["totals"] for rank in ranks), strict=True)]
    assert both == pytest.approx(totals, rel=1e-10)
    for name, tensor in distiller.state_dict().items():
        assert torch.equal(ranks[0]["state"][name], ranks[1]["state"][name])
        torch.testing.assert_close(ranks[0]["state"][name], tensor, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rrd(student_temperature=0)", "student_temperature=0 should be greater than 0"),
        ("rrd(teacher_temperature=-1)", "teacher_temperature=-1 should be greater than 0"),
        ("rrd(size=0)", "size=0 should be greater"),
        ("rrd(dim=0)", "dim=0 should be greater"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        parse(text)
