"""benchmarks/speed: answers that are given for nothing."""

from pathlib import Path

import torch
from benchmarks.speed.maps import Given, pixels
from benchmarks.speed.networks import network

from limbeck import Distiller
from limbeck.data import Loader
from limbeck.teachers import CachedTeacher


def test_what_was_said_first_is_said_to_every_batch(tmp_path: Path) -> None:
    source = pixels(4)
    made = network("unet(channels=[2, 2])", source.example(), source.task.width)
    teacher = CachedTeacher(made, source, ("logits", "maps"), views=1, directory=tmp_path)
    given = Given(teacher)
    distiller = Distiller(
        network("unet(channels=[2, 2])", source.example(), source.task.width).train(),
        given,
        "ce + kd + at",
        example=source.example(),
        task=source.task,
    )
    assert given.cached == ("logits", "stages")
    first, second = Loader(source.train, 2, views=source.views, views_per_sample=1)
    before = teacher.shown
    for batch in (first, second, first):
        distiller(batch)
    assert teacher.shown - before == 2
    assert torch.equal(given(first).logits, given(second).logits)
    assert list(given(second)) == ["logits", "sides"]
