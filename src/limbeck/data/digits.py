"""The handwritten digits that come with scikit-learn.

Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998
(CC BY 4.0): 1,797 real scans of 8 x 8 pixels in 17 levels of gray.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from limbeck.data.build import from_tensors
from limbeck.data.source import Source
from limbeck.data.split import keep_labels, stratified
from limbeck.data.views import Crop
from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED

TRAIN, VALIDATION, TEST = 1000, 297, 500


def digits(labeled: int | None = None, seed: int = 0) -> Source:
    """Ten digits: 1,000 scans to train on, 297 for validation and 500 for test, every class in proportion.

    The split is always the same. Scans are (1, 8, 8) uint8 with the darkest of 17 levels at 255; training
    crops with a padding of 1, and mirrors nothing, because a digit is not its mirror image.

    Args:
        labeled: how many of the training scans keep their label, every class in proportion; the others
            stay in the training split without one. All of them by default.
        seed: which ones keep it.
    """
    if labeled is None and seed:
        raise LimbeckError("digits: the seed picks which labels to keep, so it needs labeled=...")
    if labeled is not None and not (type(labeled) is int and 10 <= labeled <= TRAIN):
        raise LimbeckError(f"digits: labeled should be 10 to {TRAIN} scans, not {labeled!r}")
    if type(seed) is not int:
        raise LimbeckError(f"digits: seed should be an integer, not {seed!r}")

    images, targets = _scans()
    left = targets.clone()
    test = stratified(left, TEST, seed=0)
    left[test] = UNLABELED
    validation = stratified(left, VALIDATION, seed=0)
    left[validation] = UNLABELED
    train = (left != UNLABELED).nonzero().flatten()
    return from_tensors(
        images[train],
        targets[train] if labeled is None else keep_labels(targets[train], labeled, seed),
        validation=(images[validation], targets[validation]),
        test=(images[test], targets[test]),
        num_classes=10,
        views=Crop(padding=1),
        name="digits" if labeled is None else f"digits(labeled={labeled}, seed={seed})",
    )


@cache
def _scans() -> tuple[Tensor, Tensor]:
    """(1797, 1, 8, 8) uint8 scans and (1797,) int64 digits, read once; nobody writes to them."""
    from sklearn.datasets import load_digits  # imports in a second, which other data should not pay for

    scans: Any = load_digits()
    images = torch.from_numpy(scans.images * (255 / 16)).round().to(torch.uint8).unsqueeze(1)
    return images, torch.from_numpy(scans.target).long()
