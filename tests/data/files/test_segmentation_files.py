from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from torch import Tensor

from limbeck.data import Loader, load
from limbeck.data.split import Split
from limbeck.data.storage.streamed import Encoded
from limbeck.data.views import Crop, ScaledCrop
from limbeck.errors import LimbeckError
from limbeck.tasks import Segmentation
from mask_files import pixels_and_ids, write_layout, write_pair


def images_of(split: Split | None) -> Tensor:
    assert split is not None
    images = split.samples.take(split.index, torch.zeros_like(split.index))
    assert isinstance(images, Tensor)
    return images


def test_images_and_masks_come_as_they_are(tmp_path: Path) -> None:
    write_layout(tmp_path, "{split}/{n}.png", "{split}annot/{n}.png")
    source = load('segmentation(names=["sky", "road", "car"])', tmp_path)
    assert source.task == Segmentation(("sky", "road", "car"))
    assert (source.kind, source.views, source.notes) == ("image", Crop(padding=0, flip=True), ())
    for at, split in enumerate((source.train, source.validation, source.test)):
        assert split is not None
        shown = [pixels_and_ids(100 * at + n) for n in range(4)]
        expected = torch.from_numpy(np.stack([image.transpose(2, 0, 1) for image, _ in shown]))
        assert torch.equal(images_of(split), expected)
        assert split.targets.tolist() == [ids.tolist() for _, ids in shown]
    streamed = load('segmentation(memory="2 KB")', tmp_path)
    assert isinstance(streamed.train.samples, Encoded)
    assert streamed.task.names == ("0", "1", "2")
    assert streamed.fingerprint() == source.fingerprint()


def test_names_in_a_file_and_an_id_that_does_not_count(tmp_path: Path) -> None:
    write_layout(tmp_path, "images/{split}/{n}.jpg", "masks/{split}/{n}.png")
    (tmp_path / "classes.txt").write_text("sky\ncar\n\n")
    source = load('segmentation(names="classes.txt", ignore=1, resolution="outputs")', tmp_path)
    assert source.task == Segmentation(("sky", "car"), "outputs")
    ids = torch.from_numpy(pixels_and_ids(0)[1])
    assert torch.equal(source.train.targets[0], torch.tensor([0, 255, 1], dtype=torch.uint8)[ids.long()])
    with pytest.raises(LimbeckError, match=r"there is no file .*names.txt' with names of classes"):
        load('segmentation(names="names.txt")', tmp_path)
    with pytest.raises(LimbeckError, match=r"holds the id 2 .* names for 2 classes"):
        load('segmentation(names="classes.txt")', tmp_path)


def test_test_and_validation_are_held_out_of_the_training_split(tmp_path: Path) -> None:
    write_layout(tmp_path, "images/{n}.png", "masks/{n}.png", splits=("",), count=20)
    source = load("segmentation", tmp_path)
    assert source.validation is not None
    assert source.test is not None
    assert [len(each) for each in (source.train, source.validation, source.test)] == [16, 2, 2]
    together = torch.cat([each.targets for each in (source.train, source.validation, source.test)])
    assert len({each.numpy().tobytes() for each in together}) == 20


def test_images_of_different_sizes_are_placed_on_the_largest(tmp_path: Path) -> None:
    for n, sides in enumerate([(6, 8), (4, 10), (3, 3)]):
        write_pair(tmp_path / f"train/{n}.png", tmp_path / f"trainannot/{n}.png", n, sides)
    write_pair(tmp_path / "test/0.png", tmp_path / "testannot/0.png", 9)
    source = load("segmentation(validation=0, size=4)", tmp_path)
    assert source.views == ScaledCrop(4, 4)
    assert source.train.targets.shape == (3, 6, 10)
    for n, (height, width) in enumerate([(6, 8), (4, 10), (3, 3)]):
        image, ids = pixels_and_ids(n, (height, width))
        assert source.train.targets[n, :height, :width].tolist() == ids.tolist()
        assert int((source.train.targets[n] != 255).sum()) == height * width
        shown = images_of(source.train)[n]
        assert shown[:, :height, :width].tolist() == image.transpose(2, 0, 1).tolist()
        assert int(shown[:, height:].sum() + shown[:, :, width:].sum()) == 0
    assert source.preparation.endswith("with black at the right and the bottom up to 6 x 10")
    (batch,) = Loader(source.train, 3, views=source.views)
    assert isinstance(batch.inputs, Tensor)
    assert batch.targets is not None
    assert (batch.inputs.shape, batch.targets.shape) == ((3, 3, 4, 4), (3, 4, 4))


def test_images_are_resized_to_fit(tmp_path: Path) -> None:
    for n, sides in enumerate([(6, 8), (12, 12)]):
        write_pair(tmp_path / f"train/{n}.png", tmp_path / f"trainannot/{n}.png", n, sides)
    write_pair(tmp_path / "test/0.png", tmp_path / "testannot/0.png", 9)
    targets = load("segmentation(validation=0, resize=[3, 8])", tmp_path).train.targets
    assert targets.shape == (2, 3, 8)
    # 6 x 8 becomes 3 x 4, and 12 x 12 becomes 3 x 3: Pillow's nearest takes the middle of each block.
    assert targets[0, :, :4].tolist() == pixels_and_ids(0)[1][1::2, 1::2].tolist()
    assert targets[1, :, :3].tolist() == pixels_and_ids(1, (12, 12))[1][2::4, 2::4].tolist()
    assert int((targets != 255).sum()) == 12 + 9


def test_bad_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match="there is no file or directory 'nowhere'"):
        load('segmentation(path="./nowhere")')
    write_layout(tmp_path, "train/{n}.png", "trainannot/{n}.png", splits=("",))
    with pytest.raises(LimbeckError, match="belong together; give both"):
        load('segmentation(images="*.png")', tmp_path)
    with pytest.raises(LimbeckError, match=r"are columns of rows, and .* holds files"):
        load('segmentation(mask="label")', tmp_path)
    with pytest.raises(LimbeckError, match=r"the masks take 0.0 GB .*resize=\[height, width\]"):
        load('segmentation(memory="10 B")', tmp_path)
    write_pair(tmp_path / "train/5.png", tmp_path / "trainannot/5.png", 5, ids=np.zeros((6, 7), np.uint8))
    with pytest.raises(LimbeckError, match=r"train/5.png' has 6 x 8 pixels, and the mask .*5.png' 6 x 7"):
        load("segmentation", tmp_path)
    (tmp_path / "train/5.png").write_text("nothing")
    with pytest.raises(LimbeckError, match=r"the image .*train/5.png' is in none of the formats"):
        load("segmentation", tmp_path)


def test_masks_without_a_class_and_classes_without_a_pixel(tmp_path: Path) -> None:
    blank = np.full((6, 8), 255, np.uint8)
    for n in range(4):
        write_pair(tmp_path / f"images/{n}.png", tmp_path / f"masks/{n}.png", n, ids=blank)
    with pytest.raises(LimbeckError, match=r"no pixel of the data has a class, .* give names=\[...\], or"):
        load("segmentation", tmp_path)
    named = load('segmentation(names=["sky", "road"])', tmp_path)
    assert (named.train.has_labels, named.notes) == (False, ())
    for n in range(4):
        ids = np.where(pixels_and_ids(n)[1] == 2, 12, pixels_and_ids(n)[1]).astype(np.uint8)
        write_pair(tmp_path / f"images/{n}.png", tmp_path / f"masks/{n}.png", n, ids=ids)
    numbered = load("segmentation", tmp_path)
    assert numbered.task.width == 13
    assert numbered.notes == ("no training pixel has the classes '2', '3', '4', '5', '6' and 5 more",)
    renumbered = load("segmentation(ignore=[2, 3, 4, 5, 6, 7, 8, 9, 10, 11])", tmp_path)
    assert (renumbered.task.width, renumbered.notes) == (3, ())


def as_bytes(file: Path) -> dict[str, bytes | str | None]:
    return {"bytes": file.read_bytes(), "path": None}


def table(place: Path, split: str, image: str = "image", mask: str = "mask") -> datasets.Dataset:
    """The files of a split, encoded in columns."""
    files = [(place / f"{split}/{n}.png", place / f"{split}annot/{n}.png") for n in range(4)]
    columns = {image: [as_bytes(each) for each, _ in files], mask: [as_bytes(each) for _, each in files]}
    return datasets.Dataset.from_dict(columns)


def test_rows_are_read_as_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tmp_path / "files"
    write_layout(files, "{split}/{n}.png", "{split}annot/{n}.png")
    (files / "names.txt").write_text("sky\nroad\ncar\n")
    expected = load('segmentation(names="names.txt")', files)
    splits = datasets.DatasetDict(
        {split: table(files, split, "pixels", "annotation") for split in ("train", "val", "test")}
    )
    splits.save_to_disk(tmp_path / "saved")
    (tmp_path / "parquet").mkdir()
    for split, rows in splits.items():
        rows.to_parquet(tmp_path / f"parquet/{split}-00000-of-00001.parquet")
    columns = 'image="pixels", mask="annotation"'
    for form in ("saved", "parquet"):
        (tmp_path / form / "names.txt").write_text("sky\nroad\ncar\n")
        found = load(f'segmentation(names="names.txt", {columns})', tmp_path / form)
        assert found.fingerprint() == expected.fingerprint()
        assert (found.task, found.hub) == (expected.task, None)
    streamed = load(f'segmentation(path="saved", {columns}, memory="2 KB")', tmp_path)
    assert isinstance(streamed.train.samples, Encoded)
    assert torch.equal(images_of(streamed.train), images_of(expected.train))

    monkeypatch.setattr(datasets, "load_dataset", lambda name: {"somebody/roads": splits}[name])
    hub = load(f'segmentation(path="somebody/roads", names=["sky", "road", "car"], {columns})')
    assert (hub.fingerprint(), hub.hub) == (expected.fingerprint(), "somebody/roads")


def test_bad_rows_are_named(tmp_path: Path) -> None:
    files = tmp_path / "files"
    write_layout(files, "{split}/{n}.png", "{split}annot/{n}.png", splits=("train",))
    file = tmp_path / "roads.parquet"
    good = table(files, "train")
    good.to_parquet(file)
    with pytest.raises(
        LimbeckError, match=r"unknown column of '.*roads.parquet': 'masks'; did you mean 'mask'"
    ):
        load('segmentation(path="roads.parquet", mask="masks")', tmp_path)
    with pytest.raises(LimbeckError, match=r"'roads.parquet' holds rows; name their columns"):
        load('segmentation(path="roads.parquet", images="*.png", masks="*.png")', tmp_path)
    with pytest.raises(
        LimbeckError, match=r"the mask in row 1 of '.*roads.parquet' holds the id 2 at row \d and column \d"
    ):
        load('segmentation(path="roads.parquet", names=["sky", "road"])', tmp_path)

    rows = good.to_list()
    write_pair(tmp_path / "i.png", tmp_path / "m.png", 5, ids=np.zeros((6, 7), np.uint8))
    bad = {
        r"row 2 of .* has 6 x 8 pixels, and the mask in row 2 of .* 6 x 7": as_bytes(tmp_path / "m.png"),
        r"the mask in row 2 of .* is in none of the formats": {"bytes": b"none", "path": None},
        r"there is no mask in row 2 of .* but None": None,
    }
    for message, mask in bad.items():
        datasets.Dataset.from_list([rows[0], {**rows[1], "mask": mask}, *rows[2:]]).to_parquet(file)
        with pytest.raises(LimbeckError, match=message):
            load('segmentation(path="roads.parquet")', tmp_path)
