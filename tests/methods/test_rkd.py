from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import reference_values
import torch
from method_setting import make_setting
from reference_values import has_reference
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from limbeck.errors import LimbeckError
from limbeck.losses import rkd_angle, rkd_distance
from limbeck.methods import rkd
from limbeck.objective import parse

both = pytest.mark.parametrize("loss", [rkd_distance, rkd_angle])
Loss = Callable[[Tensor, Tensor], Tensor]


def embeddings(student: tuple[int, ...], teacher: tuple[int, ...], samples: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(6)
    return (
        torch.randn(samples, *student, generator=generator, dtype=torch.float64),
        torch.randn(samples, *teacher, generator=generator, dtype=torch.float64),
    )


def huber(difference: float) -> float:
    return difference**2 / 2 if abs(difference) < 1 else abs(difference) - 0.5


def naive_distance(student: Tensor, teacher: Tensor) -> float:
    def distances(embedding: Tensor) -> list[float]:
        rows = [row.flatten().tolist() for row in embedding]
        found = [math.dist(a, b) for a in rows for b in rows]
        positive = [distance for distance in found if distance > 0]
        return [distance * len(positive) / sum(positive) for distance in found]

    pairs = zip(distances(student), distances(teacher), strict=True)
    return sum(huber(a - b) for a, b in pairs) / len(student) ** 2


def naive_angle(student: Tensor, teacher: Tensor) -> float:
    def cosine(embedding: Tensor, i: int, j: int, k: int) -> float:
        rows = [embedding[place].flatten().tolist() for place in (i, j, k)]
        u, v = ([b - a for a, b in zip(rows[0], row, strict=True)] for row in rows[1:])
        lengths = math.hypot(*u) * math.hypot(*v)
        return sum(a * b for a, b in zip(u, v, strict=True)) / lengths if lengths else 0.0

    count = range(len(student))
    triples = [(i, j, k) for i in count for j in count for k in count]
    return sum(huber(cosine(student, *t) - cosine(teacher, *t)) for t in triples) / len(triples)


@pytest.mark.parametrize(("student", "teacher"), [((4,), (7,)), ((2, 3, 5), (3,)), ((1,), (1,))])
def test_they_are_the_papers_equations(student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    pair = embeddings(student, teacher)
    assert rkd_distance(*pair).item() == pytest.approx(naive_distance(*pair), rel=1e-12)
    assert rkd_angle(*pair).item() == pytest.approx(naive_angle(*pair), rel=1e-12)


@has_reference
def test_they_give_the_published_values() -> None:
    inputs = reference_values.inputs()
    pair = inputs["student_embedding_wide"], inputs["teacher_embedding"]
    assert rkd_distance(*pair).item() == reference_values.value("rkd_distance")
    assert rkd_angle(*pair).item() == reference_values.value("rkd_angle")


@both
def test_gradients_full_precision_and_batches_that_say_nothing(loss: Loss) -> None:
    student, teacher = embeddings((4,), (3,))
    assert torch.autograd.gradcheck(loss, (student.requires_grad_(), teacher.requires_grad_()))
    short = loss(student.bfloat16(), teacher.bfloat16())
    assert short.dtype == torch.float32
    assert short.item() == pytest.approx(loss(student, teacher).item(), rel=0.05)
    for silent in (torch.zeros(5, 4), torch.ones(1, 4)):
        silent.requires_grad_()
        loss(silent, teacher.float()[: len(silent)]).backward()  # type: ignore[no-untyped-call]
        assert silent.grad is not None
        assert silent.grad.abs().max() == 0


@both
def test_samples_that_coincide_have_no_direction_to_learn(loss: Loss) -> None:
    student, teacher = embeddings((4,), (3,))
    student[3] = student[1]
    naive = naive_distance if loss is rkd_distance else naive_angle
    assert loss(student, teacher).item() == pytest.approx(naive(student, teacher), rel=1e-12)
    (gradient,) = torch.autograd.grad(loss(student.requires_grad_(), teacher), student)
    assert gradient.abs().max() < 1
    # Moved together the two stay together, so there the loss is smooth and the naive one tells its slope.
    for axis in range(4):
        step = torch.zeros(5, 4, dtype=torch.float64)
        step[[1, 3], axis] = 1e-6
        slope = naive(student.detach() + step, teacher) - naive(student.detach() - step, teacher)
        assert gradient[[1, 3], axis].sum().item() == pytest.approx(slope / 2e-6, rel=1e-5, abs=1e-9)


def test_close_samples_lose_no_precision_far_from_the_origin() -> None:
    student, teacher = embeddings((4,), (3,))
    near = (student + 1000).float()
    assert rkd_distance(near, teacher).item() == pytest.approx(
        rkd_distance(student, teacher).item(), rel=1e-3
    )
    assert rkd_angle(near, teacher).item() == pytest.approx(rkd_angle(student, teacher).item(), rel=1e-3)


class Sizes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the size of the largest tensor that is made."""

    largest = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, Tensor):
                self.largest = max(self.largest, tensor.untyped_storage().nbytes() // tensor.itemsize)
        return result


def test_a_large_batch_is_never_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher = embeddings((4,), (3,), samples=30)
    student.requires_grad_()
    whole = rkd_angle(student, teacher)
    (expected,) = torch.autograd.grad(whole, student)
    limit = 7 * 30 * 30  # seven samples at once, so that two are left at the end
    monkeypatch.setattr(rkd, "AT_ONCE", limit)
    with Sizes() as sizes:  # type: ignore[no-untyped-call]
        parts = rkd_angle(student, teacher)
        (found,) = torch.autograd.grad(parts, student)
    assert 900 < sizes.largest <= limit
    assert parts.item() == pytest.approx(whole.item(), rel=1e-12)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-15)


def test_the_terms_have_the_papers_weights() -> None:
    setting = make_setting()
    pair = [
        network.eval().stage2(network.stage1(setting.inputs)).mean((2, 3))
        for network in (setting.student, setting.teacher)
    ]
    distance, angle = rkd_distance(*pair).item(), rkd_angle(*pair).item()
    for text, weights in (
        ("rkd", (25, 50)),
        ("rkd(distance=2, angle=3.5)", (2, 3.5)),
        ("rkd(distance=0)", (0, 50)),
        ("rkd(angle=0)", (25, 0)),
    ):
        losses = setting.distiller(text).eval()(setting.inputs, setting.targets)
        expected = weights[0] * distance + weights[1] * angle
        assert losses.total.item() == pytest.approx(expected, rel=1e-4)
        names = {"rkd.distance": weights[0], "rkd.angle": weights[1]}
        assert list(losses) == [name for name, weight in names.items() if weight]
    assert losses["rkd.distance"].item() == pytest.approx(distance, rel=1e-4)


def test_two_samples_have_one_distance_and_no_angle() -> None:
    pair = embeddings((4,), (3,), samples=2)
    for loss in (rkd_distance, rkd_angle):
        assert loss(*pair).item() == pytest.approx(0, abs=1e-15)
    setting = make_setting()
    with pytest.raises(LimbeckError, match=r"rkd .* at least 3 in a batch, not 2"):
        setting.distiller("rkd")(setting.inputs[:2])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rkd(distance=-1)", "rkd: the argument distance=-1"),
        ("rkd(distance=0, angle=0)", "distance and angle are both 0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        parse(text)
