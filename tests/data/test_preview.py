from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from limbeck.data import from_tensors, lettering
from limbeck.data.preview import contact_sheet, unlettered, write_png
from limbeck.data.source import Source
from limbeck.errors import LimbeckError

SLACK = 50
"""Pixels of the same gray that letters may have."""


def plain(sizes: list[int], channels: int = 1, side: int = 8) -> Source:
    """Images of one gray a class, 20 levels apart, with as many of each class as `sizes` says."""
    targets = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    images = (20 + 20 * targets).to(torch.uint8)[:, None, None, None].expand(-1, channels, side, side)
    return from_tensors(images.clone(), targets, validation=None, num_classes=len(sizes), name="plain")


def areas(sheet: Image.Image) -> dict[int, int]:
    """Pixels of each of the images' grays."""
    values, counts = np.unique(np.asarray(sheet.convert("L")), return_counts=True)
    return {int(value): int(count) for value, count in zip(values, counts, strict=True) if count >= 64 * 64}


@pytest.mark.parametrize("channels", [1, 3])
def test_every_class_has_its_images(channels: int) -> None:
    sheet = contact_sheet(plain([9, 2, 5], channels), count=4)
    assert sheet.mode == "RGB"
    found = areas(sheet)
    side = 64 * 64  # small images are enlarged
    assert found[20] == pytest.approx(4 * side, abs=SLACK)
    assert found[40] == pytest.approx(2 * side, abs=SLACK)
    assert found[60] == pytest.approx(4 * side, abs=SLACK)


def test_large_images_keep_their_size() -> None:
    sheet = contact_sheet(plain([1, 1], side=70), count=1)
    assert areas(sheet)[20] == pytest.approx(70 * 70, abs=SLACK)


def test_samples_without_a_label_are_shown_apart() -> None:
    images = torch.full((6, 1, 8, 8), 90, dtype=torch.uint8)
    source = from_tensors(images, [0, 1, -100, -100, -100, -100], validation=None, name="some")
    labeled = from_tensors(images[:2], [0, 1], validation=None, name="some")
    assert areas(contact_sheet(source, count=3))[90] == pytest.approx(5 * 64 * 64, abs=SLACK)
    assert areas(contact_sheet(labeled, count=3))[90] == pytest.approx(2 * 64 * 64, abs=SLACK)


def test_the_seed_draws() -> None:
    images = torch.arange(50, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 8, 8).clone()
    source = from_tensors(images, [0] * 25 + [1] * 25, validation=None)
    first, again, other = (contact_sheet(source, 3, seed).tobytes() for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_a_long_name_is_cut_to_its_place() -> None:
    source = plain([1, 1])
    long = from_tensors(
        torch.zeros(2, 1, 8, 8, dtype=torch.uint8), [0, 1], validation=None, names=["x" * 500, "b"]
    )
    assert contact_sheet(long, count=1).size == contact_sheet(source, count=1).size


def test_refuses_what_is_no_image() -> None:
    table = from_tensors(torch.rand(9, 4), [0, 1, 2] * 3, validation=None, name="numbers")
    with pytest.raises(LimbeckError, match=r"numbers has none \(table\)"):
        contact_sheet(table)
    with pytest.raises(LimbeckError, match="one or three channels"):
        contact_sheet(plain([1, 1], channels=2))


def test_refuses_what_has_no_class_for_each_image() -> None:
    tokens = torch.ones(4, 6, dtype=torch.int64)
    words = from_tensors(tokens, tokens, task="token_classification", validation=None, name="words")
    with pytest.raises(LimbeckError, match=r"images of each class, and words has none \(text\)"):
        contact_sheet(words)
    images = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    labels = from_tensors(images, torch.ones(4, 3), task="multilabel", validation=None, name="labels")
    with pytest.raises(
        LimbeckError, match="labels is for multilabel; take a data set of images with one class"
    ):
        contact_sheet(labels)
    values = from_tensors(images, torch.rand(4), task="regression", validation=None, name="values")
    with pytest.raises(LimbeckError, match="values is for regression"):
        contact_sheet(values)


def test_writes_a_png(tmp_path: Path) -> None:
    sheet = contact_sheet(plain([2, 2]), count=1)
    write_png(sheet, tmp_path / "new" / "sheet.png")
    with Image.open(tmp_path / "new" / "sheet.png") as written:
        assert written.format == "PNG"
        assert written.tobytes() == sheet.tobytes()
    with pytest.raises(LimbeckError, match=r"should end in .png, not 'sheet.jpg'"):
        write_png(sheet, tmp_path / "sheet.jpg")


def test_a_class_whose_letters_no_font_has_is_named_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def named(*names: str) -> Source:
        images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
        return from_tensors(images, torch.tensor([0, 1]), names=names, validation=None, name="x")

    lettering._installed.cache_clear()
    monkeypatch.setattr("shutil.which", lambda name: None)
    shown = contact_sheet(named("cat", "кот"), count=1)
    assert shown.tobytes() == contact_sheet(named("cat", "class 1"), count=1).tobytes()
    assert unlettered(["cat", "кот"]) == ["кот"]
    lettering._installed.cache_clear()
