"""Figures of networks that find objects."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import Batch, Outputs
from limbeck.tasks import Detection
from limbeck.tasks.detection.decoding import Objects, objects
from limbeck.tasks.detection.findings import BoxAgreement, BoxExample, BoxFindings
from limbeck.tasks.detection.meter import BoxComparison, BoxMeter, found
from limbeck.tasks.detection.sections import weaknesses

NAMES = ("cat", "dog")
TARGETS = torch.tensor(
    [
        [[0.0, 0, 10, 10, 0], [20, 20, 80, 80, 1]],
        [[5, 5, 15, 15, 0], [0, 0, 0, 0, -1]],
        [[0, 0, 0, 0, -1], [0, 0, 0, 0, -1]],
    ]
)
BATCH = Batch(torch.zeros(3, 3, 100, 100), TARGETS)


def answering(*images: list[tuple[list[float], int, float]]) -> Outputs:
    """Outputs that find these objects: a box, a class and a score each."""
    most = max(map(len, images))
    logits, boxes = torch.full((len(images), most, 3), -20.0), torch.zeros(len(images), most, 4)
    logits[..., 2] = 20
    for image, them in enumerate(images):
        for place, (box, which, score) in enumerate(them):
            boxes[image, place] = torch.tensor(box)
            p = score**2  # the score is the root of the probability, with a centerness of 1
            logits[image, place] = torch.tensor([-30.0] * 3)
            logits[image, place, which], logits[image, place, 2] = math.log(p), math.log(1 - p)
    return Outputs(logits=logits, boxes=boxes, centerness=torch.full((len(images), most), 30.0))


CAT, DOG, OTHER = [0.0, 0, 10, 10], [20.0, 20, 80, 80], [5.0, 5, 15, 15]
RIGHT = answering([(CAT, 0, 0.9), (DOG, 1, 0.8)], [(OTHER, 0, 0.7)], [])


def test_objects_are_decoded_class_by_class() -> None:
    outputs = answering([(CAT, 0, 0.9), ([0, 0, 10, 9], 0, 0.8), (CAT, 1, 0.6), (DOG, 1, 0.01)])
    (seen,) = objects(outputs)
    assert seen.classes.tolist() == [0, 1]  # the second cat is suppressed, the last dog is below 0.05
    torch.testing.assert_close(seen.scores, torch.tensor([0.9, 0.6]))
    assert seen.boxes.tolist() == [CAT, CAT]
    (sure,) = objects(outputs, 0.7)
    assert sure.classes.tolist() == [0]


def test_without_a_centerness_each_place_is_an_object() -> None:
    p = torch.tensor([[[0.6, 0.3, 0.1], [0.7, 0.2, 0.1], [0.01, 0.02, 0.97], [0.1, 0.85, 0.05]]])
    boxes = torch.tensor([[CAT, CAT, OTHER, DOG]])
    (seen,) = objects(Outputs(logits=p.log(), boxes=boxes))
    assert seen.classes.tolist() == [1, 0, 0]  # nothing is suppressed, and a place has one class
    torch.testing.assert_close(seen.scores, torch.tensor([0.85, 0.7, 0.6]))
    assert seen.boxes.tolist() == [DOG, CAT, CAT]
    meter = BoxMeter(2)
    meter.update(Outputs(logits=p.log(), boxes=boxes), Batch(torch.zeros(1, 3, 100, 100), TARGETS[:1]))
    assert meter.compute()["map50"] == pytest.approx(1)


def test_objects_and_places_have_no_distance() -> None:
    objects_alone = Outputs(logits=RIGHT.logits, boxes=RIGHT["boxes"])
    comparison = BoxComparison(NAMES)
    comparison.update(RIGHT, objects_alone, BATCH)
    assert math.isnan(comparison.compute().distance)


def test_the_package_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(LimbeckError) as caught:
        Detection(NAMES).meter()
    assert str(caught.value) == (
        "faster_coco_eval is not installed; `pip install 'limbeck[detection]'` brings it"
    )


def measured(*batches: tuple[Outputs, Tensor | None]) -> BoxFindings:
    pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")
    meter = BoxMeter(2)
    for outputs, targets in batches:
        meter.update(outputs, Batch(torch.zeros(len(outputs.logits), 3, 100, 100), targets))
    return meter.findings()


def test_all_right_is_a_precision_of_1() -> None:
    seen = measured((RIGHT, TARGETS))
    assert seen.metrics == pytest.approx({"map": 1, "map50": 1, "map75": 1, "recall": 1})
    assert seen.sizes == {"small": pytest.approx(1), "medium": pytest.approx(1), "large": None}
    assert [each.boxes for each in seen.classes] == [2, 1]
    assert [each.ap for each in seen.classes] == pytest.approx([1, 1])
    assert (seen.images, seen.boxes) == (3, 3)


def test_precision_by_hand() -> None:
    # Of two cats one is found, below a wrong one: a precision of 1/2 up to a recall of 1/2, which 51 of 101
    # recalls have. The dog has an IoU of 46 / 60 with its box, so 6 of 10 thresholds find it.
    outputs = answering([(CAT, 0, 0.5), ([20, 20, 80, 66], 1, 0.8)], [([50, 50, 60, 60], 0, 0.9)], [])
    seen = measured((outputs, TARGETS))
    assert seen.classes[0].ap == pytest.approx(0.5 * 51 / 101)
    assert seen.classes[1].ap == pytest.approx(0.6)
    assert seen.classes[1].ap50 == pytest.approx(1)
    assert seen.metrics["map"] == pytest.approx((0.5 * 51 / 101 + 0.6) / 2)
    assert next(weaknesses(NAMES, seen)) == "It is weakest on `cat`: an AP of 25.2 % on 2 boxes."


def test_batches_add_up_and_images_without_labels_count_for_nothing() -> None:
    unknown = torch.full((1, 1, 5), math.nan)
    parts = [
        (Outputs(**{name: each[at : at + 1] for name, each in RIGHT.items()}), TARGETS[at : at + 1])
        for at in range(3)
    ]
    wrong = answering([([1, 1, 2, 2], 0, 0.99)])
    assert measured(*parts, (wrong, unknown), (wrong, None)).metrics["map"] == pytest.approx(1)
    with pytest.raises(LimbeckError, match="none of the 1 images has a box"):
        measured((wrong, unknown))


def test_no_object_at_all_is_a_precision_of_0() -> None:
    nothing = answering([(CAT, 0, 0.01)], [(CAT, 0, 0.01)], [(CAT, 0, 0.01)])
    assert measured((nothing, TARGETS)).metrics == {"map": 0, "map50": 0, "map75": 0, "recall": 0}


def test_an_object_is_one_box() -> None:
    twice = Objects(torch.tensor([CAT, CAT]), torch.tensor([0.9, 0.8]), torch.tensor([0, 0]))
    label = torch.tensor([CAT, [0.0, 0, 10, 8]]), torch.tensor([0, 0])
    assert found(label, twice).tolist() == [True, True]
    assert found((label[0], torch.tensor([0, 1])), twice).tolist() == [True, False]
    assert found((label[0][:0], label[1][:0]), twice).tolist() == []


def test_student_beside_teacher() -> None:
    student = answering([(CAT, 0, 0.9), ([60, 60, 90, 90], 1, 0.8)], [], [(CAT, 1, 0.1)])
    comparison = BoxComparison(NAMES)
    comparison.update(student, RIGHT, BATCH)
    seen = comparison.compute()
    assert isinstance(seen, BoxAgreement)
    assert seen.agreement == pytest.approx(2 / 5)  # both have the cat; one dog, one dog and one cat are alone
    assert seen.distance > 0
    first, second = seen.examples
    assert isinstance(first, BoxExample)
    assert {first.index, second.index} == {0, 1}
    assert first.student == "2 objects; it misses 1 dog"
    assert first.size == (100, 100)
    assert first.boxes[0] == ((0, 0, 10, 10, 0), (20, 20, 80, 80, 1))
    assert [len(each) for each in first.boxes] == [2, 2, 2]
    alone = BoxComparison(NAMES)
    alone.update(student, student, Batch(BATCH.inputs))
    assert alone.compute().agreement == 1
    assert alone.compute().examples == ()
