"""The public image data sets of the field, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from limbeck.arguments import Count
from limbeck.data.files.images import Held, from_images
from limbeck.data.registry import written
from limbeck.data.source import Source


def _public(
    name: str,
    hub: str,
    what: str,
    *,
    image: str = "image",
    labels: str = "label",
    test: str = "test",
    gray: bool = False,
) -> Callable[..., Source]:
    """What makes a data set of the Hugging Face hub.

    Args:
        name: of it here.
        hub: its name there.
        what: the first lines of its documentation.
        image: the column of the images.
        labels: the column of the classes.
        test: what its test split is called.
        gray: whether its images have one channel.
    """

    def make(
        label: str = labels,
        size: Count | None = None,
        train: Count | None = None,
        labeled: Count | None = None,
        seed: int = 0,
        validation: Held = 0.1,
        memory: str = "auto",
        data_dir: Path | None = None,
    ) -> Source:
        given: dict[str, Any] = {
            "label": label,
            "size": size,
            "train": train,
            "labeled": labeled,
            "seed": seed,
            "validation": validation,
        }
        source = from_images(
            hub if data_dir is None else "",
            image=image,
            test=test,
            gray=gray,
            memory=memory,
            data_dir=data_dir,
            **given,
        )
        return replace(source, name=written(name, make, given))

    make.__doc__ = f"""{what}

    A tenth of the training images of each class is held out for validation, always the same.

    Args:
        label: the column of the classes.
        size: pixels a side, to scale the images to; see `limbeck data images`, also for what follows.
        train: how many training images to use, every class in proportion; all by default.
        labeled: how many of them keep their label.
        seed: of the choice of both.
        validation: the share that is held out; 0 holds nothing out.
        memory: what decoded images may take; half of the free memory by default.
        data_dir: where the files of the public data set are; without it they come from the Hugging Face hub,
            as {hub}.
    """
    return make


cifar10 = _public(
    "cifar10",
    "uoft-cs/cifar10",
    "Photographs of animals and vehicles, 32 x 32: 50,000 to train on and 10,000 for test, 10 classes.",
    image="img",
)
cifar100 = _public(
    "cifar100",
    "uoft-cs/cifar100",
    """Photographs, 32 x 32: 50,000 to train on and 10,000 for test, 100 classes.

    `label="coarse_label"` takes the 20 superclasses instead.""",
    image="img",
    labels="fine_label",
)
fashion_mnist = _public(
    "fashion_mnist",
    "zalando-datasets/fashion_mnist",
    "Pictures of clothes in gray, 28 x 28: 60,000 to train on and 10,000 for test, 10 classes.",
    gray=True,
)
stl10 = _public(
    "stl10",
    "tanganke/stl10",
    "Photographs of animals and vehicles, 96 x 96: 5,000 to train on and 8,000 for test, 10 classes.",
)
tiny_imagenet = _public(
    "tiny_imagenet",
    "zh-plus/tiny-imagenet",
    """Photographs, 64 x 64: 100,000 to train on and 10,000 for test, 200 classes.

    The test split is what is published as the validation split, as the real one has no labels.""",
    test="valid",
)
