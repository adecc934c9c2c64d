from __future__ import annotations

import math
from itertools import pairwise

import pytest
import reference_values
import torch
from method_setting import make_setting
from reference_values import has_reference
from token_networks import WordNet
from torch import Tensor

from limbeck import Distiller
from limbeck.errors import LimbeckError
from limbeck.losses import kdsvd
from limbeck.models import CNN, MLP
from limbeck.objective import parse

Stages = list[Tensor]
Shapes = list[tuple[int, ...]]

WIDE: Shapes = [(2, 3, 5), (4, 4, 2), (3, 2, 3)]
"""Fewer channels than positions."""

DEEP: Shapes = [(6, 1, 4), (7, 2, 2)]
"""More of them."""


def stages(shapes: Shapes, samples: int = 3, seed: int = 8) -> tuple[Stages, Stages]:
    generator = torch.Generator().manual_seed(seed)

    def some() -> Stages:
        return [torch.randn(samples, *shape, generator=generator, dtype=torch.float64) for shape in shapes]

    return some(), some()


def naive(student: Stages, teacher: Stages, k: int = 1) -> list[float]:
    """Each sample's loss by torch's decomposition and loops; maps only."""

    def vectors(stage: Tensor) -> tuple[list[list[float]], list[float]]:
        _, values, rows = torch.linalg.svd(stage.flatten(1).T, full_matrices=False)
        return rows.tolist(), values.tolist()

    def compressed(ours: Tensor, theirs: Tensor) -> tuple[list[list[float]], list[list[float]]]:
        mine, values = vectors(theirs)
        candidates, _ = vectors(ours)
        length = math.hypot(*values[:k])
        pairs = []
        for vector, value in zip(mine[:k], values[:k], strict=True):
            signed = [math.copysign(1, sum(vector)) * x for x in vector]
            cosines = [
                sum(a * b for a, b in zip(signed, candidate, strict=True))
                for candidate in candidates[: k + 3]
            ]
            best = max(range(len(cosines)), key=lambda place: abs(cosines[place]))
            nearest = [math.copysign(1, cosines[best]) * x for x in candidates[best]]
            pairs.append(([value / length * x for x in nearest], [value / length * x for x in signed]))
        return [ours for ours, _ in pairs], [theirs for _, theirs in pairs]

    found = []
    for place in range(len(student[0])):
        sides = [compressed(s[place], t[place]) for s, t in zip(student, teacher, strict=True)]
        total = 0.0
        for (s, t), (next_s, next_t) in pairwise(sides):
            for vector in range(k):
                for p in range(len(s[0])):
                    for q in range(len(next_s[0])):
                        ours = math.exp(-((s[vector][p] - next_s[vector][q]) ** 2) / 8)
                        theirs = math.exp(-((t[vector][p] - next_t[vector][q]) ** 2) / 8)
                        total += (ours - theirs) ** 2
        found.append(total)
    return found


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("shapes", [WIDE, DEEP])
def test_it_is_the_equation(shapes: Shapes, k: int) -> None:
    student, teacher = stages(shapes)
    expected = naive(student, teacher, k)
    assert kdsvd(student, teacher, k, "none").tolist() == pytest.approx(expected, rel=1e-9)
    assert kdsvd(student, teacher, k).item() == pytest.approx(sum(expected) / 3, rel=1e-9)
    assert kdsvd(teacher, teacher, k).item() == pytest.approx(0, abs=1e-12)


@has_reference
def test_on_the_published_inputs_it_is_the_equation_and_nearly_the_published_value() -> None:
    inputs = reference_values.inputs()
    student, teacher = (
        [inputs[f"{role}_stage{place}"] for place in range(3)] for role in ("student", "teacher")
    )
    found = kdsvd(student, teacher).item()
    expected = naive([s.double() for s in student], [t.double() for t in teacher])
    assert found == pytest.approx(sum(expected) / len(expected), rel=1e-4)
    assert found == pytest.approx(0.45502859354019165, rel=0.01)  # whose signs are those of a routine


def test_signs_are_settled_by_the_teacher_and_sizes_may_differ() -> None:
    student, teacher = stages(WIDE)
    expected = kdsvd(student, teacher).item()
    flipped = [stage.flip(3) for stage in student], [2 * stage.transpose(2, 3) for stage in teacher]
    assert kdsvd(*flipped).item() == pytest.approx(expected, rel=1e-9)
    assert kdsvd([-student[0], *student[1:]], teacher).item() == pytest.approx(expected, rel=1e-9)
    assert kdsvd(student, [teacher[0], -teacher[1], teacher[2]]).item() == pytest.approx(expected, rel=1e-9)
    pooled = [torch.nn.functional.avg_pool2d(stage, (1, 2)) for stage in teacher]
    assert kdsvd(student, pooled).item() == pytest.approx(sum(naive(student, pooled)) / 3, rel=1e-9)


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("shapes", [WIDE, DEEP])
def test_gradients_are_those_of_the_value(shapes: Shapes, k: int) -> None:
    student, teacher = stages(shapes)
    learning = [stage.requires_grad_() for stage in student]
    assert torch.autograd.gradcheck(lambda *student: kdsvd(student, teacher, k), learning)


def test_full_precision() -> None:
    student, teacher = stages(WIDE)
    short = kdsvd([s.bfloat16() for s in student], [t.bfloat16() for t in teacher])
    assert short.dtype == torch.float32
    assert short.item() == pytest.approx(kdsvd(student, teacher).item(), rel=0.1)


@pytest.mark.parametrize("kind", ["coincide", "nearly", "zero", "one direction"])
def test_gradients_are_moderate_where_singular_values_are_alike(kind: str) -> None:
    shapes: Shapes = [(4, 2, 3), (3, 2, 2)]
    student, teacher = stages(shapes)
    alike = torch.eye(4, 6).reshape(1, 4, 2, 3).repeat(3, 1, 1, 1)
    if kind == "nearly":
        alike += 1e-7 * torch.randn(3, 4, 2, 3, generator=torch.Generator().manual_seed(0))
    if kind == "zero":
        alike.zero_()
    if kind == "one direction":
        alike.fill_(1)
    alike.requires_grad_()
    value = kdsvd([alike, student[1].float()], [teacher[0].float(), teacher[1].float()])
    value.backward()  # type: ignore[no-untyped-call]
    assert value.isfinite()
    assert alike.grad is not None
    assert alike.grad.isfinite().all()
    assert alike.grad.abs().max() < 1e4


def test_what_is_not_finite_is_not_hidden() -> None:
    student, teacher = stages(WIDE)
    student[1][2, 0, 0, 0] = math.nan
    found = kdsvd(student, teacher, reduction="none")
    assert found.isnan().tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("student", "teacher", "k"),
    [
        ([(2, 3, 4, 4)], [(2, 3, 4, 4)], 1),
        ([(2, 3, 4, 4)] * 2, [(2, 3, 4, 4)] * 3, 1),
        ([(2, 3, 4, 4)] * 2, [(2, 3, 4, 4), (2, 5, 4, 4)], 1),
        ([(2, 3, 4, 4)] * 2, [(2, 3, 4, 4), (2, 4, 3)], 1),
        ([(2, 3, 4, 4)] * 2, [(2, 3, 4, 4), (2, 3, 1, 2)], 3),
        ([(2, 3)] * 2, [(2, 3)] * 2, 1),
    ],
)
def test_what_cannot_be_compared_is_refused(student: Shapes, teacher: Shapes, k: int) -> None:
    with pytest.raises(
        LimbeckError, match="kdsvd compares at least two stages of the student, compressed to"
    ):
        kdsvd([torch.ones(shape) for shape in student], [torch.ones(shape) for shape in teacher], k)


def test_all_stages_in_order_or_the_pairs_that_are_named() -> None:
    setting = make_setting("kdsvd")
    taken = []
    for network in (setting.student, setting.teacher):
        first = network.eval().stage1(setting.inputs)
        taken.append([first, network.stage2(first)])
    for text, student, teacher, k in (
        ("kdsvd", taken[0], taken[1], 1),
        ("kdsvd(k=2)", taken[0], taken[1], 2),
        ("kdsvd(pairs=[[1, 1], [0, 0]])", taken[0][::-1], taken[1][::-1], 1),
    ):
        found = setting.distiller(text).eval()(setting.inputs, setting.targets)["kdsvd"].item()
        assert found == pytest.approx(kdsvd(student, teacher, k).item(), rel=1e-4)


def test_stages_that_do_not_fit_are_named() -> None:
    setting = make_setting()
    with pytest.raises(
        LimbeckError,
        match=r"not stage 0 of the student \(3, 6, 6\) and stage 0 of the teacher \(4, 6, 6\); name others",
    ):
        setting.distiller("kdsvd")
    setting = make_setting("kdsvd")
    with pytest.raises(LimbeckError, match=r"at least k=9 singular vectors, but not stage 0"):
        setting.distiller("kdsvd(k=9)")
    with pytest.raises(LimbeckError, match="needs at least 2 pairs of them, not 1; sp compares one"):
        setting.distiller("kdsvd(pairs=[[0, 0]])")
    student, teacher = (CNN(widths, in_channels=1, size=8, num_classes=3) for widths in ([2, 4], [2, 4, 6]))
    with pytest.raises(LimbeckError, match=r"student has 2 and the teacher 3; .* kdsvd\(pairs=\[\[0, 0\]"):
        Distiller(student, teacher, "kdsvd", example=torch.rand(2, 1, 8, 8))
    flat, other = (MLP([5, 6], in_features=4, num_classes=3) for _ in range(2))
    with pytest.raises(LimbeckError, match=r"stage 0 of the student \(5,\)"):
        Distiller(flat, other, "kdsvd", example=torch.rand(2, 4))


def test_in_a_token_model_padding_does_not_count() -> None:
    torch.manual_seed(0)
    distiller = Distiller(WordNet(4), WordNet(4), "kdsvd", example=WordNet.batch()).eval()
    one, other = distiller(WordNet.batch()).total.item(), distiller(WordNet.batch(padding=5)).total.item()
    assert one > 0
    assert one == pytest.approx(other, rel=1e-4)


def test_no_vectors_make_no_sense() -> None:
    with pytest.raises(LimbeckError, match="kdsvd: the argument k=0"):
        parse("kdsvd(k=0)")
