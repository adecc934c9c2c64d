from __future__ import annotations

from pathlib import Path

import pytest

from limbeck.data.files.folders import folders
from limbeck.errors import LimbeckError


def fill(place: Path, *names: str) -> None:
    """Files of no content; images are not opened here."""
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch()


def found(place: Path, test: str = "test") -> dict[str, list[tuple[str, int]]]:
    """For each split the files, without the folder, and their class ids."""
    return {
        split: [(str(Path(row["image"]).relative_to(place)), row["label"]) for row in rows.dataset.to_list()]
        for split, rows in folders(place, test).items()
    }


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Train", "Test"),
        ("Training", "Testing"),
        ("TRAIN", "TEST"),
        ("training_set", "test_set"),
        ("train2017", "test-images"),
    ],
)
def test_splits_are_found_without_regard_to_case(tmp_path: Path, train: str, test: str) -> None:
    fill(tmp_path, f"{train}/a/1.png", f"{train}/b/2.png", f"{test}/b/3.png")
    assert found(tmp_path) == {
        "train": [(f"{train}/a/1.png", 0), (f"{train}/b/2.png", 1)],
        "test": [(f"{test}/b/3.png", 1)],
    }


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    fill(tmp_path, "car/1.png", "train/2.png", "test/3.png")
    assert folders(tmp_path, "test")["train"].classes("label") == ("car", "test", "train")


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, "Train/a/1.png", "TRAINING/b/2.png")
    with pytest.raises(
        LimbeckError, match=r"has 'TRAINING' and 'Train', which may both be its split 'train'"
    ):
        folders(tmp_path, "test")


def test_classes_are_in_natural_order(tmp_path: Path) -> None:
    fill(tmp_path, *(f"{label}/{label}.png" for label in (0, 1, 2, 10, 11)), "B/x.png", "a/x.png")
    rows = folders(tmp_path, "test")["train"]
    assert rows.classes("label") == ("0", "1", "2", "10", "11", "a", "B")
    assert [Path(row["image"]).parent.name for row in rows.dataset.to_list()] == [
        *("0", "1", "10", "11", "2", "B", "a"),  # positions are in the order of text
    ]
    assert rows.dataset["label"][:] == [0, 1, 3, 4, 2, 6, 5]


def test_what_is_hidden_is_no_part_of_the_data(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "b/2.png", "a/.ipynb_checkpoints/1-checkpoint.png", "a/.1.png")
    fill(tmp_path, ".git/x.png", "__MACOSX/a/1.png", "a/Thumbs.db", "b/more/3.JPG")
    rows = folders(tmp_path, "test")["train"]
    assert found(tmp_path)["train"] == [("a/1.png", 0), ("b/2.png", 1), ("b/more/3.JPG", 1)]
    assert rows.notes == ()


def test_files_that_are_not_read_are_counted_and_named(tmp_path: Path) -> None:
    fill(tmp_path, "train/a/1.png", "train/a/2.heic", "train/a/3.HEIC", "train/b/1.png", "train/b/notes.txt")
    fill(tmp_path, "train/loose.png", "test/a/1.png", "extra/x/1.png")
    splits = folders(tmp_path, "test")
    assert splits["train"].notes == (
        f"{str(tmp_path)!r} has other folders, which are not read: 'extra'",
        f"3 files in {str(tmp_path / 'train')!r} are no images that can be read: 2 of .heic, 1 of .txt,"
        " such as '2.heic'",
        f"1 images in {str(tmp_path / 'train')!r} are in no folder of a class and are not read: 'loose.png'",
    )
    assert splits["test"].notes == (f"{str(tmp_path / 'test')!r} has no images of 1 of the 2 classes: 'b'",)


def test_a_class_that_would_vanish_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "b/1.png", "c/1.heic", "c/2.heic")
    with pytest.raises(LimbeckError, match=r"c' of a class holds no image that can be read, but 2 of \.heic"):
        folders(tmp_path, "test")
    for file in (tmp_path / "c").iterdir():
        file.unlink()
    with pytest.raises(LimbeckError, match=r"c' of a class is empty; put images in it or take it away"):
        folders(tmp_path, "test")


def test_a_test_class_without_images_is_said(tmp_path: Path) -> None:
    fill(tmp_path, "train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png")
    (tmp_path / "test" / "c").mkdir()
    assert folders(tmp_path, "test")["test"].notes == (
        f"the folder {str(tmp_path / 'test' / 'c')!r} holds no images and is of no class that the train split"
        " has",
    )
