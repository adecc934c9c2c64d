from __future__ import annotations

import math

import pytest
from embedding_batches import batch, embeddings, outputs, targets
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.losses import listwise, margin_mse
from limbeck.methods import Listwise, MarginMSE
from limbeck.methods.parts.candidates import scores, scores_in_batch


def softmax(values: list[float], temperature: float) -> list[float]:
    exponents = [math.exp(value / temperature) for value in values]
    return [each / sum(exponents) for each in exponents]


def naive(student: Tensor, teacher: Tensor, temperature: float, softer: float) -> float:
    total = 0.0
    for ours, theirs in zip(student.tolist(), teacher.tolist(), strict=True):
        p, q = softmax(theirs, softer), softmax(ours, temperature)
        total += temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return total / len(student)


@pytest.mark.parametrize(("temperature", "softer"), [(1.0, None), (0.5, 2.0)])
def test_it_is_the_equation(temperature: float, softer: float | None) -> None:
    student, teacher = (embeddings(4, 3, seed) for seed in (1, 2))
    found = listwise(student, teacher, temperature, softer)
    assert found.item() == pytest.approx(
        naive(student, teacher, temperature, softer or temperature), rel=1e-9
    )
    assert listwise(teacher, teacher, temperature).item() == pytest.approx(0.0, abs=1e-12)


def test_among_the_batch_and_among_a_querys_own() -> None:
    of, ours, theirs = targets(3, 2), embeddings(9, 4, 3), embeddings(9, 6, 4)
    student, teacher = ours.view(3, 3, 4), theirs.view(3, 3, 6)
    for among, between in (("batch", scores_in_batch), ("given", scores)):
        expected = naive(
            between(student[:, 0], student[:, 1:], "cosine") / 0.1,
            between(teacher[:, 0], teacher[:, 1:], "cosine") / 0.1,
            1.0,
            1.0,
        )  # without T^2, as in the papers
        method = Listwise(among=among, temperature=0.1)  # type: ignore[arg-type]
        assert method(outputs(ours), outputs(theirs), batch(of)).item() == pytest.approx(expected)


def test_a_query_with_one_candidate_has_none_to_choose_among() -> None:
    vectors = embeddings(4, 3, 5)
    with pytest.raises(LimbeckError, match="each has one; give data with negatives=1 or more"):
        Listwise(among="given")(outputs(vectors), outputs(vectors), batch(targets(2, 1)))
    with pytest.raises(
        LimbeckError, match="there are none; give data with negatives=1 or more, or use listwise"
    ):
        MarginMSE()(outputs(vectors), outputs(vectors), batch(targets(2, 1)))


def test_margins_alone_count() -> None:
    student, teacher = (embeddings(4, 3, seed) for seed in (6, 7))
    expected = sum(
        ((ours[0] - ours[k]) - (theirs[0] - theirs[k])) ** 2 / 8
        for ours, theirs in zip(student.tolist(), teacher.tolist(), strict=True)
        for k in (1, 2)
    )
    assert margin_mse(student, teacher).item() == pytest.approx(expected, rel=1e-9)
    assert margin_mse(student + 3, teacher).item() == pytest.approx(expected, rel=1e-9)
    of, ours, theirs = targets(3, 3), embeddings(12, 4, 8), embeddings(12, 5, 9)
    first, second = (
        scores(each[:, 0], each[:, 1:], "dot") for each in (ours.view(3, 4, 4), theirs.view(3, 4, 5))
    )
    found = MarginMSE()(outputs(ours), outputs(theirs), batch(of))
    assert found.item() == pytest.approx(margin_mse(first, second).item())


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    wrong = embeddings(4, 1, 1).reshape(shape)
    for loss in (listwise, margin_mse):
        with pytest.raises(LimbeckError, match=r"student_scores must have the shape \(Q, n\)"):
            loss(wrong, wrong)
