"""A simple data set with as many classes as one likes: the class number in handwritten digits.

The synthesized data of LW-KD (Liu, Zhang & Wang, 2020, arXiv:2005.09163). The paper's abstract asks for a
simple set whose number of classes can be chosen; what is in its images was chosen here.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from limbeck.arguments import Count, checked_arguments
from limbeck.data.build import from_tensors
from limbeck.data.source import Source
from limbeck.data.synthetic.compose import compose, places
from limbeck.data.synthetic.glyphs import read_glyphs
from limbeck.notation import Call
from limbeck.seeds import seed_for


def synthetic_digits(
    classes: Annotated[int, Field(ge=2, le=10_000)] = 100,
    images_per_class: Count | None = None,
    glyphs: str = "digits",
    seed: int = 0,
) -> Source:
    """Images (1, 32, 32) of the class number in handwritten digits: class 37 of 100 is a 3 and a 7.

    Ten classes take one digit, a hundred two, a thousand three, with leading zeros. Every digit of every
    image is a scan drawn at random, shifted, scaled and slanted a little. Images of the validation and the
    test split are made of scans that no training image shows.

    Args:
        classes: how many.
        images_per_class: to train on. Left out: 600; from 100 classes on 60,000 in all, but never under 120
            a class. Validation and test have a sixth as many each.
        glyphs: where the scans come from: "digits", the training split of `digits` (and nothing of its
            validation and test splits); or MNIST's files, by their directory or by the path up to
            "-images-idx3-ubyte".
        seed: random seed of the images.
    """
    given = {"classes": classes, "images_per_class": images_per_class, "glyphs": glyphs, "seed": seed}
    checked_arguments("synthetic_digits", synthetic_digits, (), given)
    scans = read_glyphs(glyphs)
    count = images_per_class or default_images(classes)
    splits = {}
    for split, each in (("train", count), ("validation", -(-count // 6)), ("test", -(-count // 6))):
        labels = torch.arange(classes).repeat_interleave(each)
        generator = torch.Generator().manual_seed(seed_for(seed, "synthetic digits", split))
        splits[split] = compose(scans.part(split), labels, classes, generator), labels
    return from_tensors(
        *splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        names=[f"{label:0{places(classes)}}" for label in range(classes)],
        name=str(
            Call("synthetic_digits", (), {name: value for name, value in given.items() if value is not None})
        ),
    )


def default_images(classes: int) -> int:
    """Training images a class: 600, or what makes 60,000 in all, but never under 120."""
    return max(120, min(600, 60_000 // classes))
