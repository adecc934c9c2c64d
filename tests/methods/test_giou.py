"""The student's boxes beside the teacher's."""

from __future__ import annotations

import pytest
import torch

from detectors import TASK, boxed_batch, detector
from limbeck import Distiller, LimbeckError
from limbeck.losses import giou

OURS = torch.tensor([[[0.0, 0, 4, 4], [0, 0, 2, 2]], [[0, 0, 1, 1], [0, 0, 1, 1]]])
THEIRS = torch.tensor([[[2.0, 2, 4, 4], [0, 0, 2, 2]], [[0, 0, 1, 1], [0, 0, 1, 2]]])


def test_a_weighted_mean_over_places() -> None:
    weights = torch.tensor([[3.0, 1], [0.2, 0.2]])
    # the distances are 0.75 and 0, and 0 and 0.5; the second image weighs 0.4, which counts as 1
    assert giou(OURS, THEIRS, weights, "none").tolist() == pytest.approx([3 * 0.75 / 4, 0.2 * 0.5])
    assert giou(OURS, THEIRS, weights).item() == pytest.approx((0.5625 + 0.1) / 2)
    assert giou(OURS, OURS, weights) == 0


def test_other_shapes_are_refused() -> None:
    with pytest.raises(LimbeckError, match=r"boxes \(B, L, 4\) of the same L places"):
        giou(OURS, THEIRS[:, :1], torch.ones(2, 2))
    with pytest.raises(LimbeckError, match=r"weights must have the shape \(2, 2\)"):
        giou(OURS, THEIRS, torch.ones(2, 1))
    with pytest.raises(LimbeckError, match="weights must hold floating-point numbers"):
        giou(OURS, THEIRS, torch.ones(2, 2).long())


def test_places_count_as_much_as_the_teacher_is_sure_of_an_object() -> None:
    student, teacher, batch = detector(), detector(6, seed=1), boxed_batch()
    distiller = Distiller(student, teacher, "fcos + giou", example=batch.inputs, task=TASK)
    found = distiller(batch)["giou"]
    with torch.no_grad():
        ours, theirs = student.train()(batch.inputs), teacher(batch.inputs)
    weights = 1 - theirs["logits"].softmax(-1)[..., -1]
    torch.testing.assert_close(found, giou(ours["boxes"], theirs["boxes"], weights))


def test_pyramids_of_other_strides_are_refused() -> None:
    batch = boxed_batch()
    for method in ("giou", "kd"):
        message = (
            rf"{method} compares detectors at the same places of an image, and the student has 30 places"
        )
        with pytest.raises(LimbeckError, match=rf"{message} and the teacher 6; give both pyramids the same"):
            Distiller(detector(), detector(levels=1), f"fcos + {method}", example=batch.inputs, task=TASK)
