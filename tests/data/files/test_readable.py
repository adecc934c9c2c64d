from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pytest
import torch

from limbeck.data.files.decoding import Decoder
from limbeck.data.files.readable import contents_of, readable
from limbeck.data.files.rows import Rows
from limbeck.errors import LimbeckError
from picture_files import pixels, png


def rows_of(folder: Path, broken: list[int], count: int = 300) -> Rows:
    """Images in files of which some are cut short."""
    for number, image in enumerate(pixels(count)):
        content = png(image)
        (folder / f"{number}.png").write_bytes(content[:60] if number in broken else content)
    names = [f"{number}.png" for number in range(count)]
    return Rows("'a.csv'", datasets.Dataset.from_dict({"image": names}), folder)


def test_what_cannot_be_read_is_listed(tmp_path: Path) -> None:
    there, skipped = readable({"train": rows_of(tmp_path, [7, 270])}, "image", Decoder())
    assert there["train"].tolist() == [number for number in range(300) if number not in (7, 270)]
    assert len(skipped) == 2
    assert skipped[0].startswith(
        f"the image in row 8 of 'a.csv', {str(tmp_path / '7.png')!r}, cannot be read"
    )
    assert "row 271 of 'a.csv'" in skipped[1]


def test_one_in_a_hundred_is_the_most(tmp_path: Path) -> None:
    with pytest.raises(
        LimbeckError, match=r"4 of 300 images cannot be read, more than the 1% .* the image in row 2"
    ):
        readable({"train": rows_of(tmp_path, [1, 2, 3, 4])}, "image", Decoder())


def test_copies_have_equal_contents(tmp_path: Path) -> None:
    image = png(np.zeros((3, 4, 4), np.uint8))
    (tmp_path / "a.png").write_bytes(image)
    values = [
        {"bytes": image, "path": None},
        {"bytes": None, "path": "a.png"},
        {"bytes": png(np.ones((3, 4, 4), np.uint8)), "path": None},
        {"bytes": None, "path": "none.png"},
        {"bytes": None, "path": "none.png"},
    ]
    rows = Rows("'a'", datasets.Dataset.from_dict({"image": values}), tmp_path)
    found = contents_of(rows, "image", torch.arange(5))
    assert [found.index(each) for each in found] == [0, 0, 2, 3, 4]
    assert contents_of(rows, "image", torch.tensor([1, 2])) == found[1:3]
