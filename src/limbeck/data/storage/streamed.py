"""Images that stay in their files and are decoded when they are asked for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limbeck.data.files.decoding import Decoder, located
from limbeck.data.files.rows import Rows
from limbeck.data.memory import budget_on
from limbeck.data.prefetch import in_order
from limbeck.data.storage.base import Resident, Samples, header
from limbeck.errors import LimbeckError

WORKERS = min(16, os.cpu_count() or 1)
"""Threads that decode at once."""

_CHUNK = 256


@dataclass(frozen=True, eq=False, repr=False)
class Encoded(Samples):
    """Images of one shape, decoded anew for every batch; otherwise the same as `resident()`.

    Attributes:
        rows: where they are, by position.
        column: column that they are in.
        numbers: (N,) int64 rows, counted from 0.
        decoder: what makes them pixels.
        shape: (C, H, W) of each.
        memory: bytes that batches made ahead of their time may take.
        device: where batches are handed out.
    """

    rows: Rows
    column: str
    numbers: Tensor
    decoder: Decoder
    shape: tuple[int, int, int]
    memory: int
    device: torch.device | str = "cpu"

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def nbytes(self) -> int:
        """What all of them take in memory."""
        return len(self) * int(np.prod(self.shape))

    def take(self, index: Tensor, view: Tensor) -> Tensor:
        """Decodes images one after the other: (B, C, H, W) uint8."""
        numbers = self.numbers[index.cpu()].tolist()
        values = self.rows.values(self.column, numbers)
        pixels = np.empty((len(numbers), *self.shape), np.uint8)
        for place, (number, value) in enumerate(zip(numbers, values, strict=True)):
            where = _located(value, self.rows, number)
            image = self.decoder(value, self.rows.folder, where)
            if image.shape != self.shape:
                raise LimbeckError(
                    f"the image in {where} has {_size(image.shape)} pixels, but the first training image"
                    f" {_size(self.shape)}; size=... makes them alike"
                )
            pixels[place] = image
        return torch.from_numpy(pixels).to(self.device)

    def select(self, rows: Tensor) -> Encoded:
        """Some of the images, counted anew from 0."""
        return replace(self, numbers=self.numbers[rows])

    def to(self, device: torch.device | str) -> Encoded:
        """The same images, handed out on another device."""
        return replace(self, device=device, memory=min(self.memory, budget_on(torch.device(device))))

    def resident(self) -> Resident:
        """All images, decoded once into one (N, C, H, W) uint8 tensor."""
        images = torch.empty(len(self), *self.shape, dtype=torch.uint8)
        start = 0
        for chunk in self._chunks():
            images[start : start + len(chunk)] = chunk
            start += len(chunk)
        return Resident(images)

    @property
    def workers(self) -> int:
        """As many as there are processors."""
        return WORKERS

    @property
    def most(self) -> int:
        """Images that the memory holds, each as bytes and as the floats that networks take."""
        return self.memory // (5 * int(np.prod(self.shape)))

    @property
    def fingerprint(self) -> str:
        """That of the images in memory; it takes a pass over all."""
        return self._pass[1]

    @property
    def levels(self) -> Tensor:
        """(C, 256) how often each channel has each value."""
        return self._pass[0]

    @cached_property
    def _pass(self) -> tuple[Tensor, str]:
        hasher = hashlib.sha256(header("", torch.uint8, (len(self), *self.shape)))
        levels = torch.zeros(self.shape[0], 256, dtype=torch.int64)
        for chunk in self._chunks():
            hasher.update(chunk.numpy().data)
            levels += torch.stack([channel.flatten().bincount(minlength=256) for channel in chunk.unbind(1)])
        return levels, hasher.hexdigest()[:16]

    def _chunks(self) -> Iterator[Tensor]:
        """All images, some at a time; on a terminal, a line tells how far it is with many."""
        from rich.console import Console
        from rich.progress import track

        here = replace(self, device="cpu")
        workers = max(1, min(WORKERS, self.most - 1))
        size = max(1, min(_CHUNK, self.most // (workers + 1)))  # a chunk for each thread, and the one in use
        parts = torch.split(torch.arange(len(self)), size)
        chunks = in_order((partial(here.take, part, part) for part in parts), workers)
        terminal = Console(stderr=True)
        return iter(
            track(
                chunks,
                f"decoding {len(self):,} images",
                total=len(parts),
                console=terminal,
                transient=True,
                disable=len(self) < 20_000 or not terminal.is_terminal,
            )
        )


def decoded(
    rows: Mapping[str, Rows], column: str, numbers: Mapping[str, Tensor], decoder: Decoder, memory: int
) -> dict[str, Samples]:
    """The images of each split: all in memory where it holds them all, else all encoded.

    Args:
        rows: rows of each split; the first image of "train" shows the shape that all have.
        column: column that they are in.
        numbers: (N,) int64 of each split, which rows, counted from 0.
        decoder: what makes them pixels.
        memory: bytes there are for pixels.
    """
    train, first = rows["train"], int(numbers["train"][0])
    (value,) = train.values(column, [first])
    channels, height, width = decoder(value, train.folder, _located(value, train, first)).shape
    parts = {
        split: Encoded(rows[split], column, which, decoder, (channels, height, width), memory)
        for split, which in numbers.items()
    }
    if sum(part.nbytes for part in parts.values()) > memory:
        return dict(parts)
    return {split: part.resident() for split, part in parts.items()}


def _located(value: Any, rows: Rows, number: int) -> str:
    return located(value, rows.folder, f"row {number + 1} of {rows.name}")


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[2]} x {shape[1]}"
