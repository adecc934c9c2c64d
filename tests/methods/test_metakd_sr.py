"""MetaKD-SR: the filtered difference, and the gradient of its KRNets against differences of the exam."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck import Distiller, LimbeckError
from limbeck.losses import metakd_sr
from limbeck.methods import MetaKDSR
from limbeck.outputs import Batch
from limbeck.tasks import Restoration
from restorers import Doubling, batch_of
from two_processes import run_in_two_processes

TASK = Restoration(("gray",))


def maps(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_is_the_difference_of_standardized_and_filtered_maps() -> None:
    student, teacher = maps(2, 3, 4, 5), maps(2, 3, 4, 5, seed=2)
    kernels = maps(2, 2, 9, 4, 5, seed=3).softmax(2)

    def filtered(each: Tensor) -> Tensor:
        even = (each - each.mean((2, 3), keepdim=True)) / (
            each.var((2, 3), keepdim=True, correction=0) + 1e-4
        ).sqrt()
        padded = F.pad(even, (1, 1, 1, 1))
        found = torch.zeros(2, 2, 3, 4, 5, dtype=torch.float64)
        for tap in range(9):
            shifted = padded[:, :, tap // 3 : tap // 3 + 4, tap % 3 : tap % 3 + 5]
            found += kernels[:, :, None, tap] * shifted[:, None]
        return found

    expected = (filtered(student) - filtered(teacher)).abs().mean()
    assert metakd_sr(student, teacher, kernels).item() == pytest.approx(expected.item(), rel=1e-9)
    assert metakd_sr(3 * teacher + 1, teacher, kernels).item() == pytest.approx(0, abs=1e-4)


def test_other_shapes_are_refused() -> None:
    kernels = torch.zeros(2, 1, 4, 4, 4)
    with pytest.raises(LimbeckError, match=r"kernels \(B, K, n \* n, H, W\), n odd"):
        metakd_sr(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), kernels)
    for wrong in ((1, 1, 9, 4, 4), (2, 1, 9, 4, 3), (2, 9, 4, 4)):
        with pytest.raises(LimbeckError, match="metakd_sr compares maps"):
            metakd_sr(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), torch.zeros(wrong))
    with pytest.raises(LimbeckError, match="the side of a kernel should be odd, not 2"):
        MetaKDSR(side=2)


def made(objective: str) -> tuple[Distiller, MetaKDSR]:
    student, teacher = Doubling(3).double(), Doubling(4, seed=1).double()
    torch.manual_seed(3)
    distiller = Distiller(student, teacher, objective, example=batch_of().inputs, task=TASK).double()
    method = next(each for each in distiller.objective.wrapped if isinstance(each, MetaKDSR))
    return distiller, method


def complete(samples: int = 4) -> Batch:
    """A batch of which all pixels count."""
    batch = batch_of(samples)
    assert batch.targets is not None
    return Batch(batch.inputs, batch.targets.clamp(min=0), index=batch.index)


def exam(method: MetaKDSR, student: Any, teacher: Any, batch: Batch, weights: dict[str, Tensor]) -> float:
    """The error after the virtual step, worked out plainly: half of the batch is the course."""
    assert isinstance(batch.inputs, Tensor)
    assert batch.targets is not None
    inputs, targets = batch.inputs, batch.targets
    course, held = [0, 2], [1, 3]
    for name, parameter in method.krnets.named_parameters():
        parameter.data.copy_(weights[name])
    own = [each.detach().clone().requires_grad_() for each in student.parameters()]
    names = [name for name, _ in student.named_parameters()]

    def error(values: list[Tensor], which: list[int]) -> Tensor:
        answer = torch.func.functional_call(student, dict(zip(names, values, strict=True)), (inputs[which],))
        return (answer - targets[which] / 255).abs().mean()  # type: ignore[no-any-return]

    state = dict(zip(names, own, strict=True))
    stage = F.conv2d(inputs[course], state["body.weight"], state["body.bias"], padding=1)
    align: Any = method.aligned[0]
    theirs = teacher.body(inputs[course]).detach()
    ours = F.conv2d(stage, align.weight.detach(), align.bias.detach())
    features = metakd_sr(ours, theirs, method.krnets[0](ours.detach(), theirs))
    loss = error(own, course) + method.strength * features
    slopes = torch.autograd.grad(loss, own)
    after = [each - method.step * slope for each, slope in zip(own, slopes, strict=True)]
    return float(error([each.detach() for each in after], held))


def test_the_krnets_descend_on_the_exam() -> None:
    distiller, method = made("mae + metakd_sr(strength=20, step=0.5, every=1)")
    teacher: Any = distiller.teacher
    batch = complete()
    distiller.progress(0, 0, 0.0)
    losses = distiller(batch)
    losses.backward()
    found = {
        name: each.grad.clone() for name, each in method.krnets.named_parameters() if each.grad is not None
    }
    weights = {name: each.detach().clone() for name, each in method.krnets.named_parameters()}
    assert found.keys() == weights.keys()
    before = exam(method, distiller.student, teacher.network, batch, weights)
    assert losses["metakd_sr.meta"].item() == pytest.approx(before, rel=1e-9)
    direction = {name: maps(*each.shape, seed=7) for name, each in weights.items()}
    tiny = 1e-5
    ahead, behind = (
        exam(
            method,
            distiller.student,
            teacher.network,
            batch,
            {name: each + side * tiny * direction[name] for name, each in weights.items()},
        )
        for side in (1, -1)
    )
    slope = sum(float((found[name] * direction[name]).sum()) for name in weights)
    assert slope == pytest.approx((ahead - behind) / (2 * tiny), rel=1e-3)
    assert slope != 0


def test_the_features_term_trains_student_and_convolutions_and_no_krnet() -> None:
    distiller, method = made("metakd_sr(every=10)")
    distiller.progress(3, 0, 0.0)
    losses = distiller(complete())
    assert losses["metakd_sr.meta"].item() == 0
    losses.backward()
    assert all(each.grad is None for each in method.krnets.parameters())
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in method.aligned.parameters())
    body: Any = distiller.student
    assert body.body.weight.grad.abs().sum() > 0


def test_it_is_for_restoration_and_for_maps() -> None:
    from limbeck.models import MLP

    with pytest.raises(LimbeckError, match=r"metakd_sr is for the task restoration"):
        Distiller(
            MLP([4], in_features=3, num_classes=2),
            MLP([4], in_features=3, num_classes=2),
            "metakd_sr",
            example=torch.rand(2, 3),
        )


def gradients_of(places: slice) -> dict[str, Tensor]:
    """The gradient of some samples; half of them are held out in the meta step."""
    distiller, _ = made("mae + metakd_sr(strength=20, step=0.5, every=1)")
    distiller.progress(0, 0, 0.0)
    whole = complete()
    assert isinstance(whole.inputs, Tensor)
    assert whole.targets is not None
    assert whole.index is not None
    distiller(Batch(whole.inputs[places], whole.targets[places], index=whole.index[places])).backward()
    return {name: each.grad for name, each in distiller.named_parameters() if each.grad is not None}


def gradients_of_half(rank: int, world: int) -> dict[str, Tensor]:
    """The mean over both processes of the gradients, each of half a batch."""
    found = gradients_of(slice(2 * rank, 2 * rank + 2))
    for each in found.values():
        torch.distributed.all_reduce(each)
    return {name: each / world for name, each in found.items()}


def test_two_processes_give_the_gradient_of_one() -> None:
    expected = gradients_of(slice(0, 4))
    ranks = run_in_two_processes(
        [(gradients_of_half, ())], paths=[Path(__file__).parent, *map(Path, sys.path)]
    )
    for found in ranks[0]:
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-12, msg=name)
