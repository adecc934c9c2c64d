from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from limbeck import LimbeckError, data
from limbeck.data import Loader
from limbeck.data.storage.pictures import Pictures
from limbeck.tasks.restoration.bicubic import resized_bicubic


def write(file: Path, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Writes an image of random levels; (3, height, width)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def test_inputs_are_made_of_images_cut_to_a_multiple(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / "train" / f"{number}.png", 21 + number, 33, number)
    image = write(tmp_path / "test" / "a.png", 15, 11, 9)
    source = data.load("restoration(scale=2, size=4, validation=0)", tmp_path)
    assert source.validation is None
    assert source.test is not None
    (batch,) = Loader(source.test, 8, shuffle=False)
    whole = image[:, :14, :10]
    assert batch.targets is not None
    assert torch.equal(batch.targets[0], whole.long())
    torch.testing.assert_close(batch.inputs, resized_bicubic(whole, 7, 5)[None].float() / 255)
    assert str(source.views).startswith("patch(height=4, width=4, scale=2")


def test_training_images_are_covered_by_parts_of_one_size(tmp_path: Path) -> None:
    image = write(tmp_path / "train" / "a.png", 20, 44)
    write(tmp_path / "test" / "b.png", 8, 8, 2)
    source = data.load("restoration(scale=2, size=8, validation=0)", tmp_path)
    samples, targets = source.train.samples, source.train.targets
    assert targets.shape == (2, 3, 32, 32)  # 10 x 22 in parts of 16 x 16, from columns 0 and 6
    low = resized_bicubic(image, 10, 22)
    taken = samples.take(torch.arange(2), torch.zeros(2))
    assert isinstance(taken, torch.Tensor)
    for part, target, column in zip(taken, targets, (0, 6), strict=True):
        assert torch.equal(part[:, :10], low[:, :, column : column + 16])
        assert part[:, 10:].unique().tolist() == [0]
        assert torch.equal(target[:, :20].long(), image[:, :, 2 * column : 2 * column + 32].long())
        assert target[:, 20:].unique().tolist() == [-1]


def test_pairs_are_taken_as_they_are(tmp_path: Path) -> None:
    for split, count in (("train", 2), ("val", 1), ("test", 1)):
        for number in range(count):
            write(tmp_path / split / "high" / f"{number}.png", 12, 9, number)
            low = write(tmp_path / split / "low" / f"{number}.png", 4, 3, 50 + number)
    source = data.load("restoration(scale=3, size=3)", tmp_path)
    assert source.test is not None
    assert isinstance(source.test.samples, Pictures)
    assert torch.equal(source.test.samples.images[0], low)


def test_folders_have_any_names_and_whole_images_are_held_out(tmp_path: Path) -> None:
    for number in range(12):
        write(tmp_path / "t91" / f"{number}.png", 40, 40, number)
    write(tmp_path / "set5" / "a.png", 8, 8)
    source = data.load('restoration(size=8, train="t91", test="set5")', tmp_path)
    assert source.validation is not None
    assert source.test is not None
    assert len(source.train) == 11 * 4
    assert (len(source.validation), len(source.test)) == (1, 1)
    assert source.notes == ()


@pytest.mark.parametrize(
    ("spec", "files", "message"),
    [
        ("scale=1", [("train/a.png", 8, 8)], "with scale=1 inputs are as large as targets"),
        ("", [("train/high/a.png", 8, 8)], "there is a folder .*high.* and no .*low"),
        (
            "",
            [("train/high/a.png", 8, 8), ("train/low/b.png", 4, 4)],
            "high/a.png' has no partner .*low/a.png",
        ),
        (
            "",
            [("train/high/a.png", 8, 8), ("train/low/a.png", 4, 4), ("train/low/b.png", 4, 4)],
            "low/b.png' has no partner in .*high'",
        ),
        (
            "",
            [("train/high/a.png", 8, 8), ("train/low/a.png", 4, 3)],
            "has 8 x 8 pixels, and .* 4 x 3; it should be 2 times as high and wide",
        ),
        ("scale=4", [("train/a.png", 3, 8)], "a.png' is smaller than 4 x 4 pixels"),
        ('train="t91"', [("train/a.png", 8, 8)], "has no folder 't91' of training images"),
        ('memory="1 KB"', [("train/a.png", 40, 40)], "take .*memory than the 0.0 GB"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, spec: str, files: list[tuple[str, int, int]], message: str
) -> None:
    for name, height, width in files:
        write(tmp_path / name, height, width)
    with pytest.raises(LimbeckError, match=message):
        data.load(f"restoration({spec})" if spec else "restoration", tmp_path)
