"""Figure 2: whole epochs on photographs, against loops in plain PyTorch."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contest import alternate, seconds
from loop import KD, some, tensors, train
from networks import PAIRS, network
from plain import Images, PlainLoop
from torch import Tensor

from limbeck import Distiller
from limbeck.data import Loader, Source
from limbeck.models import Normalisation
from limbeck.teachers import CachedTeacher, LiveTeacher, Teacher
from limbeck.training import Trainer

PLAIN, MODERN = "plain PyTorch", "plain PyTorch, bf16 + channels-last"
LIVE, COLD, WARM, ALONE = "limbeck, live teacher", "limbeck, cold", "limbeck, warm", "limbeck, student alone"
WHOLE = 50_000
"""Images of an epoch of CIFAR-100."""
EPOCHS = 240
"""Of a run, as the public benchmarks train."""
STUDIES = {"1 run": 1, "6 runs": 6}
VIEWS = (4, 16, 162)


def measure(
    device: str, batch_size: int, source: Source, cache: Path, *, repetitions: int, workers: int
) -> dict[str, Any]:
    """Seconds of an epoch by pair of networks, contender and repetition."""
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

    def plain(*, modern: bool) -> Callable[[], float]:
        loop = PlainLoop(
            network(student, example, source.num_classes),
            network(teacher, example, source.num_classes),
            Images(pixels, source.train.targets, source.mean, source.std),
            batch_size,
            workers,
            modern=modern,
            device=device,
        )
        for batch in warm_up:
            loop.step(*tensors(batch))
        return lambda: seconds(loop.epoch, device)

    normalisation = Normalisation(source.mean, source.std)
    learning, teaching = (
        network(name, example, source.num_classes, normalisation).to(device) for name in (student, teacher)
    )

    trainer = Trainer(device=device, display=False)

    def limbeck(objective: str, ask: Callable[[], Teacher | None]) -> Callable[[], float]:
        def run() -> float:
            distiller = Distiller(copy.deepcopy(learning), ask(), objective, example=example[:2], data=loader)
            loader.set_epoch(0)  # the views of the cold epoch are those of the warm one
            return train(trainer, distiller, warm_up, loader)

        return run

    def cached(*, anew: bool) -> Teacher:
        if anew:
            shutil.rmtree(cache, ignore_errors=True)
        return CachedTeacher(teaching, source, directory=cache)

    return {
        PLAIN: plain(modern=False),
        MODERN: plain(modern=True),
        LIVE: limbeck(KD, lambda: LiveTeacher(teaching)),
        COLD: limbeck(KD, lambda: cached(anew=True)),
        WARM: limbeck(KD, lambda: cached(anew=False)),
        ALONE: limbeck("ce", lambda: None),
    }


def asked(views: int, epochs: int) -> float:
    """Different views of an image that so many epochs are expected to draw among so many, each alike.

    With K views and E epochs, K (1 - (1 - 1/K)^E).
    """
    return views * (1 - (1 - 1 / views) ** epochs)


def total(cold: float, warm: float, views: int, epochs: int) -> float:
    """What so many epochs take with the filling of the cache, from what a cold and a warm one take.

    Every epoch costs a warm one; an image whose view is asked for the first time costs what a cold epoch
    takes beyond that.
    """
    return epochs * warm + asked(views, epochs) * (cold - warm)
