"""A step of methods that read maps: with a live teacher, with a cached one, and with answers for nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import nn

import limbeck
from benchmarks.speed.contest import Timed, alternate
from benchmarks.speed.loop import ask, some, train
from benchmarks.speed.networks import network, noise
from limbeck import Distiller, data
from limbeck.data import Loader, Source
from limbeck.outputs import Batch, Inputs, Outputs
from limbeck.teachers import CachedTeacher, Teacher
from limbeck.training import Trainer

ALONE = "ce"
LIVE, CACHED, GIVEN = "live", "cached", "given"
IMAGES = {
    "at": "ce + 1000*at",
    "fitnet": "ce + 100*fitnet",
    "reviewkd": "ce + 5*reviewkd",
    "nst": "ce + 50*nst",
    "vid": "ce + vid",
    "simkd": "simkd",
}
PIXELS = {"kd, pixels": "0.5*ce + 0.5*kd(temperature=2)", "cwd, pixels": "ce + 3*cwd"}
"""Objectives on images of 32 x 32, by resnet32x4 and resnet8x4; and on maps of classes."""
CLASSES, SIDES = 12, (96, 128)
WARM_UP = 3


class Given(Teacher):
    """Says to every batch what another teacher said to the first one, for nothing.

    Args:
        teacher: the other, which is cached.
    """

    def __init__(self, teacher: CachedTeacher) -> None:
        self._teacher, self.keeps = teacher, teacher.keeps
        self._said: Outputs | None = None

    @property
    def network(self) -> nn.Module:
        """The other's."""
        return self._teacher.network

    def open(self, example: Inputs, fields: Sequence[str]) -> None:
        """Opens the other."""
        self._teacher.width, self._teacher.dense = self.width, self.dense
        self._teacher.sides = self.sides
        self._teacher.open(example, fields)
        self.points, self.cached, self._said = self._teacher.points, self._teacher.cached, None

    def sample(self, inputs: Inputs) -> Outputs:
        """The other's answers."""
        return self._teacher.sample(inputs)

    def __call__(self, batch: Batch) -> Outputs:
        """What the other said first."""
        if self._said is None:
            self._said = self._teacher(batch)
        return self._said


def measure(
    device: str, batch_size: int, cache: Path, *, repetitions: int, steps: int, size: int
) -> dict[str, Any]:
    """Seconds of a step by setting, contender and repetition, and bytes that are read for an image.

    Args:
        device: "cpu" or "cuda".
        batch_size: of a step on images; a quarter of it on pixels.
        cache: directory of the cached teachers' files.
        repetitions: turns of each contender.
        steps: of a turn, after a few that warm up.
        size: of the training set of images, all of whose answers are in the cache; a quarter of it on pixels.
    """
    trainer = Trainer(device=device, display=False)
    settings = {
        "images": (noise(size, 100), "resnet32x4", "resnet8x4", batch_size, IMAGES),
        "pixels": (
            pixels(size // 4),
            "unet(channels=[32, 64, 128])",
            "deeplab(channels=[16, 32, 64, 128], width=64)",
            batch_size // 4,
            PIXELS,
        ),
    }
    seconds: dict[str, dict[str, list[float]]] = {}
    read: dict[str, int] = {}
    for name, (source, teacher, student, batch, objectives) in settings.items():
        setting = Setting(trainer, source, teacher, student, batch, cache, steps)
        contenders = {ALONE: setting.taught("ce", None)}
        for method, objective in objectives.items():
            contenders |= setting.contenders(method, objective)
        seconds[name] = alternate(contenders, repetitions)
        read |= setting.read
    return {"precision": trainer.precision, "size": size, "seconds": seconds, "bytes": read}


def pixels(size: int) -> Source:
    """Random images with a random class for each pixel."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (size, 3, *SIDES), dtype=torch.uint8, generator=generator)
    maps = torch.randint(CLASSES, (size, *SIDES), generator=generator)
    return data.from_tensors(
        images,
        maps,
        task="segmentation",
        validation=None,
        num_classes=CLASSES,
        views="crop(padding=4, flip=true)",
        name="noise",
    )


class Setting:
    """Two networks, the images that they are shown, and the contenders on them."""

    def __init__(
        self,
        trainer: Trainer,
        source: Source,
        teacher: str,
        student: str,
        batch_size: int,
        cache: Path,
        steps: int,
    ) -> None:
        self.trainer, self.source, self.cache, self.steps = trainer, source, cache, steps
        device = trainer.device.type
        self.loader = Loader(source.train, batch_size, views=source.views, views_per_sample=1, device=device)
        self.epochs = count()
        self.read: dict[str, int] = {}
        example = source.example()
        self.teacher, self.student = (
            network(name, example, source.task.width).to(device) for name in (teacher, student)
        )

    def batches(self) -> list[Batch]:
        """Those of one turn, other ones each time."""
        self.loader.set_epoch(next(self.epochs))
        return some(self.loader, WARM_UP + self.steps)

    def contenders(self, method: str, objective: str) -> Mapping[str, Callable[[], float]]:
        """A method with its three teachers."""
        kept = [
            CachedTeacher(self.teacher, self.source, _EVERYTHING, views=1, directory=self.cache)
            for _ in range(2)
        ]
        given = self.taught(objective, Given(kept[0]))
        found = {
            f"{method}, {LIVE}": self.taught(objective, self.teacher),
            f"{method}, {CACHED}": self.taught(objective, kept[1]),
            f"{method}, {GIVEN}": given,
        }
        for _ in range(2):  # the second pass finds every checksum right, which is then known
            ask(kept[1], self.loader, self.trainer)
        self.read[method] = sum(kept[1].bytes_of_view().values()) // len(self.source.train)
        return found

    def taught(self, objective: str, teacher: Teacher | nn.Module | None) -> Callable[[], float]:
        distiller = Distiller(
            copy.deepcopy(self.student),
            teacher,
            objective,
            example=self.source.example(),
            data=self.loader,
            task=self.source.task,
        )
        limbeck.prepare(distiller, self.batches(), display=False, device=self.trainer.device.type)

        def run() -> float:
            timed = Timed(self.batches(), WARM_UP, self.trainer.device.type)
            train(self.trainer, distiller, timed)
            return timed.step

        return run


_EVERYTHING = ("logits", "embedding", "maps")
