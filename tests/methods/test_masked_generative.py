"""Masked generative distillation on the pyramid."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from detectors import TASK, boxed_batch, detector
from limbeck import Distiller, LimbeckError
from limbeck.losses import masked_generative
from limbeck.methods import MaskedGenerative
from limbeck.outputs import Batch, Progress


def test_the_sum_over_channels_and_positions() -> None:
    student, teacher = torch.zeros(2, 3, 4, 5), torch.ones(2, 3, 4, 5)
    teacher[1] = 2
    assert masked_generative(student, teacher, "none").tolist() == [60, 240]
    assert masked_generative(student, teacher) == 150
    with pytest.raises(LimbeckError, match="compares maps of one shape, not"):
        masked_generative(student[:, :2], teacher)


def bound(
    objective: str = "fcos + masked_generative(mask=0.5, alpha=0.1)",
) -> tuple[Distiller, MaskedGenerative]:
    torch.manual_seed(0)
    distiller = Distiller(detector(), detector(6, seed=1), objective, example=boxed_batch().inputs, task=TASK)
    (method,) = (each for each in distiller.objective.wrapped if isinstance(each, MaskedGenerative))
    return distiller, method


def test_the_equation() -> None:
    distiller, method = bound()
    batch = boxed_batch(step=3)
    found = distiller(batch)["masked_generative"]
    with torch.no_grad():
        student, teacher = distiller.student, distiller.teacher
        assert teacher is not None
        assert isinstance(student, torch.nn.Module)
        stages: list[list[torch.Tensor]] = []
        for network in (student, teacher.network):
            seen: list[torch.Tensor] = []
            assert network is not None
            hooks = [
                part.register_forward_hook(lambda _, __, out, seen=seen: seen.append(out))
                for part in network.pyramid.smooth  # type: ignore[union-attr]
            ]
            network(batch.inputs)
            for hook in hooks:
                hook.remove()
            stages.append(seen)
        expected = torch.zeros(())
        for level, (ours, theirs) in enumerate(zip(*stages, strict=True)):
            maps = method.align[level](ours)
            kept = method._kept(maps, batch, level)
            expected += (method.generate[level](kept * maps) - theirs).square().sum() / 4
    torch.testing.assert_close(found, 0.1 * expected)


def test_the_mask_is_a_function_of_the_step_and_of_the_sample() -> None:
    _, method = bound()
    maps, batch = torch.ones(4, 6, 30, 40), boxed_batch()
    kept = method._kept(maps, batch, 0)
    assert kept.shape == (4, 1, 30, 40)
    assert set(kept.flatten().tolist()) == {0, 1}
    assert kept.mean().item() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(method._kept(maps[2:], batch.split(2)[1], 0), kept[2:])
    assert (kept[0] != kept[1]).float().mean() > 0.4
    assert (method._kept(maps, replace(batch, progress=Progress(1)), 0) != kept).float().mean() > 0.4
    assert (method._kept(maps, batch, 1) != kept).float().mean() > 0.4
    alone = Batch(batch.inputs, progress=Progress(0))
    assert torch.equal(method._kept(maps, alone, 0), kept)  # positions 0 to 3 are the indices here


def test_gradients_reach_the_student_and_the_networks() -> None:
    distiller, method = bound("0*fcos + masked_generative(alpha=0.1)")
    distiller(boxed_batch()).backward()
    student = distiller.student
    assert all(each.grad is not None and each.grad.abs().max() > 0 for each in method.generate.parameters())
    assert student.layer1[0].conv1.weight.grad.abs().max() > 0  # type: ignore[index, union-attr]


def test_what_is_no_map_is_refused() -> None:
    with pytest.raises(
        LimbeckError, match="pairs the stages in order, but the student has 2 and the teacher 1"
    ):
        Distiller(
            detector(),
            detector(levels=1),
            "fcos + masked_generative",
            example=boxed_batch().inputs,
            task=TASK,
        )
