"""Distills a network of your own from a folder of images, and measures what the student costs and gains.

The images are scans of digits that come with scikit-learn, written as PNG files in a folder for each class.
Nothing is downloaded.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn

import limbeck


class Separable(nn.Module):
    """Your own network: any `nn.Module` that turns images into logits."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.each = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.mixed = nn.Conv2d(width, 2 * width, 1)
        self.norm = nn.BatchNorm2d(2 * width)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, images: Tensor) -> Tensor:
        features = self.mixed(self.each(self.first(images).relu())).relu()
        logits: Tensor = self.head(self.norm(features).amax((2, 3)))
        return logits


def written(folder: Path) -> Path:
    """Writes the scans: 1,000 to learn from, the others for the test."""
    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        place = folder / ("train" if number < 1000 else "test") / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15).astype("uint8")).save(place / f"{number}.png")
    return folder


def main(folder: str, epochs: int = 30) -> dict[str, float]:
    """Top-1 on the test images."""
    torch.set_num_threads(1)
    images = f'images(path="{written(Path(folder, "digits"))}", labeled=100)'
    settings = {"training.trackers": [], "training.optimizer": "adamw"}
    common: dict[str, Any] = {"epochs": epochs, "lr": 0.01, "display": False, "settings": settings}
    everything = images.replace(", labeled=100", "")
    teacher = limbeck.train(
        model="cnn(channels=[32, 64])", data=everything, out=f"{folder}/teacher", **common
    )
    torch.manual_seed(0)
    student = Separable(16)
    run = limbeck.distill(
        student=student,
        teacher=teacher,
        data=images,
        objective="ce + kd(temperature=4)",
        baseline="auto",
        out=f"{folder}/student",
        **common,
    )
    assert run.alone is not None
    found = {}
    for name, each in {"teacher": teacher, "student alone": run.alone, "distilled": run}.items():
        found[name] = each.result.metrics.on("test")["top1"]
        print(f"{name}: {found[name]:.1%} of the test images, {each.result.student.parameters:,} parameters")
    print(f"report: {run.path / 'report.html'}")
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(folder)
