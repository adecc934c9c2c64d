from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from class_counts import class_counts
from glyph_files import some_scans, write_mnist
from limbeck.data import load
from limbeck.data.split import Split
from limbeck.data.storage.base import Resident
from limbeck.data.synthetic.digits import default_images, synthetic_digits
from limbeck.errors import LimbeckError


def images(split: Split | None) -> Tensor:
    assert split is not None
    assert isinstance(split.samples, Resident)
    assert isinstance(split.samples.inputs, Tensor)
    return split.samples.inputs


def test_facts() -> None:
    data = synthetic_digits(classes=12, images_per_class=30)
    assert data.name == 'synthetic_digits(classes=12, images_per_class=30, glyphs="digits", seed=0)'
    assert load(data.name).fingerprint() == data.fingerprint()
    assert load("synthetic-digits(classes=12, images_per_class=30)").fingerprint() == data.fingerprint()
    assert (data.kind, str(data.views), data.task.width) == ("image", "none", 12)
    assert data.task.names == tuple(f"{label:02}" for label in range(12))
    assert images(data.train).shape == (360, 1, 32, 32)
    assert images(data.train).dtype == torch.uint8
    for split, each in ((data.train, 30), (data.validation, 5), (data.test, 5)):
        assert split is not None
        assert class_counts(split, 12).tolist() == [each] * 12


@pytest.mark.parametrize(
    ("classes", "each"), [(2, 600), (10, 600), (100, 600), (101, 594), (200, 300), (500, 120), (1000, 120)]
)
def test_images_a_class_by_default(classes: int, each: int) -> None:
    assert default_images(classes) == each


def test_the_default_is_used() -> None:
    assert len(synthetic_digits(classes=2).train) == 1200


def test_the_seed_decides() -> None:
    first, again, other = (synthetic_digits(4, 6, seed=seed) for seed in (1, 1, 2))
    assert first.fingerprint() == again.fingerprint()
    assert not torch.equal(images(first.train), images(other.train))
    assert not torch.equal(images(first.test), images(first.validation))


def test_a_thousand_classes() -> None:
    data = synthetic_digits(classes=1000, images_per_class=1)
    assert data.task.names[37] == "037"
    assert len(data.train) == 1000


def test_every_split_is_made_of_scans_of_its_own(tmp_path: Path) -> None:
    """Every scan has a brightness of its own, which shows in the middle of its images."""
    scans, shown = some_scans(25)
    write_mnist(tmp_path, scans, shown)
    data = synthetic_digits(classes=10, images_per_class=300, glyphs=str(tmp_path))
    found = [set(images(split)[:, 0, 16, 16].tolist()) for split in (data.train, data.validation, data.test)]
    train, validation, test = found
    assert set.union(*found) <= set(range(5, 255))
    assert len(train) > 200
    assert len(validation) >= 10
    assert len(test) >= 10
    assert not train & validation
    assert not train & test
    assert not validation & test


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": 1}, "synthetic_digits: the argument classes=1 should be greater than or equal to 2"),
        ({"classes": 10_001}, "less than or equal to 10000"),
        ({"classes": 2.5}, "classes=2.5 should be a valid integer"),
        ({"images_per_class": 0}, "images_per_class=0"),
        ({"seed": "a"}, "seed"),
        ({"glyphs": 3}, "glyphs=3"),
        ({"glyphs": "nowhere"}, "no MNIST files at 'nowhere'"),
    ],
)
def test_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        synthetic_digits(**arguments)
