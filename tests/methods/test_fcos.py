"""The losses of a detector."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from detectors import TASK, boxed_batch, detector
from limbeck import Distiller, LimbeckError
from limbeck.boxes import generalized_iou
from limbeck.losses import focal
from limbeck.methods.fcos import centrality
from limbeck.outputs import Outputs
from limbeck.tasks.detection.decoding import objects
from limbeck.tasks.detection.places import assigned


def test_how_central_a_place_is() -> None:
    box = torch.tensor([0.0, 0, 8, 4])
    places = torch.tensor([[4.0, 2], [2, 1], [8, 2]])
    found = centrality(places, box.expand(3, 4))
    assert found.tolist() == pytest.approx([1, math.sqrt(1 / 3 * 1 / 3), 0])


def test_the_terms_are_of_the_places_that_have_a_box() -> None:
    student, batch = detector(), boxed_batch()
    distiller = Distiller(
        student, None, "fcos(box_weight=2, center_weight=3)", example=batch.inputs, task=TASK
    )
    losses = distiller(batch)
    assert set(losses) == {"fcos.class", "fcos.box", "fcos.center"}
    total = losses["fcos.class"] + 2 * losses["fcos.box"] + 3 * losses["fcos.center"]
    torch.testing.assert_close(losses.total, total)
    with torch.no_grad():
        out = student.train()(batch.inputs)
    assert batch.targets is not None
    classes, boxes = assigned(out["places"][0], batch.targets, 2)
    sums = torch.zeros(3, dtype=torch.float64)
    for image in range(3):  # the fourth counts zero, and is one of four in the mean
        has = (classes[image] < 2).nonzero().flatten()
        assert (len(has) > 0) == (image < 2)
        number = max(1, len(has))
        weights = torch.tensor([0.25, 0.25, 0.75])
        rows = focal(out["logits"][image], classes[image], weights=weights, reduction="none")
        sums[0] += rows.double().sum() / number
        if not len(has):
            continue
        middle = centrality(out["places"][image, has, :2], boxes[image, has])
        distance = 1 - generalized_iou(out["boxes"][image, has], boxes[image, has])
        sums[1] += (middle * distance).double().sum() / middle.double().sum()
        center = F.binary_cross_entropy_with_logits(out["centerness"][image, has], middle, reduction="sum")
        sums[2] += center.double() / number
    found = torch.stack([losses[f"fcos.{name}"].double() for name in ("class", "box", "center")])
    torch.testing.assert_close(found, sums / 4, rtol=1e-5, atol=1e-7)


def test_a_batch_without_boxes_trains_the_background_alone() -> None:
    student, batch = detector(), boxed_batch()
    distiller = Distiller(student, None, "fcos", example=batch.inputs, task=TASK)
    empty = torch.tensor([0.0, 0, 0, 0, -1]).expand(4, 1, 5)
    losses = distiller(replace(batch, targets=empty))
    losses.backward()
    assert losses["fcos.class"] > 0
    assert losses["fcos.box"] == losses["fcos.center"] == 0
    assert all(each.grad is None or each.grad.isfinite().all() for each in student.parameters())
    assert student.sides.weight.grad is not None
    assert student.sides.weight.grad.abs().max() == 0
    unknown = distiller(replace(batch, targets=torch.full((4, 1, 5), math.nan)))
    assert unknown.total == 0


def test_a_split_batch_gives_the_same_gradient() -> None:
    student, batch = detector().eval(), boxed_batch()  # batch norms would see other batches
    distiller = Distiller(student, None, "fcos + ce", example=batch.inputs, task=TASK)
    whole = distiller(batch).total
    parts = torch.stack([distiller(part).total for part in batch.split(2)]).mean()
    torch.testing.assert_close(parts, whole)


def test_what_is_no_detector_is_refused() -> None:
    with pytest.raises(LimbeckError, match="returns nothing named 'boxes'"):
        Distiller(WithoutBoxes(), None, "fcos", example=torch.rand(2, 3, 32, 48), task=TASK)
    with pytest.raises(LimbeckError, match="fcos is for the task detection, and this is classification"):
        Distiller(torch.nn.Linear(3, 2), None, "fcos", example=torch.rand(2, 3))


class WithoutBoxes(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside = detector()

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        logits: torch.Tensor = self.inside(images)["logits"]
        return {"logits": logits}


def test_a_detector_learns_to_find_boxes() -> None:
    student, batch = detector(16), boxed_batch()
    distiller = Distiller(student, None, "fcos", example=batch.inputs, task=TASK)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2)
    for _ in range(120):  # after 60, boxes that overlap by less than suppression asks for are found as well
        distiller(batch).backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        seen = objects(Outputs(**student(batch.inputs)), 0.3)
    assert batch.targets is not None
    for found, label in zip(seen[:3], batch.targets[:3], strict=True):
        there = label[label[:, 4] >= 0]
        assert found.classes.sort().values.tolist() == there[:, 4].sort().values.tolist()
        boxes = found.boxes[found.classes.argsort()]
        assert (generalized_iou(boxes, there[there[:, 4].argsort(), :4]) > 0.7).all()
