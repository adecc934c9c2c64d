from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck import Distiller, LimbeckError
from limbeck.losses import rdd
from limbeck.methods import RDD
from limbeck.methods.rdd import hard, probabilities, relative_difficulty
from limbeck.tasks import Segmentation
from segmenters import Strided, TwoHeads, batch_of

TASK = Segmentation(("a", "b", "c"))


def logits_of(right: list[float]) -> Tensor:
    """Rows (P, 2) whose probability of class 0 is the one given."""
    return torch.tensor([[math.log(p), math.log(1 - p)] for p in right], dtype=torch.float64)


STUDENT, TEACHER = logits_of([0.9, 0.6, 0.5, 0.8, 0.3]), logits_of([0.6, 0.65, 0.9, 0.95, 0.99])
TARGETS = torch.tensor([0, 0, 0, 0, -100])


def test_hard_pixels_are_those_of_little_probability_and_the_hardest_share() -> None:
    right, known = probabilities(STUDENT, TARGETS), TARGETS != -100
    assert hard(right, known, 0.7, 0.0).tolist() == [False, True, True, False, False]
    assert hard(right, known, 0.55, 0.0).tolist() == [False, False, True, False, False]
    assert hard(right, known, 0.55, 0.6).tolist() == [False, True, True, True, False]


@pytest.mark.parametrize(
    ("combine", "counting"), [("xor", [0, 2]), ("or", [0, 1, 2]), ("and", [1]), ("student", [1, 2])]
)
def test_the_second_stage_by_hand(combine: Any, counting: list[int]) -> None:
    # The student finds 1 and 2 hard, the teacher 0 and 1.
    losses = [-math.log(p) for p in (0.9, 0.6, 0.5, 0.8)]
    expected = sum(losses[at] for at in counting) / len(counting)
    assert rdd(STUDENT, TEACHER, TARGETS, combine).item() == pytest.approx(expected)


def test_no_hard_pixel_counts_zero() -> None:
    sure = logits_of([0.99, 0.9]).requires_grad_()
    loss = rdd(sure, sure.detach(), torch.tensor([0, 0]), hardest=0.0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert sure.grad is not None
    assert not sure.grad.any()
    assert rdd(sure, sure.detach(), torch.tensor([-100, -100])).item() == 0
    with pytest.raises(LimbeckError, match="rdd combines by xor, or, and, student, not 'nor'"):
        rdd(sure, sure, torch.tensor([0, 0]), "nor")  # type: ignore[arg-type]


def test_the_weights_of_the_first_stage() -> None:
    main, auxiliary = (logits_of([p]).view(1, 2, 1, 1) for p in (0.9, 0.6))
    expected = math.exp(-(0.6 * math.log(0.6 / 0.9) + 0.4 * math.log(0.4 / 0.1)))
    assert relative_difficulty(main, auxiliary).item() == pytest.approx(expected)
    assert relative_difficulty(main, main).item() == pytest.approx(1)


def losses_at(fraction: float, **arguments: Any) -> tuple[Any, TwoHeads, TwoHeads]:
    student, teacher = TwoHeads(4, 0), TwoHeads(6, 1)
    batch = batch_of()
    objective = RDD(**arguments)
    made = Distiller(student, copy.deepcopy(teacher), objective, example=batch.inputs, task=TASK)
    made.progress(0, 0, fraction)
    return made(batch), student, teacher


def larger(maps: Tensor) -> Tensor:
    return F.interpolate(maps, (8, 8), mode="bilinear")


def rows(maps: Tensor, valid: Tensor) -> Tensor:
    return larger(maps).movedim(1, -1)[valid]


def test_the_first_stage_in_training() -> None:
    losses, student, teacher = losses_at(0.05)
    batch = batch_of()
    assert batch.targets is not None
    ours, theirs, valid = student(batch.inputs), teacher(batch.inputs), batch.targets != 255
    weights = larger(relative_difficulty(theirs["out"], theirs["aux"])[:, None])[:, 0]
    for name, head in (("main", "out"), ("aux", "aux")):
        cross = F.cross_entropy(larger(ours[head]), batch.targets, ignore_index=255, reduction="none")
        assert losses[f"rdd.{name}"].item() == pytest.approx((weights * cross)[valid].mean().item())
    assert losses.total.item() == pytest.approx((losses["rdd.main"] + 0.4 * losses["rdd.aux"]).item())
    assert losses.task.item() == losses.total.item()


def test_the_second_stage_and_the_smooth_switch() -> None:
    first, student, teacher = losses_at(0.05)
    second, _, _ = losses_at(0.1, combine="or")
    batch = batch_of()
    assert batch.targets is not None
    valid = batch.targets != 255
    ours, theirs = (rows(network(batch.inputs)["out"], valid) for network in (student, teacher))
    expected = rdd(ours, theirs, batch.targets[valid], "or")
    assert second["rdd.main"].item() == pytest.approx(expected.item())
    half, _, _ = losses_at(0.55, combine="or", smooth=True)
    between = (first["rdd.main"] + second["rdd.main"]) / 2
    assert half["rdd.main"].item() == pytest.approx(between.item())
    assert RDD(smooth=True).share_of_first_stage(1.0) == 0
    assert RDD(switch=1.0, smooth=True).share_of_first_stage(0.99) == 1


def test_without_auxiliary_heads_it_is_refused() -> None:
    with pytest.raises(LimbeckError, match="aux"):
        Distiller(Strided(4, 2), Strided(6, 2, 1), "rdd", example=torch.rand(2, 2, 8, 8), task=TASK)
