from __future__ import annotations

from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from class_counts import class_counts
from limbeck.data.digits import digits
from limbeck.data.split import Split
from limbeck.data.storage.base import Resident
from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED


def images(split: Split | None) -> Tensor:
    assert split is not None
    assert isinstance(split.samples, Resident)
    assert isinstance(split.samples.inputs, Tensor)
    return split.samples.inputs


def test_the_splits_part_the_scans() -> None:
    data = digits()
    assert [len(images(part)) for part in (data.train, data.validation, data.test)] == [1000, 297, 500]
    together = torch.cat([images(part) for part in (data.train, data.validation, data.test)])
    assert together.shape == (1797, 1, 8, 8)
    scans: Any = load_digits()
    levels = torch.tensor([0, 16, 32, 48, 64, 80, 96, 112, 128, 143, 159, 175, 191, 207, 223, 239, 255])
    expected = levels.to(torch.uint8)[torch.from_numpy(scans.images).long()]
    assert sorted(map(bytes, together.flatten(1).numpy())) == sorted(map(bytes, expected.flatten(1).numpy()))


def test_targets_belong_to_their_scans() -> None:
    scans: Any = load_digits()
    stored = (scans.images * (255 / 16)).round().astype("uint8")
    known = {bytes(image): label for image, label in zip(stored, scans.target, strict=True)}
    data = digits()
    for part in (data.train, data.validation, data.test):
        assert part is not None
        assert [known[bytes(image)] for image in images(part).flatten(1).numpy()] == part.targets.tolist()


def test_classes_are_in_proportion() -> None:
    data = digits()
    assert data.task.names == tuple("0123456789")
    assert data.validation is not None
    assert data.test is not None
    for part, least, most in ((data.train, 96, 102), (data.validation, 28, 31), (data.test, 48, 51)):
        counts = class_counts(part, 10)
        assert least <= int(counts.min()) <= int(counts.max()) <= most


def test_facts() -> None:
    data = digits()
    assert (data.name, data.kind, str(data.views)) == ("digits", "image", "crop(padding=1)")
    pixels = images(data.train).double() / 255
    assert data.mean == pytest.approx((pixels.mean().item(),))
    assert data.std == pytest.approx((pixels.std(correction=0).item(),))
    assert data.fingerprint() == "4bea49627f8b548b"  # pinned: figures are compared on this split


def test_labeled_hides_all_other_labels() -> None:
    everything, data = digits(), digits(labeled=100, seed=3)
    assert data.name == "digits(labeled=100, seed=3)"
    assert torch.equal(images(data.train), images(everything.train))
    assert class_counts(data.train, 10).tolist() == [10] * 10
    known = data.train.targets != UNLABELED
    assert torch.equal(data.train.targets[known], everything.train.targets[known])
    assert data.train.labeled().index.tolist() == known.nonzero().flatten().tolist()
    assert data.test is not None
    assert everything.test is not None
    assert torch.equal(data.test.targets, everything.test.targets)


def test_the_seed_picks_the_labels() -> None:
    first, again, other = (digits(labeled=50, seed=seed).train.targets for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (class_counts(digits(labeled=10).train, 10) == 1).all()
    assert torch.equal(digits(labeled=1000).train.targets, digits().train.targets)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labeled": 9}, "labeled should be 10 to 1000 scans, not 9"),
        ({"labeled": 1001}, "not 1001"),
        ({"labeled": 0.5}, "not 0.5"),
        ({"labeled": 100, "seed": "a"}, "seed should be an integer, not 'a'"),
        ({"seed": 1}, "the seed picks which labels to keep"),
    ],
)
def test_refuses(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        digits(**arguments)
