"""Which images of files can be read, and which are copies of each other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from limbeck.data.files.decoding import Decoder, located
from limbeck.data.files.rows import Rows
from limbeck.data.prefetch import in_order
from limbeck.errors import LimbeckError

MOST_SKIPPED = 0.01
"""Share of all images that may be left out because they cannot be read."""

_CHUNK = 256
_WORKERS = 4


def readable(
    splits: Mapping[str, Rows], column: str, decoder: Decoder
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The rows (M,) of each split, counted from 0, whose images can be read, and why the others cannot.

    Args:
        splits: rows with images.
        column: column that they are in.
        decoder: what makes them pixels.
    Raises:
        LimbeckError: if more than 1 % cannot be read.
    """
    there: dict[str, Tensor] = {}
    skipped: list[str] = []
    total = 0
    for split, rows in splits.items():
        parts = torch.split(torch.arange(len(rows.dataset)), _CHUNK)
        tries = (partial(_tried, rows, column, decoder, part.tolist()) for part in parts)
        failed = {number: reason for found in in_order(tries, _WORKERS) for number, reason in found.items()}
        there[split] = torch.tensor([number for number in range(len(rows.dataset)) if number not in failed])
        skipped += failed.values()
        total += len(rows.dataset)
    if len(skipped) > MOST_SKIPPED * total:
        raise LimbeckError(
            f"{len(skipped)} of {total} images cannot be read, more than the {MOST_SKIPPED:.0%} that may be"
            f" skipped; the first is: {skipped[0]}; mend these files, or take them out"
        )
    return there, tuple(skipped)


def _tried(rows: Rows, column: str, decoder: Decoder, numbers: list[int]) -> dict[int, str]:
    """Why some images cannot be read, by row."""
    failed = {}
    for number, value in zip(numbers, rows.values(column, numbers), strict=True):
        try:
            decoder(value, rows.folder, located(value, rows.folder, f"row {number + 1} of {rows.name}"))
        except LimbeckError as error:
            failed[number] = str(error)
    return failed


def contents_of(rows: Rows, column: str, numbers: Tensor) -> list[bytes]:
    """16 bytes for some images, equal for equal files.

    Args:
        rows: with the images.
        column: column that they are in.
        numbers: (M,) of the rows, counted from 0.
    """
    wanted = set(numbers.tolist())
    return [
        hashlib.blake2b(_encoded(value, rows, number), digest_size=16).digest()
        for number, value in enumerate(rows.stored(column))
        if number in wanted
    ]


def _encoded(value: Any, rows: Rows, number: int) -> bytes:
    """The bytes of an image's file; its row where there is none, which decoding says."""
    content, name = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, value)
    if isinstance(content, bytes):
        return content
    try:
        return (rows.folder / name).read_bytes() if isinstance(name, str) else f"row {number}".encode()
    except OSError:
        return f"row {number}".encode()
