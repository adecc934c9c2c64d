"""Figure 2: whole epochs on photographs, against loops in plain PyTorch."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.speed.contest import alternate, seconds
from benchmarks.speed.loop import KD, ask, some, tensors, train
from benchmarks.speed.networks import PAIRS, network
from benchmarks.speed.plain import Images, PlainLoop
from limbeck import Distiller
from limbeck.data import Loader, Source
from limbeck.errors import LimbeckError
from limbeck.models import Normalization
from limbeck.outputs import Batch
from limbeck.teachers import CachedTeacher, LiveTeacher, Teacher
from limbeck.training import Trainer

PLAIN, MODERN = "plain loop", "bf16 loop"
LIVE, ALONE = "limbeck, live teacher", "limbeck, student alone"
COLD, HALF, WARM = "limbeck, cold", "limbeck, half known", "limbeck, warm"
COMPILED = "limbeck, warm, compiled"
WHOLE = 50_000
"""Images of an epoch of CIFAR-100."""
EPOCHS = 240
"""Of a run, as the public benchmarks train."""
STUDIES = {"1 run": 1, "6 runs": 6}
VIEWS = (4, 16, 162)


def measure(
    device: str, batch_size: int, source: Source, cache: Path, *, repetitions: int, workers: int
) -> dict[str, Any]:
    """Seconds of an epoch by pair of networks, contender and repetition.

    The plain loops compete without loader workers and with so many. In each repetition a cold epoch or one
    that is half known comes before the warm ones, and leaves the cache full.
    """
    took = {
        pair: alternate(
            contenders(device, batch_size, source, cache / names[1], *names, workers), repetitions
        )
        for pair, names in PAIRS.items()
    }
    return {"images": len(source.train), "workers": workers, "seconds": took}


def contenders(
    device: str, batch_size: int, source: Source, cache: Path, teacher: str, student: str, workers: int
) -> dict[str, Callable[[], float]]:
    """Each goes through the images once and says how long it took, after two steps to warm up."""
    loader = Loader(source.train, batch_size, views=source.views, device=device)
    loader.set_epoch(1)  # whose views are not those of the epoch that is measured
    warm_up = some(loader, 2)
    example = tensors(warm_up[0])[0].cpu()
    pixels = source.train.samples.take(source.train.index, source.train.index)
    assert isinstance(pixels, Tensor)

    def plain(workers: int, *, modern: bool) -> Callable[[], float]:
        loop = PlainLoop(
            network(student, example, source.task.width),
            network(teacher, example, source.task.width),
            Images(pixels, source.train.targets, source.mean, source.std),
            batch_size,
            workers,
            modern=modern,
            device=device,
        )
        for batch in warm_up:
            loop.step(*tensors(batch))
        return lambda: seconds(loop.epoch, device)

    normalization = Normalization(source.mean, source.std)
    learning, teaching = (
        network(name, example, source.task.width, normalization).to(device) for name in (student, teacher)
    )

    trainer = Trainer(device=device, display=False)

    def limbeck(
        objective: str, teacher: Callable[[], Teacher | None], trainer: Trainer = trainer
    ) -> Callable[[], float]:
        def run() -> float:
            distiller = Distiller(
                copy.deepcopy(learning), teacher(), objective, example=example[:2], data=loader
            )
            loader.set_epoch(0)  # the views of the cold epoch are those of the warm one
            return train(trainer, distiller, warm_up, loader)

        return run

    def cold() -> Teacher:
        shutil.rmtree(cache, ignore_errors=True)
        return warm()

    def half() -> Teacher:
        teacher = cold()
        teacher.open(example[:2], ("logits",))
        loader.set_epoch(0)
        ask(teacher, map(every_other, loader), trainer)
        return teacher

    def warm() -> Teacher:
        return CachedTeacher(teaching, source, directory=cache)

    found = {
        f"{kind}, {count} workers": plain(count, modern=kind == MODERN)
        for kind in (PLAIN, MODERN)
        for count in (0, workers)
    }
    found |= {
        LIVE: limbeck(KD, lambda: LiveTeacher(teaching)),
        COLD: limbeck(KD, cold),
        HALF: limbeck(KD, half),
        WARM: limbeck(KD, warm),
        ALONE: limbeck("ce", lambda: None),
    }
    try:
        compiling = Trainer(device=device, compile=True, display=False)
    except LimbeckError as error:
        print(f"{COMPILED} is left out: {error}", flush=True)
        return found
    return {**found, COMPILED: limbeck(KD, warm, compiling)}


def every_other(batch: Batch) -> Batch:
    """Half of the samples of a batch."""
    assert batch.index is not None
    assert batch.view is not None
    return Batch(tensors(batch)[0][::2], index=batch.index[::2], view=batch.view[::2])


def fastest(took: Mapping[str, Sequence[float]], kind: str) -> str:
    """The plain loop of a kind that gains most from its workers, or from having none."""
    return min((name for name in took if name.startswith(kind)), key=lambda name: median(took[name]))


def asked(views: int, epochs: int) -> float:
    """Different views of an image that so many epochs are expected to draw among so many, each alike.

    With K views and E epochs, K (1 - (1 - 1/K)^E).
    """
    return views * (1 - (1 - 1 / views) ** epochs)


def total(cold: float, half: float, warm: float, views: int, epochs: int) -> float:
    """What so many epochs take with the filling of the cache, from what three epochs take.

    After e epochs a share (1 - 1/K)^e of the K views is not known yet. What an epoch takes is interpolated by
    that share, linearly between a warm one (0), one that is half known (1/2) and a cold one (1).
    """
    unknown = np.power(1 - 1 / views, np.arange(epochs))
    return float(np.interp(unknown, (0, 0.5, 1), (warm, half, cold)).sum())
