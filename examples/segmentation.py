"""Distills a small network that finds discs and squares in noisy pictures, pixel by pixel.

The pictures are made up. Nothing is downloaded.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from torch import Tensor

import limbeck
from limbeck import data


def pictures(count: int, seed: int, size: int = 32) -> tuple[Tensor, Tensor]:
    """(N, 3, size, size) pictures and (N, size, size) maps: 0 ground, 1 disc, 2 square, 255 at the edges."""
    drawn = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    images, maps = torch.empty(count, 3, size, size), torch.zeros(count, size, size, dtype=torch.int64)
    for image, labels in zip(images, maps, strict=True):
        image.copy_(0.3 * torch.rand(3, 1, 1, generator=drawn).expand(3, size, size))
        for shape in (1, 2, 1, 2):
            cx, cy = torch.randint(4, size - 4, (2,), generator=drawn)
            dx, dy = (x - cx).abs(), (y - cy).abs()
            inside = dx.square() + dy.square() < 20 if shape == 1 else torch.maximum(dx, dy) < 4
            image[:, inside] = torch.rand(3, 1, generator=drawn)
            labels[inside] = shape
        image += 0.1 * torch.randn(3, size, size, generator=drawn)
    maps[:, 0], maps[:, -1] = 255, 255  # does not count
    return images.clamp(0, 1), maps


def main(folder: str, epochs: int = 10) -> dict[str, float]:
    """The mean intersection over union on test pictures; the student's have few labels."""
    torch.set_num_threads(1)
    images, maps = pictures(400, seed=0)
    few = torch.full_like(maps, 255)
    few[:30] = maps[:30]
    given: dict[str, Any] = {
        "task": "segmentation",
        "names": ("ground", "disc", "square"),
        "test": pictures(100, seed=1),
    }
    everything = data.from_tensors(images, maps, name="all labels", **given)
    partly = data.from_tensors(images, few, name="30 labels", validation=None, **given)
    common: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": 20,
        "display": False,
        "settings": {"training.trackers": []},
    }
    small = "unet(channels=[4, 8])"
    teacher = limbeck.train(
        model="unet(channels=[16, 32, 64])", data=everything, out=f"{folder}/teacher", **common
    )
    alone = limbeck.train(model=small, data=partly, out=f"{folder}/alone", **common)
    distilled = limbeck.distill(
        student=small,
        teacher=teacher,
        data=partly,
        objective="ce + kd(temperature=2) + 3*cwd",
        out=f"{folder}/distilled",
        **common,
    )
    found = {}
    for name, run in {"teacher": teacher, "student alone": alone, "distilled": distilled}.items():
        found[name] = run.result.metrics.on("test")["miou"]
        print(f"{name}: mIoU {found[name]:.1%}, {run.result.student.parameters:,} parameters")
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(folder)
