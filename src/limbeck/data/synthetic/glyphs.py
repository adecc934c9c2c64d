"""Scans of single handwritten digits, which synthesized images are made of."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from limbeck.data.digits import digits
from limbeck.data.split import held_out
from limbeck.data.storage.base import Resident, digest
from limbeck.data.synthetic.idx import read_idx
from limbeck.errors import LimbeckError

LEAST = 20
"""Scans that there must be of each digit, so that every part gets some."""


class Glyphs(NamedTuple):
    """Scans (N, 1, H, W) uint8, ink bright on a ground of 0, and the digit that each shows (N,) int64."""

    scans: Tensor
    digits: Tensor

    def part(self, name: str) -> Glyphs:
        """Nine tenths of each digit's scans for "train", half of the rest for "validation" and for "test"."""
        train, rest = held_out(self.digits, 0.1)
        validation, test = (rest[rows] for rows in held_out(self.digits[rest], 0.5))
        rows = {"train": train, "validation": validation, "test": test}[name]
        return Glyphs(self.scans[rows], self.digits[rows])

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the content."""
        return digest(self._asdict())


def read_glyphs(where: str = "digits") -> Glyphs:
    """Scans of the digits 0 to 9, all cut to the same narrow margin.

    Args:
        where: "digits" for the training split of `digits`, so that no scan of its validation and test splits
            is ever part of a synthesized image; or MNIST's files: their directory (its training files, or the
            t10k ones if those are all there is), or the path up to "-images-idx3-ubyte".
    Raises:
        LimbeckError: for files that are not there, cut short, not IDX, or do not hold ten digits.
    """
    if where == "digits":
        train = digits().train
        assert isinstance(train.samples, Resident)
        assert isinstance(train.samples.inputs, Tensor)
        return _trimmed(train.samples.inputs, train.targets)
    images, labels = _files(Path(where))
    scans, shown = read_idx(images), read_idx(labels).long()
    if scans.ndim != 3 or shown.ndim != 1 or len(scans) != len(shown):
        raise LimbeckError(
            f"glyphs: {str(images)!r} should be (N, rows, columns) and {str(labels)!r} (N,),"
            f" not {tuple(scans.shape)} and {tuple(shown.shape)}"
        )
    counts = shown.bincount(minlength=10)
    if len(counts) > 10 or int(counts.min()) < LEAST:
        raise LimbeckError(
            f"glyphs: {str(labels)!r} should name the digits 0 to 9 and each of them {LEAST} times or more;"
            f" it has {counts.tolist()[:20]} of 0, 1, 2 and so on"
        )
    return _trimmed(scans[:, None], shown)


def _files(where: Path) -> tuple[Path, Path]:
    """The files of images and labels."""
    for prefix in [where / "train", where / "t10k"] if where.is_dir() else [where]:
        for ending in ("-ubyte", "-ubyte.gz"):
            pair = [
                prefix.with_name(f"{prefix.name}-{kind}{ending}") for kind in ("images-idx3", "labels-idx1")
            ]
            if all(path.exists() for path in pair):
                return pair[0], pair[1]
    raise LimbeckError(
        f'glyphs: there are no MNIST files at {str(where)!r}; it should be "digits", or a directory with'
        " train-images-idx3-ubyte and train-labels-idx1-ubyte (or t10k-...), gzipped or not"
    )


def _trimmed(scans: Tensor, shown: Tensor) -> Glyphs:
    """The scans cut to the rows and columns with over 5 % of the most ink, and a margin of one pixel."""
    ink = scans.float().mean((0, 1))
    rows, columns = ((ink.mean(axis) > 0.05 * ink.mean(axis).max()).nonzero() for axis in (1, 0))
    inside = scans[:, :, int(rows.min()) : int(rows.max()) + 1, int(columns.min()) : int(columns.max()) + 1]
    return Glyphs(F.pad(inside, [1, 1, 1, 1]), shown)
