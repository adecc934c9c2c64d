from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from limbeck.data import Source, from_tensors
from limbeck.data.views import Crop
from limbeck.outputs import UNLABELED, Inputs


def plain(inputs: Inputs) -> Tensor:
    """The inputs, known to be one tensor."""
    assert isinstance(inputs, Tensor)
    return inputs


def source(**changes: Any) -> Source:
    images = torch.arange(12 * 2 * 3 * 3).remainder(251).to(torch.uint8).view(12, 2, 3, 3)
    targets = torch.arange(12) % 3
    arguments = {"test": (images[:3].flip(0), targets[:3]), "validation": None, **changes}
    return from_tensors(images, targets, **arguments)


def test_the_example_is_what_networks_take() -> None:
    data = source(views=Crop(padding=1, flip=True))
    assert torch.equal(plain(data.example()), torch.arange(36).view(2, 2, 3, 3) / 255)
    assert plain(data.example(5)).shape == (5, 2, 3, 3)


def test_num_classes_counts_names() -> None:
    assert source(names=["a", "b", "c", "d"]).task.width == 4


def test_the_fingerprint_is_of_the_content() -> None:
    data = source()
    assert data.fingerprint() == source(name="another", views="crop").fingerprint()
    relabeled = replace(data, train=replace(data.train, targets=data.train.targets.flip(0)))
    others = [source(num_classes=4), source(test=None), source(validation=0.4), relabeled]
    assert data.test is not None
    others.append(replace(data, train=data.test, test=data.train))
    assert len({part.fingerprint() for part in (data, *others)}) == 6


def test_a_source_is_printed_in_one_line() -> None:
    assert repr(source(name="things")) == (
        "<Source things: classification, 12 training, 3 test samples, views none>"
    )


def test_so_are_its_parts() -> None:
    data = source()
    few = replace(data.train, targets=data.train.targets.index_fill(0, torch.arange(5), UNLABELED))
    assert repr(few) == "<Split of 12 samples, 7 with a label: classification>"
    assert repr(few.samples) == "<Resident of 12 samples>"
    assert "tensor" not in repr(data.data_facts())
