"""Segmentation: targets, and rows that are the pixels that count."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck import Distiller, LimbeckError
from limbeck.data import Loader, Split
from limbeck.data.storage.base import Resident
from limbeck.data.views import Crop
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.tasks import Segmentation, from_record, named
from limbeck.tasks.segmentation.resolution import nearest, resized
from segmenters import Strided, batch_of

TASK = Segmentation(("sky", "road", "car"))
AT_OUTPUTS = Segmentation(TASK.names, "outputs")


def distiller(task: Segmentation, objective: str = "ce + kd(temperature=2)") -> Distiller:
    student, teacher = Strided(4, 2).double(), Strided(6, 4, seed=1).double()
    return Distiller(student, teacher, objective, example=batch_of().inputs, task=task)


def test_it_is_a_task_by_its_name() -> None:
    assert named("segmentation") is Segmentation
    assert from_record(json.loads(json.dumps(AT_OUTPUTS.record()))) == AT_OUTPUTS
    assert (TASK.width, TASK.columns, TASK.summary, TASK.hub_tag) == (3, 3, "3 classes", "image-segmentation")
    assert (TASK.recipe(teacher=True), TASK.recipe(teacher=False)) == ("0.5*ce + 0.5*kd(temperature=2)", "ce")
    assert TASK.primary.show(0.5512) == "55.1 %"
    with pytest.raises(LimbeckError, match='resolution should be "labels" or "outputs"'):
        Segmentation(TASK.names, "inputs")  # type: ignore[arg-type]


def test_a_task_of_targets() -> None:
    maps = torch.tensor([[[0, 2], [255, 1]]], dtype=torch.uint8)
    assert Segmentation.of(None, None, maps).names == ("0", "1", "2")
    assert Segmentation.of(TASK.names, None, maps) == TASK
    with pytest.raises(LimbeckError, match="no pixel of the data has a class"):
        Segmentation.of(None, None, torch.full((1, 2, 2), 255))
    with pytest.raises(LimbeckError, match="2 to 255 classes of pixels, not 1"):
        Segmentation(("sky",))


def test_targets_are_class_ids_of_pixels() -> None:
    assert Segmentation.as_targets(None, 3, "test").shape == (3, 0, 0)
    given = torch.tensor([[[0, 1], [UNLABELED, 255]], [[255, 255], [255, 255]]])
    made = Segmentation.as_targets(given, 2, "training")
    assert made.dtype == torch.uint8
    assert made[0].tolist() == [[0, 1], [255, 255]]
    assert Segmentation.labeled(made).tolist() == [True, False]
    assert Segmentation.strata(made).tolist() == [0, UNLABELED]
    assert TASK.counts(made) == (1, 1, 0)
    with pytest.raises(LimbeckError, match=r"integers \(N, H, W\) with 255 where .* not torch.float32"):
        Segmentation.as_targets(torch.zeros(1, 2, 2), 1, "test")
    with pytest.raises(LimbeckError, match="there are 3 test inputs but 2 targets"):
        Segmentation.as_targets(given, 3, "test")
    with pytest.raises(LimbeckError, match="test target 300 of image 1, at row 0 and column 1, is out of"):
        Segmentation.as_targets(torch.tensor([[[0, 1]], [[0, 300]]]), 2, "test")
    with pytest.raises(LimbeckError, match=r"target 7 of image 0, at row 0 and column 1, .* 0 to 2, or 255"):
        TASK.check(torch.tensor([[[0, 7]]]), "training")


def test_other_shapes_are_refused() -> None:
    with pytest.raises(LimbeckError, match=r"must be int64 of shape \(2, height, width\)"):
        TASK.check_batch(torch.zeros(2, dtype=torch.int64), 2)
    for shape in ((2, 3), (2, 4, 8, 8), (2, 8, 8, 3)):
        with pytest.raises(LimbeckError, match=r"segmentation with 3 classes takes maps \(B, 3, height"):
            TASK.check_outputs(torch.zeros(shape), "student")


def test_maps_are_resized_as_the_field_does() -> None:
    row = torch.tensor([0.0, 4.0]).reshape(1, 1, 1, 2)
    assert resized(row, (1, 4)).flatten().tolist() == [0.0, 1.0, 3.0, 4.0]
    labels = torch.arange(42).reshape(1, 6, 7)
    expected = F.interpolate(labels[None].double(), size=(4, 3), mode="nearest")[0].long()
    assert torch.equal(nearest(labels, (4, 3)), expected)
    assert torch.equal(nearest(labels, (6, 7)), labels)


def test_at_the_resolution_of_the_labels_logits_are_resized() -> None:
    made, batch = distiller(TASK), batch_of()
    assert made.teacher is not None
    assert batch.targets is not None
    ours, theirs = made.student(batch.inputs), made.teacher(batch).logits
    assert (ours.shape[2], theirs.shape[2]) == (4, 2)
    ours, theirs = (F.interpolate(each, (8, 8), mode="bilinear") for each in (ours, theirs))
    losses = made(batch)
    valid = batch.targets != 255
    expected = F.cross_entropy(ours, batch.targets, ignore_index=255)
    assert losses["ce"].item() == pytest.approx(expected.item(), rel=1e-12)
    kl = F.kl_div((ours / 2).log_softmax(1), (theirs / 2).softmax(1), reduction="none").sum(1)
    assert losses["kd"].item() == pytest.approx(4 * kl[valid].mean().item(), rel=1e-10)
    assert int(TASK.count(batch)) == int(valid.sum())


def test_at_the_resolution_of_the_outputs_labels_are_taken_by_nearest() -> None:
    made, batch = distiller(AT_OUTPUTS), batch_of()
    assert made.teacher is not None
    assert batch.targets is not None
    labels = batch.targets[:, ::2, ::2]
    theirs = F.interpolate(made.teacher(batch).logits, (4, 4), mode="bilinear")
    ours = made.student(batch.inputs)
    losses = made(batch)
    assert losses["ce"].item() == pytest.approx(
        F.cross_entropy(ours, labels, ignore_index=255).item(), rel=1e-12
    )
    kl = F.kl_div((ours / 2).log_softmax(1), (theirs / 2).softmax(1), reduction="none").sum(1)
    assert losses["kd"].item() == pytest.approx(4 * kl[labels != 255].mean().item(), rel=1e-10)
    assert isinstance(made.task, Segmentation)
    assert made.task.positions == (4, 4)
    assert int(made.task.count(batch)) == int((labels != 255).sum())


@pytest.mark.parametrize("task", [TASK, AT_OUTPUTS])
def test_the_pieces_of_a_batch_count_by_their_rows(task: Segmentation) -> None:
    made, batch = distiller(task), batch_of()
    pieces = batch.split(2)
    counts = [int(made.task.count(piece)) for piece in pieces]
    weighted = sum(count * made(piece).total.item() for count, piece in zip(counts, pieces, strict=True))
    assert weighted / sum(counts) == pytest.approx(made(batch).total.item(), rel=1e-12)


def test_without_labels_every_pixel_is_a_row() -> None:
    batch = Batch(batch_of().inputs)
    rows = TASK.rows(batch, Outputs())
    assert (rows.count, rows.targets, TASK.count(batch)) == (256, None, 256)
    losses = distiller(TASK, "kd")(batch)
    assert losses.total.item() > 0


@pytest.mark.parametrize("task", [TASK, AT_OUTPUTS])
def test_a_batch_without_a_pixel_that_counts_counts_zero(task: Segmentation) -> None:
    made, batch = distiller(task, "ce + kd + dkd + icd"), batch_of()
    assert batch.targets is not None
    made.progress(0, 0, 0.0)
    losses = made(Batch(batch.inputs, torch.full_like(batch.targets, 255)))
    assert losses.total.item() == 0
    found = torch.autograd.grad(losses.total, list(made.student.parameters()), allow_unused=True)
    assert all(each is None or not each.any() for each in found)


def test_the_rows_of_embeddings_are_those_of_logits() -> None:
    made, batch = distiller(TASK), batch_of()
    student: Any = made.student
    maps = student.body(batch.inputs).tanh()
    rows = TASK.rows(batch, Outputs(logits=student(batch.inputs)))
    head = student.head
    expected = F.linear(rows.embedding(maps), head.weight[:, :, 0, 0], head.bias)
    torch.testing.assert_close(rows.logits(student(batch.inputs)), expected)


def test_a_loader_moves_maps_that_are_kept_as_bytes() -> None:
    maps = torch.arange(16, dtype=torch.uint8).reshape(1, 4, 4) % 3
    images = maps[:, None].clone()
    split = Split.whole(Resident(images), maps, Segmentation)
    views = Crop(padding=1, flip=True)
    for epoch in range(8):
        loader = Loader(split, 1, views=views, seed=3)
        loader.set_epoch(epoch)
        (batch,) = loader
        assert batch.targets is not None
        assert batch.targets.dtype == torch.int64
        assert isinstance(batch.inputs, Tensor)
        shown = batch.targets != 255
        assert torch.equal((batch.inputs[:, 0] * 255).round().long()[shown], batch.targets[shown])
    assert torch.equal(split.select(torch.tensor([0])).targets_by_position, maps)
