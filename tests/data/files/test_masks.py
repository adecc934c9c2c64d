from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from limbeck.data.files.masks import MaskReader
from limbeck.errors import LimbeckError

IDS = np.array([[0, 1, 2], [4, 255, 0]], np.uint8)


def saved(folder: Path, picture: Image.Image, name: str = "mask.png") -> Path:
    picture.save(folder / name)
    return folder / name


def classes(reader: MaskReader, file: Path) -> npt.NDArray[np.uint8]:
    return reader(file, f"the mask {str(file)!r}")


def test_gray_palette_and_16_bit_masks_hold_the_same_ids(tmp_path: Path) -> None:
    gray = Image.fromarray(IDS)
    palette = Image.fromarray(IDS)
    palette.putpalette([value for number in range(256) for value in (number, 255 - number, 7)])
    for picture in (gray, palette, Image.fromarray(IDS.astype(np.uint16))):
        assert classes(MaskReader(), saved(tmp_path, picture)).tolist() == IDS.tolist()
    bits = Image.fromarray(IDS == 1)
    assert bits.mode == "1"
    assert classes(MaskReader(), saved(tmp_path, bits)).tolist() == [[0, 1, 0], [0, 0, 0]]


def test_ids_that_do_not_count_are_left_out_and_the_others_renumbered(tmp_path: Path) -> None:
    file = saved(tmp_path, Image.fromarray(IDS))
    assert classes(MaskReader(ignore=[0]), file).tolist() == [[255, 0, 1], [3, 255, 255]]
    named = MaskReader(ignore=[1, 3], names=("a", "b", "c"))
    assert classes(named, file).tolist() == [[0, 255, 1], [2, 255, 0]]
    with pytest.raises(LimbeckError, match="ids from 0 to 255, and 300 is none"):
        MaskReader(ignore=[300])


def test_colors_stand_for_ids(tmp_path: Path) -> None:
    colors = ["#000000", "#FF0000", "#808000", "#0000ff"]
    palette = np.array([[0, 0, 0], [255, 0, 0], [128, 128, 0], [0, 0, 255]], np.uint8)
    ids = np.array([[0, 1, 2], [3, 2, 0]])
    file = saved(tmp_path, Image.fromarray(palette[ids]))
    assert classes(MaskReader(colors=colors), file).tolist() == ids.tolist()
    assert classes(MaskReader(colors=colors, ignore=[3]), file).tolist() == [[0, 1, 2], [255, 2, 0]]
    binary = saved(tmp_path, Image.fromarray(np.array([[0, 255]], np.uint8)), "binary.png")
    assert classes(MaskReader(colors=["#000000", "#ffffff"]), binary).tolist() == [[0, 1]]
    with pytest.raises(LimbeckError, match=r"the color #0000ff at row 1 and column 0, .* of the 3 colors"):
        classes(MaskReader(colors=colors[:3]), file)
    with pytest.raises(LimbeckError, match=r"has colors \(RGB\) and no palette"):
        classes(MaskReader(), file)
    with pytest.raises(LimbeckError, match="'red' is not"):
        MaskReader(colors=["red"])
    with pytest.raises(LimbeckError, match="one is there twice"):
        MaskReader(colors=["#ff0000", "#FF0000"])
    with pytest.raises(LimbeckError, match="2 names of classes, and 3 colors that are not ignored"):
        MaskReader(colors=colors, ignore=[0], names=("a", "b"))


def test_an_id_without_a_name_is_named_with_its_file(tmp_path: Path) -> None:
    file = saved(tmp_path, Image.fromarray(IDS))
    with pytest.raises(LimbeckError, match=r"mask.png' holds the id 4 at row 1 and column 0, .* ids 0 to 2"):
        classes(MaskReader(names=("a", "b", "c")), file)
    with pytest.raises(LimbeckError, match=r"holds the id 4 .* with the ids 0, 2, 3"):
        classes(MaskReader(names=("a", "b", "c"), ignore=[1]), file)
    large = saved(tmp_path, Image.fromarray(np.array([[1000]], np.uint16)), "large.png")
    with pytest.raises(LimbeckError, match=r"large.png' holds the id 1000; ids should be 0 to 255"):
        classes(MaskReader(), large)


def test_what_is_no_mask(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match="is a JPEG, whose compression changes class ids"):
        classes(MaskReader(), saved(tmp_path, Image.fromarray(IDS), "mask.jpg"))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(LimbeckError, match=r"text.png' cannot be read"):
        classes(MaskReader(), tmp_path / "text.png")
