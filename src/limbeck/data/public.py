"""The public image data sets of the field, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from limbeck.arguments import Count
from limbeck.data.files.images import Held, from_images
from limbeck.data.registry import written
from limbeck.data.source import Source


@dataclass(frozen=True)
class _Choice:
    """The arguments that choose what is taken of a data set; `from_images` explains them."""

    label: str
    size: int | None
    train: int | None
    labeled: int | None
    seed: int
    validation: float


def cifar10(
    label: str = "label",
    size: Count | None = None,
    train: Count | None = None,
    labeled: Count | None = None,
    seed: int = 0,
    validation: Held = 0.1,
    memory: str = "auto",
    data_dir: Path | None = None,
) -> Source:
    """Photographs of animals and vehicles, 32 x 32: 50,000 to train on and 10,000 for test, 10 classes.

    A tenth of the training images of each class is held out for validation, always the same. The files are
    downloaded from the Hugging Face hub, as uoft-cs/cifar10, or are in `data_dir`. `limbeck data images`
    explains the arguments.
    """
    choice = _Choice(label, size, train, labeled, seed, validation)
    return _read(cifar10, "uoft-cs/cifar10", choice, memory, data_dir, image="img")


def cifar100(
    label: str = "fine_label",
    size: Count | None = None,
    train: Count | None = None,
    labeled: Count | None = None,
    seed: int = 0,
    validation: Held = 0.1,
    memory: str = "auto",
    data_dir: Path | None = None,
) -> Source:
    """Photographs, 32 x 32: 50,000 to train on and 10,000 for test, 100 classes.

    `label="coarse_label"` takes the 20 superclasses instead.

    A tenth of the training images of each class is held out for validation, always the same. The files are
    downloaded from the Hugging Face hub, as uoft-cs/cifar100, or are in `data_dir`. `limbeck data images`
    explains the arguments.
    """
    choice = _Choice(label, size, train, labeled, seed, validation)
    return _read(cifar100, "uoft-cs/cifar100", choice, memory, data_dir, image="img")


def fashion_mnist(
    label: str = "label",
    size: Count | None = None,
    train: Count | None = None,
    labeled: Count | None = None,
    seed: int = 0,
    validation: Held = 0.1,
    memory: str = "auto",
    data_dir: Path | None = None,
) -> Source:
    """Pictures of clothes in gray, 28 x 28: 60,000 to train on and 10,000 for test, 10 classes.

    A tenth of the training images of each class is held out for validation, always the same. The files are
    downloaded from the Hugging Face hub, as zalando-datasets/fashion_mnist, or are in `data_dir`.
    `limbeck data images` explains the arguments.
    """
    choice = _Choice(label, size, train, labeled, seed, validation)
    return _read(fashion_mnist, "zalando-datasets/fashion_mnist", choice, memory, data_dir, gray=True)


def stl10(
    label: str = "label",
    size: Count | None = None,
    train: Count | None = None,
    labeled: Count | None = None,
    seed: int = 0,
    validation: Held = 0.1,
    memory: str = "auto",
    data_dir: Path | None = None,
) -> Source:
    """Photographs of animals and vehicles, 96 x 96: 5,000 to train on and 8,000 for test, 10 classes.

    A tenth of the training images of each class is held out for validation, always the same. The files are
    downloaded from the Hugging Face hub, as tanganke/stl10, or are in `data_dir`. `limbeck data images`
    explains the arguments.
    """
    choice = _Choice(label, size, train, labeled, seed, validation)
    return _read(stl10, "tanganke/stl10", choice, memory, data_dir)


def tiny_imagenet(
    label: str = "label",
    size: Count | None = None,
    train: Count | None = None,
    labeled: Count | None = None,
    seed: int = 0,
    validation: Held = 0.1,
    memory: str = "auto",
    data_dir: Path | None = None,
) -> Source:
    """Photographs, 64 x 64: 100,000 to train on and 10,000 for test, 200 classes.

    The test split is what is published as the validation split, as the real one has no labels.

    A tenth of the training images of each class is held out for validation, always the same. The files are
    downloaded from the Hugging Face hub, as zh-plus/tiny-imagenet, or are in `data_dir`.
    `limbeck data images` explains the arguments.
    """
    choice = _Choice(label, size, train, labeled, seed, validation)
    return _read(tiny_imagenet, "zh-plus/tiny-imagenet", choice, memory, data_dir, test="valid")


def _read(
    make: Callable[..., Source],
    hub: str,
    choice: _Choice,
    memory: str,
    data_dir: Path | None,
    *,
    image: str = "image",
    test: str = "test",
    gray: bool = False,
) -> Source:
    """The source of a public data set.

    Args:
        make: function of the data set, by whose name and defaults the source is named.
        hub: name of the data set on the Hugging Face hub.
        choice: what is taken of it.
        memory: room for decoded images.
        data_dir: directory of the files; None for the hub.
        image: column of the images.
        test: name of the test split.
        gray: whether the images have one channel.
    """
    source = from_images(
        hub if data_dir is None else "",
        image=image,
        test=test,
        gray=gray,
        memory=memory,
        data_dir=data_dir,
        label=choice.label,
        size=choice.size,
        train=choice.train,
        labeled=choice.labeled,
        seed=choice.seed,
        validation=choice.validation,
    )
    return replace(source, name=written(make.__name__, make, asdict(choice)))
