from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from torch import Tensor

from class_counts import class_counts
from limbeck.data import SOURCES, load
from limbeck.data.views import Crop
from limbeck.errors import LimbeckError
from picture_files import pixels, png, write_parquet

CIFAR100 = Path(__file__).parents[2].parent / "shared" / "data" / "cifar100"
shared = pytest.mark.skipif(not CIFAR100.is_dir(), reason="needs ../shared/data/cifar100")

LAYOUTS: dict[str, tuple[str, dict[str, int], str, str, int, int]] = {
    # hub, rows by split, image, label, side, channels
    "cifar10": ("uoft-cs/cifar10", {"train": 40, "test": 6}, "img", "label", 32, 3),
    "cifar100": ("uoft-cs/cifar100", {"train": 40, "test": 6}, "img", "fine_label", 32, 3),
    "fashion_mnist": ("zalando-datasets/fashion_mnist", {"train": 40, "test": 6}, "image", "label", 28, 1),
    "stl10": ("tanganke/stl10", {"train": 40, "test": 6}, "image", "label", 96, 3),
    "tiny_imagenet": ("zh-plus/tiny-imagenet", {"train": 40, "valid": 6}, "image", "label", 64, 3),
}


def write(folder: Path, name: str) -> Tensor:
    """Files laid out like the public ones; the test images."""
    _, counts, image, label, side, channels = LAYOUTS[name]
    for split, count in counts.items():
        shown = pixels(count, side, side, channels)
        labels: dict[str, list[int | None]] = {label: [number % 2 for number in range(count)]}
        names = {label: ["no", "yes"]}
        if name == "cifar100":
            labels["coarse_label"] = [0 if number % 4 < 3 else 1 for number in range(count)]
            names["coarse_label"] = ["many", "few"]
        files = [png(each) for each in shown]
        write_parquet(
            folder / f"{split}-00000-of-00001-70d52db3c749a935.parquet", files, labels, names, image
        )
    return torch.from_numpy(shown)


@pytest.mark.parametrize("name", LAYOUTS)
def test_files_laid_out_like_the_public_ones(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, counts, _, _, side, channels = LAYOUTS[name]
    shown = write(tmp_path, name)
    source = load(name, tmp_path)
    assert source.name == name
    assert source.task.names == ("no", "yes")
    assert source.views == Crop(padding=side // 8, flip=True)
    assert source.validation is not None
    assert source.test is not None
    assert [len(part) for part in (source.train, source.validation, source.test)] == [36, 4, 6]
    images = source.test.samples.take(source.test.index, source.test.index)
    assert isinstance(images, Tensor)
    assert torch.equal(images, shown)
    assert images.shape[1:] == (channels, side, side)
    assert source.test.targets.tolist() == [0, 1] * 3

    rows = {
        split: datasets.Dataset.from_parquet(
            str(next(tmp_path.glob(f"{split}-*"))), cache_dir=str(tmp_path / "cache")
        )
        for split in counts
    }
    monkeypatch.setattr(datasets, "load_dataset", lambda path: {hub: rows}[path])
    monkeypatch.chdir(tmp_path)
    assert load(name).fingerprint() == source.fingerprint()


def test_arguments_reach_the_data_and_the_name(tmp_path: Path) -> None:
    write(tmp_path, "cifar100")
    spec = 'cifar100(label="coarse_label", size=16, train=20, labeled=8, seed=1, validation=0)'
    source = load(spec, tmp_path, memory="1 GB")
    assert source.name == spec
    assert source.task.names == ("many", "few")
    assert source.validation is None
    assert class_counts(source.train, 2).tolist() == [6, 2]
    images = source.train.samples.take(source.train.index, source.train.index)
    assert isinstance(images, Tensor)
    assert images.shape == (20, 3, 16, 16)


def test_files_of_another_data_set_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "tiny_imagenet")
    with pytest.raises(LimbeckError, match=r"unknown column of .*: 'img'"):
        load("cifar10", tmp_path)
    with pytest.raises(LimbeckError, match="unknown argument of cifar10 'labelled'"):
        load("cifar10(labelled=5)", tmp_path)


def test_each_says_where_it_comes_from() -> None:
    for name, (hub, *_) in LAYOUTS.items():
        assert hub in (SOURCES[name].make.__doc__ or "")


@shared
def test_the_real_cifar100(tmp_path: Path) -> None:
    for split in ("train", "test"):  # the training split takes its seconds
        (tmp_path / f"{split}.parquet").symlink_to(CIFAR100 / "test-00000-of-00001.parquet")
    source = load("cifar100(train=100, validation=0)", tmp_path)
    assert source.task.width == 100
    assert source.task.names[:2] == ("apple", "aquarium_fish")
    assert class_counts(source.train, 100).tolist() == [1] * 100
    assert source.test is not None
    assert class_counts(source.test, 100).tolist() == [100] * 100
    images: Any = source.test.samples.take(source.test.index, source.test.index)
    assert images.shape == (10_000, 3, 32, 32)
    mean = images.double().mean((0, 2, 3)) / 255
    assert mean.tolist() == pytest.approx([0.5088, 0.4874, 0.4419], abs=1e-4)  # known of the test split
