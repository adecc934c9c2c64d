"""Images with boxes: the three formats in their layouts, and what is wrong in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from box_files import NAMES, coco, drawn, save, voc, write_coco, write_yolo, yolo
from limbeck import data
from limbeck.data import Source
from limbeck.data.files.canvas import Canvas
from limbeck.errors import LimbeckError

BCCD = Path(__file__).parents[3].parent / "shared" / "data" / "detection" / "bccd"
SPLITS = {"train": range(4), "val": range(4, 6), "test": range(6, 9)}


def loaded(place: Path, arguments: str = "") -> Source:
    return data.load(f"detection({arguments})", place)


def boxes_of(source: Source) -> list[list[list[float]]]:
    """The boxes of all splits, without those that are none."""
    splits = [split for split in (source.train, source.validation, source.test) if split is not None]
    return [[box for box in image.tolist() if box[4] >= 0] for split in splits for image in split.targets]


EXPECTED = [[[*map(float, box)] for box in drawn(number)] for some in SPLITS.values() for number in some]


def voc_layout(place: Path) -> None:
    for split, numbers in SPLITS.items():
        for number in numbers:
            save(place / "JPEGImages" / f"{number}.png", drawn(number))
            voc(place / "Annotations" / f"{number}.xml", drawn(number))
        listing = place / "ImageSets" / "Main" / f"{split}.txt"
        listing.parent.mkdir(parents=True, exist_ok=True)
        listing.write_text("".join(f"{number}\n" for number in numbers))


def voc_beside(place: Path) -> None:
    for split, numbers in SPLITS.items():
        for number in numbers:
            save(place / split / f"{number}.png", drawn(number))
            voc(place / split / f"{number}.xml", drawn(number))


def yolo_layout(place: Path) -> None:
    for split, numbers in SPLITS.items():
        for number in numbers:
            save(place / "images" / split / f"{number}.png", drawn(number))
            yolo(place / "labels" / split / f"{number}.txt", drawn(number))
    (place / "data.yaml").write_text("names: {0: red, 1: blue}\n")


def coco_layout(place: Path) -> None:
    for split, numbers in SPLITS.items():
        for number in numbers:
            save(place / f"{split}2017" / f"{number}.png", drawn(number))
        images = {f"{number}.png": drawn(number) for number in numbers}
        write_coco(place / "annotations" / f"instances_{split}2017.json", images)


def coco_beside(place: Path) -> None:
    for split, numbers in SPLITS.items():
        for number in numbers:
            save(place / split / f"{number}.png", drawn(number))
        write_coco(place / split / "_annotations.coco.json", {f"{n}.png": drawn(n) for n in numbers})


@pytest.mark.parametrize("layout", [voc_layout, voc_beside, yolo_layout, coco_layout, coco_beside])
def test_every_layout_says_the_same(layout: object, tmp_path: Path) -> None:
    assert callable(layout)
    layout(tmp_path)
    order = 'names=["red", "blue"]' if layout in (voc_layout, voc_beside) else ""
    source = loaded(tmp_path, order)
    assert source.task.names == NAMES
    for found, expected in zip(boxes_of(source), EXPECTED, strict=True):
        torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=0, atol=1e-4)
    assert source.test is not None
    assert boxes_of(source)[6] == [], "an image without boxes is one"
    assert source.test.has_labels
    assert source.kind == "image"
    assert source.notes == ()


def test_a_tenth_is_held_out_and_names_are_in_the_order_of_the_alphabet(tmp_path: Path) -> None:
    for number in range(20):
        save(tmp_path / "images" / f"{number}.png", drawn(number))
        voc(tmp_path / "Annotations" / f"{number}.xml", drawn(number))
    source = loaded(tmp_path)
    assert source.validation is not None
    assert source.test is not None
    assert source.task.names == ("blue", "red")
    assert (len(source.train), len(source.validation), len(source.test)) == (
        15,
        3,
        2,
    )  # two images without boxes are copies, and stay together


def test_one_json_is_a_data_set(tmp_path: Path) -> None:
    for number in range(10):
        save(tmp_path / "images" / f"{number}.png", drawn(number))
    write_coco(tmp_path / "all.json", {f"{number}.png": drawn(number) for number in range(10)})
    assert len(loaded(tmp_path).train) == 8
    assert len(loaded(tmp_path, 'path="all.json"').train) == 8


def test_boxes_are_scaled_with_their_images(tmp_path: Path) -> None:
    for number, sides in enumerate([(32, 40), (20, 40), (32, 20)]):
        save(tmp_path / "images" / f"{number}.png", [(4, 8, 12, 16, 0)], sides)
        yolo(tmp_path / "labels" / f"{number}.txt", [(4, 8, 12, 16, 0)], sides)
    source = loaded(tmp_path, "resize=[16, 20], validation=0.0")
    found = [each[0][:4] for each in boxes_of(source)]
    assert sorted(found) == [[2, 4, 6, 8]] * 3
    assert "with black at the right" in source.preparation
    images = source.example(2)
    assert isinstance(images, torch.Tensor)
    assert images.shape == (2, 3, 16, 20)
    assert (images[0, 0, 5:7, 3:5] > 0.8).all()
    whole = loaded(tmp_path, "validation=0.0")
    assert sorted(each[0][:4] for each in boxes_of(whole)) == [[4, 8, 12, 16]] * 3


@pytest.mark.parametrize("size", [(33, 47), (90, 20), (7, 50)])
def test_the_scale_is_that_of_the_pixels(size: tuple[int, int]) -> None:
    canvas = Canvas(height=24, width=30, fit=True)
    x, y = canvas.scales(size)
    shown = canvas.mask(torch.zeros(size, dtype=torch.uint8).numpy(), 255) == 0
    assert (round(size[1] * x), round(size[0] * y)) == (shown.any(0).sum(), shown.any(1).sum())


def test_what_has_no_area_is_left_out_and_what_leaves_the_image_is_cut(tmp_path: Path) -> None:
    corners = "<xmin>39.9999999</xmin><ymin>5</ymin><xmax>45</xmax><ymax>9</ymax>"
    sliver = f"<object><name>red</name><bndbox>{corners}</bndbox></object>"  # 40 in the precision of targets
    objects = f"<object><name>red</name><difficult>1</difficult></object>{sliver}"
    for number in range(4):
        save(tmp_path / f"{number}.png", drawn(0))
        voc(tmp_path / f"{number}.xml", [(30, 4, 44, 9, 1), (7, 7, 7, 20, 0), (1, 1, 5, 5, 0)], more=objects)
    source = loaded(tmp_path, 'format="voc", validation=0.0')
    assert all(each == [[30, 4, 40, 9, 0], [1, 1, 5, 5, 1]] for each in boxes_of(source))
    assert source.notes[:3] == (
        "boxes without an area are left out: 8, such as one in 0.png",
        "boxes that leave their image are cut off at its border: 4, such as one in 0.png",
        "boxes that mark a crowd or are difficult are left out: 4",
    )


def test_classes_that_no_training_image_has_are_told(tmp_path: Path) -> None:
    for split, boxes in {"train": (), "val": drawn(0), "test": drawn(0)}.items():
        for number in range(4):
            save(tmp_path / split / f"{number}.png", boxes)
        write_coco(tmp_path / split / "_annotations.coco.json", {f"{n}.png": boxes for n in range(4)})
    (note,) = loaded(tmp_path).notes
    assert note == "no training image has a box, so only a teacher can say where objects are"
    file = tmp_path / "train" / "_annotations.coco.json"
    write_coco(file, {f"{n}.png": [(1, 1, 9, 9, 0)] for n in range(4)})
    assert loaded(tmp_path).notes == ("no training image has a box of the class 'blue'",)


def refused(place: Path, arguments: str = "") -> str:
    with pytest.raises(LimbeckError) as caught:
        loaded(place, arguments)
    return str(caught.value)


def with_json(place: Path, **changes: object) -> str:
    """The message about a COCO JSON in which something is exchanged."""
    save(place / "a.png", drawn(0))
    content = coco({"a.png": drawn(0)})
    (place / "train.json").write_text(json.dumps({**content, **changes}))
    return refused(place)


def test_what_is_wrong_in_coco_json(tmp_path: Path) -> None:
    right = coco({"a.png": drawn(0)})["annotations"][0]
    file = str(tmp_path / "train.json")
    assert with_json(tmp_path, annotations=[{**right, "image_id": 5}]) == (
        f"the annotation 1 of {file!r} is of the image 5, and there is no such image"
    )
    assert with_json(tmp_path, annotations=[{**right, "category_id": 9}]) == (
        f"the annotation 1 of {file!r} is of the category 9, and there is no such category"
    )
    assert "should be [x, y, width, height]" in with_json(
        tmp_path, annotations=[{**right, "bbox": [1, 2, 3]}]
    )
    assert "the annotation 1 of" in with_json(tmp_path, annotations=[{"id": 1}])
    assert "two of the image with the id 11" in with_json(
        tmp_path, images=[{"id": 11, "file_name": "a.png"}] * 2
    )
    assert "names the image 'b.png', which is in none of" in with_json(
        tmp_path, images=[{"id": 11, "file_name": "b.png"}]
    )
    larger = {"id": 11, "file_name": "a.png", "width": 80, "height": 64}
    assert with_json(tmp_path, images=[larger]) == (
        f"{file!r} is for an image of 80 x 64 pixels, and {str(tmp_path / 'a.png')!r} has 40 x 32; they "
        "should have as many"
    )
    assert "outside of its image of 40 x 32" in with_json(
        tmp_path, annotations=[{**right, "bbox": [50, 3, 4, 4]}]
    )
    assert "no image has a box" in with_json(tmp_path, annotations=[], categories=[])


def test_a_split_to_measure_by_has_a_box(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save(tmp_path / name, drawn(0))
    (tmp_path / "train.json").write_text(json.dumps(coco({"a.png": drawn(0)})))
    empty = {**coco({"b.png": drawn(0)}), "annotations": []}
    (tmp_path / "test.json").write_text(json.dumps(empty))
    message = "none of the 1 images of the test split has a box, and networks are measured by those that have"
    assert refused(tmp_path, "validation=0").startswith(message)


def test_what_is_wrong_in_xml_and_text(tmp_path: Path) -> None:
    image, xml, text = tmp_path / "a.png", tmp_path / "a.xml", tmp_path / "a.txt"
    save(image, drawn(0))
    assert "no boxes that are known by their files" in refused(tmp_path)
    xml.write_text("<annotation>")
    assert refused(tmp_path, 'format="voc"').startswith(f"{str(xml)!r} cannot be read as XML")
    voc(xml, drawn(0), sides=(10, 10))
    assert "is for an image of 10 x 10 pixels, and" in refused(tmp_path)
    xml.write_text("<annotation><object><name>red</name></object></annotation>")
    assert "object 0 of" in refused(tmp_path)
    voc(xml, drawn(0))
    assert "unknown class of a box in" in refused(tmp_path, 'names=["rad", "blau"]')
    xml.unlink()
    text.write_text("0 0.5 0.5 0.2\n")
    assert "should be a class id and x, y, width and height" in refused(tmp_path)
    text.write_text("0 20 20 8 8\n")
    assert "shares of the image, from 0 to 1" in refused(tmp_path)
    text.write_text("2 0.5 0.5 0.2 0.2\n")
    assert "has a box of the class 2, and there are names for 2 classes" in refused(
        tmp_path, 'names=["red", "blue"]'
    )
    save(tmp_path / "b.png", drawn(1))
    (tmp_path / "data.yaml").write_text("nc: 2\n")
    assert "has no names of classes" in refused(tmp_path)


def test_images_with_other_numbers_of_channels_become_alike(tmp_path: Path) -> None:
    write_yolo(tmp_path, {"train": 4, "test": 2})
    for number, mode in enumerate(("L", "RGBA", "P")):
        file = tmp_path / "train" / "images" / f"{number}.png"
        Image.open(file).convert(mode).save(file)
    assert loaded(tmp_path, "validation=0.0").example(4).shape == (4, 3, 32, 40)  # type: ignore[union-attr]
    assert loaded(tmp_path, "gray=true, validation=0.0").example(4).shape == (4, 1, 32, 40)  # type: ignore[union-attr]


@pytest.mark.skipif(not BCCD.is_dir(), reason="the data set BCCD is not there")
def test_blood_cells() -> None:
    source = data.load("detection(resize=[60, 80])", BCCD)
    assert source.task.names == ("Platelets", "RBC", "WBC")
    splits = source.train, source.validation, source.test
    assert [len(split) for split in splits if split is not None] == [205, 87, 72]
    counts = torch.tensor([source.task.counts(split.targets) for split in splits if split is not None]).sum(0)
    assert counts.tolist() == [361, 4153, 372]
    assert source.notes[0].startswith("boxes without an area are left out: 2, such as one in BloodImage_00")
