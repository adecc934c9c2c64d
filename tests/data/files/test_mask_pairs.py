from __future__ import annotations

from pathlib import Path

import pytest

from limbeck.data.files.mask_pairs import by_patterns, in_folders
from limbeck.errors import LimbeckError
from mask_files import write_layout, write_pair

SPLITS = {"train": "train", "validation": "val", "test": "test"}


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("images/{split}/{n}.jpg", "masks/{split}/{n}.png"),
        ("{split}/images/{n}.jpg", "{split}/masks/{n}.png"),
        ("{split}/{n}.jpg", "{split}annot/{n}.png"),
        ("{split}/town/{n}.png", "{split}_labels/town/{n}.png"),
    ],
)
def test_layouts_of_folders(tmp_path: Path, images: str, masks: str) -> None:
    write_layout(tmp_path, images, masks)
    found = in_folders(tmp_path, "test")
    assert list(found) == list(SPLITS)
    for split, name in SPLITS.items():
        expected = [
            tuple(tmp_path / each.format(split=name, n=n) for each in (images, masks)) for n in range(4)
        ]
        assert [tuple(pair) for pair in found[split]] == expected


def test_lists_name_the_images_of_a_split(tmp_path: Path) -> None:
    write_layout(tmp_path, "JPEGImages/{n}.jpg", "SegmentationClass/{n}.png", splits=("x",), count=12)
    assert [pair.image.stem for pair in in_folders(tmp_path, "test")["train"]] == [str(n) for n in range(12)]
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("3\n10\n")
    (lists / "val.txt").write_text("JPEGImages/7.jpg\n")
    (lists / "trainval.txt").write_text("3\n10\n7\n")
    found = in_folders(tmp_path, "test")
    assert {split: [pair.image.stem for pair in pairs] for split, pairs in found.items()} == {
        "train": ["3", "10"],
        "validation": ["7"],
    }
    (lists / "val.txt").write_text("99\n")
    with pytest.raises(LimbeckError, match=r"val.txt' names '99', and there is no such image"):
        in_folders(tmp_path, "test")


def test_lists_name_what_they_like(tmp_path: Path) -> None:
    for n in ("1", "2", "a b", "c.0.v1"):
        write_pair(tmp_path / f"JPEGImages/{n}.jpg", tmp_path / f"SegmentationClass/{n}.png", 0)
    (tmp_path / "JPEGImages/unlabeled.jpg").write_bytes((tmp_path / "JPEGImages/1.jpg").read_bytes())
    (tmp_path / "train.txt").write_text("a b\n\nJPEGImages/1.jpg SegmentationClass/2.png\nc.0.v1\n")
    found = in_folders(tmp_path, "test")["train"]
    assert [(pair.image.name, pair.mask.name) for pair in found] == [
        ("a b.jpg", "a b.png"),
        ("1.jpg", "2.png"),
        ("c.0.v1.jpg", "c.0.v1.png"),
    ]
    (tmp_path / "val.txt").write_text("unlabeled")
    with pytest.raises(LimbeckError, match=r"the image .*unlabeled.jpg' has no mask; .*Class/unlabeled.png'"):
        in_folders(tmp_path, "test")
    (tmp_path / "val.txt").write_text("\n")
    with pytest.raises(LimbeckError, match=r"val.txt' names no image"):
        in_folders(tmp_path, "test")


def test_patterns_match_what_stands_for_the_stars(tmp_path: Path) -> None:
    write_layout(tmp_path, "left/{split}/a/{n}_left.png", "fine/{split}/a/{n}_ids.png")
    write_pair(tmp_path / "left/train/b/0_left.png", tmp_path / "fine/train/b/0_ids.png", 9)
    found = by_patterns(tmp_path, "left/{split}/*/*_left.png", "fine/{split}/*/*_ids.png", "test")
    assert {split: len(pairs) for split, pairs in found.items()} == {"train": 5, "validation": 4, "test": 4}
    assert found["train"][-1] == (tmp_path / "left/train/b/0_left.png", tmp_path / "fine/train/b/0_ids.png")
    alone = by_patterns(tmp_path, "left/train/*/*_left.png", "fine/train/*/*_ids.png", "test")
    assert {split: len(pairs) for split, pairs in alone.items()} == {"train": 5}
    (tmp_path / "fine/train/b/0_ids.png").unlink()
    with pytest.raises(LimbeckError, match=r"0_left.png' has no mask: .* none has the same 'b' and '0'"):
        by_patterns(tmp_path, "left/{split}/*/*_left.png", "fine/{split}/*/*_ids.png", "test")
    with pytest.raises(LimbeckError, match=r"no file in .* has a name like 'wrong/\*.png'"):
        by_patterns(tmp_path, "left/train/*/*.png", "wrong/*.png", "test")
    with pytest.raises(LimbeckError, match=r"names \{split\} twice"):
        by_patterns(tmp_path, "{split}/{split}/*.png", "left/*.png", "test")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match="holds no folders of images and masks that are known by their"):
        in_folders(tmp_path, "test")
    write_layout(tmp_path, "images/{split}/{n}.jpg", "masks/{split}/{n}.png")
    (tmp_path / "masks/val/2.png").unlink()
    with pytest.raises(LimbeckError, match=r"images/val/2.jpg' has no mask; .*masks/val/2.png'"):
        in_folders(tmp_path, "test")
    for file in (tmp_path / "masks/val").iterdir():
        file.unlink()
    (tmp_path / "masks/val").rmdir()
    with pytest.raises(LimbeckError, match=r"there is a folder .*images/val' and no .*masks/val'"):
        in_folders(tmp_path, "test")
