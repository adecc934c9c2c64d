"""Detection: targets, and rows that are the places of a detector."""

from __future__ import annotations

import json

import pytest
import torch

from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.tasks import Detection, from_record, named
from limbeck.tasks.detection.places import assigned

TASK = Detection(("cat", "dog"))
NAN = float("nan")

PLACES = torch.tensor(
    [[4.0 + 8 * x, 4.0 + 8 * y, 8] for y in range(4) for x in range(4)]
    + [[8.0 + 16 * x, 8.0 + 16 * y, 16] for y in range(2) for x in range(2)]
)
"""The places of images of 32 x 32 pixels, at strides 8 and 16."""


def test_it_is_a_task_by_its_name() -> None:
    assert named("detection") is Detection
    assert from_record(json.loads(json.dumps(TASK.record()))) == TASK
    assert (TASK.width, TASK.outputs) == (3, ("cat", "dog", "background"))
    assert TASK.summary == "2 classes and the background"
    assert (TASK.recipe(teacher=True), TASK.recipe(teacher=False)) == (
        "fcos + kd(temperature=1) + giou",
        "fcos",
    )
    assert TASK.primary.show(0.4012) == "40.1 %"


def test_a_task_of_targets() -> None:
    boxes = torch.tensor([[[0.0, 0, 4, 4, 2], [0, 0, 0, 0, -1]]])
    assert Detection.of(None, None, boxes).names == ("0", "1", "2")
    assert Detection.of(TASK.names, None, boxes) == TASK
    assert Detection.of_width(3).names == ("0", "1")
    with pytest.raises(LimbeckError, match="no image of the training data has a box"):
        Detection.of(None, None, boxes[:, 1:])
    with pytest.raises(LimbeckError, match="2 names of classes for 3 classes"):
        Detection.of(TASK.names, 3, boxes)


def test_targets_are_boxes_with_a_class() -> None:
    assert Detection.as_targets(None, 2, "test").isnan().all()
    empty = Detection.as_targets(torch.zeros(2, 0, 5), 2, "test")
    assert empty.tolist() == [[[0, 0, 0, 0, -1]]] * 2
    made = torch.tensor([[[0.0, 0, 4, 4, 1], [1, 1, 2, 2, 1]], [[0, 0, 0, 0, -1]] * 2, [[NAN] * 5] * 2])
    assert Detection.labeled(made).tolist() == [True, True, False]
    assert Detection.strata(made).tolist() == [0, 0, UNLABELED]
    assert TASK.counts(made) == (0, 2)
    TASK.check(made, "training")
    with pytest.raises(LimbeckError, match=r"boxes \(N, M, 5\) of x1, y1, x2, y2 .* shape \(2, 4\)"):
        Detection.as_targets(torch.zeros(2, 4), 2, "test")
    with pytest.raises(
        LimbeckError, match="image 0 has the class 2 for box 1; with 2 classes it should be 0 to 1"
    ):
        TASK.check(torch.tensor([[[0.0, 0, 4, 4, 1], [0, 0, 4, 4, 2]]]), "training")
    with pytest.raises(LimbeckError, match=r"image 0 has box 0 at \(4, 0, 4, 4\), which has no area"):
        TASK.check(torch.tensor([[[4.0, 0, 4, 4, 1]]]), "training")
    with pytest.raises(LimbeckError, match=r"float32 of shape \(2, boxes, 5\), not int64"):
        TASK.check_batch(torch.zeros(2, 3, 5).long(), 2)
    with pytest.raises(LimbeckError, match=r"takes those of each place, \(B, places, 3\)"):
        TASK.check_outputs(torch.zeros(2, 3, 8, 8), "student")


def test_each_place_has_the_smallest_box_that_fits_it() -> None:
    small, large = [1.0, 1, 11, 11, 0], [0.0, 0, 32, 32, 1]  # half of the large one is two strides of 16
    targets = torch.tensor([[small, large], [[0, 0, 0, 0, -1.0]] * 2, [[NAN] * 5] * 2])
    classes, boxes = assigned(PLACES, targets, 2)
    # Both levels have the small box where they are near its middle (6, 6): x and y below 6 + 1.5 strides. The
    # sides are at most 7 and 8 pixels away. The middle (16, 16) of the large one is near at stride 8 for
    # x and y of 12 and 20, whose farthest side is 20 away, at most 8 strides.
    assert classes[0].view(-1)[:16].view(4, 4).tolist() == [
        [0, 2, 2, 2],
        [2, 1, 1, 2],
        [2, 1, 1, 2],
        [2, 2, 2, 2],
    ]
    assert classes[0, 16:].tolist() == [2, 2, 2, 2]  # too small a box for the coarser level
    assert boxes[0, 0].tolist() == small[:4]
    assert boxes[0, 5].tolist() == large[:4]
    assert boxes[0, 1].isnan().all()
    assert (classes[1] == 2).all()
    assert boxes[1].isnan().all()
    assert (classes[2] == UNLABELED).all()


def test_coarser_levels_have_larger_boxes() -> None:
    targets = torch.tensor([[[0.0, 0, 150, 150, 1]]])
    places = torch.tensor([[76.0, 76, 8], [72, 72, 16]])
    assert assigned(places, targets, 2)[0].tolist() == [[2, 1]]  # 76 is more than 8 strides of 8
    assert assigned(places[:1], targets, 2)[0].tolist() == [[1]]  # the one level there is has all


def test_rows_are_places() -> None:
    batch = Batch(torch.zeros(2, 3, 32, 32), torch.tensor([[[1.0, 1, 11, 11, 0]]] * 2))
    logits = torch.randn(2, 20, 3)
    outputs = Outputs(logits=logits, places=PLACES.expand(2, -1, -1), embedding=torch.randn(2, 20, 5))
    rows = TASK.rows(batch, outputs)
    assert rows.count == 40
    assert rows.targets is not None
    assert rows.targets.view(2, 20).tolist() == [[0] + [2] * 19] * 2
    assert rows.sample is not None
    assert rows.sample.tolist() == [0] * 20 + [1] * 20
    assert rows.boxes is not None
    assert rows.boxes[20].tolist() == [1, 1, 11, 11]
    made = rows.of(outputs)
    assert torch.equal(made.logits, logits.flatten(0, 1))
    assert made.embedding.shape == (40, 5)
    assert TASK.rows(Batch(batch.inputs), outputs).targets is None
