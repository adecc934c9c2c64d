from __future__ import annotations

import pytest
import torch
from method_setting import JUDGED, SmallNet, make_setting

from limbeck import Batch, Distiller
from limbeck.errors import LimbeckError
from limbeck.losses import contrastive, cosine
from limbeck.objective import parse
from limbeck.tasks import Retrieval


def distiller(objective: str, classes: int = 5) -> tuple[Distiller, Batch]:
    setting = make_setting("contrastive")
    teacher = SmallNet(4, classes=classes) if parse(objective).all_reads.teacher else None
    made = Distiller(setting.student, teacher, objective, example=setting.inputs[:2], task=Retrieval())
    return made.eval(), Batch(setting.inputs, JUDGED)


def test_the_objective_is_minimized_for_the_first_numbers_of_the_embedding() -> None:
    made, batch = distiller("matryoshka(contrastive, dims=[5, 2], weights=[1, 0.25])")
    losses = made(batch)
    vectors = made.student(batch.inputs).view(4, 4, 5)
    for dim in (5, 2):
        cut = vectors[..., :dim]
        expected = contrastive(cut[:, 0], cut[:, 1:])
        assert losses[f"matryoshka.contrastive_{dim}"].item() == pytest.approx(expected.item(), rel=1e-5)
    total = losses["matryoshka.contrastive_5"] + 0.25 * losses["matryoshka.contrastive_2"]
    assert losses.total.item() == pytest.approx(total.item(), rel=1e-6)


def test_the_whole_embedding_counts_whether_it_is_named_or_not() -> None:
    made, batch = distiller("matryoshka(contrastive, dims=[2], weights=[0.25])")
    named, _ = distiller("matryoshka(contrastive, dims=[5, 2], weights=[1, 0.25])")
    left_out, _ = distiller("matryoshka(contrastive, dims=[5, 2], weights=[0, 1])")
    losses = made(batch)
    assert losses.total.item() == pytest.approx(named(batch).total.item(), rel=1e-6)
    losses.total.backward()
    weight = made.student.get_parameter("classifier.weight")
    assert weight.grad is not None
    assert weight.grad[2:].abs().sum() > 0, "the other numbers learn"
    assert left_out(batch).total.item() == pytest.approx(losses["matryoshka.contrastive_2"].item(), rel=1e-6)


def test_what_compares_with_the_teacher_has_a_projection_for_each() -> None:
    made, batch = distiller("matryoshka(cosine, dims=[5, 3])")
    shapes = {name: tuple(each.shape) for name, each in made.objective.named_parameters()}
    assert shapes == {"methods.0.copies.1.project.weight": (5, 3)}, "the whole embedding needs none"
    assert made.teacher is not None
    assert made.teacher.network is not None
    ours, theirs = made.student(batch.inputs), made.teacher.network(batch.inputs)
    weight = made.objective.get_parameter("methods.0.copies.1.project.weight")
    losses = made(batch)
    assert losses["matryoshka.cosine_5"].item() == pytest.approx(cosine(ours, theirs).item(), rel=1e-5)
    assert losses["matryoshka.cosine_3"].item() == pytest.approx(
        cosine(ours[:, :3] @ weight.T, theirs).item(), rel=1e-5
    )


def test_it_is_written_as_it_was_given() -> None:
    text = "matryoshka(contrastive + listwise(temperature=0.1), dims=[4, 2])"
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (
            "matryoshka(cosine, dims=[9])",
            "the student's embedding has 5 numbers, so its first 9 are not there",
        ),
        ("matryoshka(cosine, dims=[2, 2])", "each number of dimensions once"),
        ("matryoshka(cosine, dims=[2], weights=[1, 2])", "there are 1 dims and 2 weights"),
        ("matryoshka(fsp(epochs=1), dims=[2])", "fsp does more than that; put it beside matryoshka"),
    ],
)
def test_what_cannot_be_is_refused(objective: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        distiller(objective)
    assert torch.is_grad_enabled()
