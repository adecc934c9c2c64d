"""Bad images, masks and boxes on the command line: one clear line that names the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Command
from PIL import Image

from box_files import coco, drawn, save, voc, write_yolo
from limbeck.evaluation import results
from mask_files import write_layout

pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")

QUICK = ("--epochs", "1", "--batch-size", "4", "--set", "training.trackers=[]", "--out", "run")
BOXES = ("train", "--model", "fcos(channels=[4, 4, 4], levels=2, width=4)", "--data", "detection")
MASKS = ("--data", 'segmentation(names=["a", "b", "c"])', "--data-dir", "data")


def refused(command: Command, *arguments: str) -> str:
    answer = command(*arguments, *QUICK)
    assert answer.code == 2
    assert answer.err.startswith("limbeck: ")
    assert answer.err.count("\n") == 1
    assert not Path("run").exists()
    return answer.err.removeprefix("limbeck: ").rstrip("\n")


def write_voc(more: str = "") -> None:
    """A directory of VOC, with something more in the second training image."""
    for split in ("train", "val", "test"):
        for number in range(4 if split == "train" else 2):
            place = Path("data", split, f"{number}.png")
            save(place, drawn(number))
            odd = more if place.match("train/1.png") else ""
            voc(place.with_suffix(".xml"), drawn(number), more=odd)


def boxed(*corners: float) -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    numbers = "".join(f"<{name}>{value}</{name}>" for name, value in sides)
    return f"<object><name>red</name><bndbox>{numbers}</bndbox></object>"


def test_voc_xml(command: Command) -> None:
    write_voc(boxed(7, 2, 7, 9))
    answer = command(*BOXES, "--data-dir", "data", *QUICK)
    assert answer.code == 0, answer.err
    assert "boxes without an area are left out: 1, such as one in 1.png" in answer.out + answer.err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("<object>", "'data/train/1.xml' cannot be read as XML: mismatched tag"),
        ("<object><name>red</name></object>", "of 'data/train/1.xml' has no bndbox with the numbers xmin"),
        (
            boxed(90, 1, 99, 9),
            "the image 'data/train/1.png' has a box at (90, 1, 99, 9), outside of its image of 40 x 32",
        ),
    ],
)
def test_bad_voc_xml(more: str, message: str, command: Command) -> None:
    write_voc(more)
    assert message in refused(command, *BOXES, "--data-dir", "data")


def test_yolo_text(command: Command) -> None:
    write_yolo(Path("data"), {"train": 4, "valid": 2, "test": 2})
    Path("data/train/labels/1.txt").write_text("0 0.5 0.5 0.0 0.2\n1 0.98 0.5 0.2 0.2\n")
    answer = command(*BOXES, "--data-dir", "data", *QUICK)
    assert answer.code == 0, answer.err
    assert "boxes that leave their image are cut off at its border: 1" in answer.out + answer.err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "5 0.5 0.5 0.2 0.2",
            "'data/train/images/1.png' has a box of the class 5, and there are names for",
        ),
        ("0 0.5 0.5 0.2", "line 1 of 'data/train/labels/1.txt' is '0 0.5 0.5 0.2', and should be a class id"),
        ("red 0.5 0.5 0.2 0.1", "is 'red 0.5 0.5 0.2 0.1', and should be a class id"),
        ("0 1.5 0.5 0.2 0.2", "x, y, width, height are shares of the image, from 0 to 1"),
        ("0 nan 0.5 0.2 0.2", "x, y, width, height are shares of the image, from 0 to 1"),
    ],
)
def test_bad_yolo_text(line: str, message: str, command: Command) -> None:
    write_yolo(Path("data"), {"train": 4, "valid": 2, "test": 2})
    Path("data/train/labels/1.txt").write_text(f"{line}\n")
    assert message in refused(command, *BOXES, "--data-dir", "data")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda annotation: {**annotation, "image_id": 99}, "is of the image 99, and there is no such image"),
        (
            lambda annotation: {**annotation, "category_id": 99},
            "of the category 99, and there is no such",
        ),
        (
            lambda annotation: {**annotation, "bbox": [100, 9, 5, 5]},
            "a box at (100, 9, 105, 14), outside of",
        ),
    ],
)
def test_bad_coco_json(change: Callable[[Any], Any], message: str, command: Command) -> None:
    pictures = {f"{number}.png": drawn(number) for number in range(4)}
    for split in ("train", "val", "test"):
        for name, boxes in pictures.items():
            save(Path("data", split, name), boxes)
        content = coco(pictures)
        if split == "train":
            content["annotations"][0] = change(content["annotations"][0])
        Path("data/annotations").mkdir(exist_ok=True)
        Path(f"data/annotations/instances_{split}.json").write_text(json.dumps(content))
    assert message in refused(command, *BOXES, "--data-dir", "data")


def write_masks(**exchanged: np.ndarray[Any, Any]) -> None:
    """A directory of images and masks; some of the training split are exchanged, `mask_1` say."""
    write_layout(Path("data"), "{split}/{n}.png", "{split}annot/{n}.png", count=4)
    for name, pixels in exchanged.items():
        kind, number = name.split("_")
        Image.fromarray(pixels).save(f"data/train{'annot' if kind == 'mask' else ''}/{number}.png")


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (
            np.full((6, 8), 7, dtype=np.uint8),
            "the mask 'data/trainannot/1.png' holds the id 7 at row 0 and column 0, and there are names for",
        ),
        (
            np.zeros((5, 8), dtype=np.uint8),
            "the image 'data/train/1.png' has 6 x 8 pixels, and the mask 'data/trainannot/1.png' 5 x 8",
        ),
    ],
)
def test_bad_masks(mask: np.ndarray[Any, Any], message: str, command: Command) -> None:
    write_masks(mask_1=mask)
    assert message in refused(command, "train", "--model", "unet(channels=[4, 4])", *MASKS)


def test_batches_without_a_valid_pixel_and_gray_images_among_others(command: Command) -> None:
    none = np.full((6, 8), 255, dtype=np.uint8)
    write_masks(mask_0=none, mask_1=none, image_2=np.full((6, 8), 50, dtype=np.uint8))
    network = "unet(channels=[4, 4])"
    teacher = command("train", "--model", network, *MASKS, *QUICK[:-1], "teacher")
    assert teacher.code == 0, teacher.err
    small = ("--set", "training.batch_size=2", "--baseline", "none", "--set", "teacher.trust=true")
    objective = ("--objective", "ce + kd + cwd", "--epochs", "3")
    answer = command(
        "distill", "--student", network, "--teacher", "teacher", *objective, *small, *MASKS, *QUICK[4:]
    )
    assert answer.code == 0, answer.err
    assert "nan" not in (answer.out + answer.err).lower()
    found = results.read(Path("run/evaluation.json"))
    assert found is not None
    assert 0 <= found.student.metrics["miou"] <= 1


def test_a_cache_whose_budget_is_too_small_for_one_view(command: Command) -> None:
    write_masks()
    network = "unet(channels=[4, 4])"
    assert command("train", "--model", network, *MASKS, *QUICK[:-1], "teacher").code == 0
    taught = ("distill", "--student", network, "--teacher", "teacher", "--set", "teacher.trust=true", *MASKS)
    kept = ("--cache-teacher", "logits", "--views", "2", "--baseline", "none", *QUICK)
    answer = command(*taught, *kept, "--cache-budget", "100B")
    assert answer.code == 0, answer.err
    assert "the teacher is asked live: a view of 4 samples takes" in answer.out + answer.err
    answer = command(*taught, *kept, "--overwrite", "--cache-budget", "lots")
    assert answer.code == 2
    assert "lots" in answer.err
