"""Splits of images on a canvas with targets of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from limbeck.data.files.canvas import Canvas
from limbeck.data.files.placed import placed
from limbeck.data.files.rows import of_files
from limbeck.tasks import Segmentation


def test_what_is_missing_is_held_out_and_copies_stay_together(tmp_path: Path) -> None:
    files, number = [], 40
    for place in range(number):
        shade = place // 2  # each image is there twice
        files.append(tmp_path / f"{place:02}.png")
        Image.fromarray(np.full((3 + shade % 2, 5), 10 * shade + 1, np.uint8)).save(files[-1])
    maps = torch.arange(number, dtype=torch.uint8).view(-1, 1, 1).expand(-1, 4, 5) // 2 % 3
    canvas, _ = Canvas.of({(3, 5), (4, 5)}, None, gray=True)
    rows = {"train": of_files(tmp_path, image=files)}
    parts, contents = placed(rows, "image", {"train": maps}, Segmentation, canvas, 0.2, room=10**6)
    assert {split: len(part) for split, part in parts.items()} == {"train": 28, "validation": 8, "test": 4}
    seen = []
    for split, part in parts.items():
        images = part.samples.take(torch.arange(len(part)), torch.zeros(len(part), dtype=torch.int64))
        assert isinstance(images, torch.Tensor)
        shades = [(int(value) - 1) // 10 for value in images[:, 0, 0, 0]]
        assert sorted(shades) == sorted(2 * [*set(shades)])
        assert [int(each[0, 0]) for each in part.targets] == [shade % 3 for shade in shades]
        assert len(set(contents[split])) == len(contents[split]) / 2
        seen += shades
    assert sorted(seen) == [place // 2 for place in range(number)]
