"""Rows without an answer of the teacher's count for nothing, however a batch is split."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from limbeck import Batch, Outputs
from limbeck.losses import kd
from limbeck.methods import CE, KD, Method
from limbeck.methods.terms import Term
from limbeck.outputs import UNLABELED
from limbeck.tasks.rows import Rows

SIZE, CLASSES = 7, 4
THERE = torch.tensor([True, False, True, True, False, False, True])


def setting() -> tuple[Tensor, Tensor, Batch]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, SIZE, CLASSES, generator=generator, dtype=torch.float64)
    targets = torch.arange(SIZE) % CLASSES
    batch = Batch(student, targets, index=torch.arange(SIZE), rows=Rows(SIZE, targets))
    return student, teacher, batch


def weights(there: Tensor, share: float) -> Tensor:
    return there.double() / share


def terms(method: Method, teacher: Tensor, batch: Batch, answered: Tensor) -> dict[str, Term]:
    assert isinstance(batch.inputs, Tensor)
    return method.terms(Outputs(logits=batch.inputs), Outputs(logits=teacher, answered=answered), batch)


def test_the_mean_is_over_the_answered_rows() -> None:
    student, teacher, batch = setting()
    found = terms(KD(), teacher, batch, weights(THERE, 4 / 7))["kd"].value
    assert found.item() == pytest.approx(kd(student[THERE], teacher[THERE]).item())
    changed = torch.where(THERE[:, None], teacher, 1e6)
    again = terms(KD(), changed, batch, weights(THERE, 4 / 7))["kd"].value
    assert torch.equal(again, found), "what stands in for an answer means nothing"


@pytest.mark.parametrize(
    "cut", [1, 3, 5]
)  # of the first two samples one is answered, of samples 4 and 5 none
def test_the_parts_of_a_batch_add_up(cut: int) -> None:
    student, teacher, batch = setting()
    answered = weights(THERE, 4 / 7)
    total = torch.zeros((), dtype=torch.float64)
    for part in (slice(0, cut), slice(cut, SIZE)):
        targets = batch.targets[part] if batch.targets is not None else None
        some = Batch(student[part], targets, rows=Rows(len(student[part]), targets))
        total += terms(KD(), teacher[part], some, answered[part])["kd"].value * len(student[part]) / SIZE
    assert total.item() == pytest.approx(kd(student[THERE], teacher[THERE]).item())


def test_a_part_without_an_answer_has_no_gradient() -> None:
    student, teacher, batch = setting()
    student.requires_grad_()
    none = torch.zeros(SIZE, dtype=torch.float64)
    value = terms(KD(), teacher, replace(batch, inputs=student), none)["kd"].value
    value.backward()  # type: ignore[no-untyped-call]
    assert value.item() == 0
    assert student.grad is not None
    assert not student.grad.any()


def test_a_method_without_a_teacher_sees_every_row() -> None:
    student, teacher, batch = setting()
    assert batch.targets is not None
    labeled = replace(batch, targets=batch.targets.where(THERE, UNLABELED))
    alone = CE().terms(Outputs(logits=student), Outputs(), labeled)["ce"].value
    assert torch.equal(terms(CE(), teacher, labeled, weights(~THERE, 3 / 7))["ce"].value, alone)


class Looking(Method):
    """Keeps what it is shown."""

    row_wise = True
    reads = KD.reads

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        self.seen = student, teacher, batch
        return {"zero": student.logits.sum() * 0}


def test_everything_of_a_row_goes_with_it() -> None:
    student, teacher, batch = setting()
    known = torch.rand(SIZE, CLASSES) > 0.5
    method = Looking()
    method.terms(
        Outputs(logits=student, stages=(student[:, None],)),
        Outputs(logits=teacher, known=known, answered=weights(THERE, 1)),
        batch,
    )
    ours, theirs, some = method.seen
    assert torch.equal(ours.stages[0], student[THERE][:, None])
    assert theirs.known is not None
    assert torch.equal(theirs.known, known[THERE])
    assert theirs.answered is None
    assert some.index is not None
    assert some.targets is not None
    assert some.rows is not None
    assert some.index.tolist() == [0, 2, 3, 6]
    assert some.targets.tolist() == [0, 2, 3, 2]
    assert (some.rows.count, some.rows.targets) == (4, some.targets)
