"""Where the inputs of a data set lie, and how they are had by position."""

from __future__ import annotations

import hashlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from limbeck.data.memory import budget_on
from limbeck.data.views import Views
from limbeck.errors import LimbeckError
from limbeck.outputs import Inputs, apply, named, size_of


class Samples(ABC):
    """Inputs by position, 0 to len - 1."""

    @property
    def workers(self) -> int:
        """Threads in which batches may be made ahead of their time; 0 if not."""
        return 0

    @property
    def most(self) -> int:
        """Samples that there is memory for in such batches."""
        return sys.maxsize

    @abstractmethod
    def __len__(self) -> int: ...

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self):,} samples>"

    @abstractmethod
    def take(self, index: Tensor, view: Tensor) -> Inputs:
        """The samples at the positions `index` (B,); `view` (B,) seeds transforms that are the data's own."""

    @abstractmethod
    def select(self, rows: Tensor) -> Samples:
        """The samples at some positions, counted anew from 0."""

    @abstractmethod
    def to(self, device: torch.device | str) -> Samples:
        """The same samples, handed out on another device."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A hex digest of the content, made once."""

    @property
    def at_once(self) -> int:
        """Samples at most in a batch that a network is measured on, so that its outputs fit in memory."""
        return sys.maxsize

    def cut(self, maps: Tensor, index: Tensor) -> Tensor:
        """The part of maps (B, ..., H, W) that belongs to the samples as they are rendered: all of it, unless
        samples differ in size."""
        return maps

    def bytes(self, index: Tensor) -> Tensor | None:
        """(B,) int64 bytes of text that the targets of each sample stand for; None where there is no text."""
        return None

    def lengths(self, index: Tensor) -> Tensor | None:
        """(B,) int64 length of each sample; None where all are about as long."""
        return None

    def full_fingerprint(self) -> str:
        """A hex digest of all of the content, also where `fingerprint` has a part of it alone.

        Raises:
            LimbeckError: if the same sample in the same view is not always the same.
        """
        return self.fingerprint

    def check_batch(self, size: int, views: int = 1) -> None:
        """Refuses batches that there is no memory for.

        Args:
            size: number of samples in a batch.
            views: how many of each sample are in it.
        """
        if size * views > self.most:
            each = f" in {views} views each" if views > 1 else ""
            raise LimbeckError(
                f"the memory that the data may take holds {self.most // views} samples{each}, and a batch has"
                f" {size}; give more memory or take smaller batches"
            )

    def render(self, views: Views, index: Tensor, view: Tensor) -> Inputs:
        """The samples as networks take them.

        Args:
            views: the policy.
            index: (B,) int64 positions of the samples.
            view: (B,) int64 number of the view to show of each.
        Returns: B inputs; uint8 images have become float32 pixels in [0, 1], all else is as stored.
        """
        return apply(_pixels, views.render(self.take(index, view), index, view))


@dataclass(frozen=True, eq=False, repr=False)
class Resident(Samples):
    """Samples in memory, on any device: images (N, C, H, W), tables (N, F), or named tensors.

    Attributes:
        inputs: all of them.
        device: where batches are handed out; None for where the inputs are.
    """

    inputs: Inputs
    device: torch.device | None = None
    _elsewhere: WeakValueDictionary[torch.device, Resident] = field(
        default_factory=WeakValueDictionary, init=False, repr=False
    )

    def __len__(self) -> int:
        return size_of(self.inputs)

    def take(self, index: Tensor, view: Tensor) -> Inputs:
        """The rows asked for; tensors have no transforms of their own for `view` to seed."""
        return apply(lambda tensor: tensor[index.to(tensor.device)].to(self.device), self.inputs)

    def select(self, rows: Tensor) -> Resident:
        """A copy of some rows."""
        return Resident(apply(lambda tensor: tensor[rows], self.inputs), self.device)

    def to(self, device: torch.device | str) -> Resident:
        """The tensors on another device; where that has no room for them, they stay, and batches are moved.

        While a copy is in use, it is handed out again.
        """
        place = torch.empty(0, device=device).device  # "cuda" is one of several, this says which
        tensors = list(named(self.inputs).values())
        if place == (self.device or tensors[0].device):
            return self
        there = self._elsewhere.get(place)
        if there is None:
            if sum(tensor.nbytes for tensor in tensors) > budget_on(place):
                there = replace(self, device=place)
            else:
                moved = apply(lambda tensor: tensor.to(place), self.inputs)
                there = replace(self, inputs=moved, device=None)
            self._elsewhere[place] = there
        return there

    @property
    def workers(self) -> int:
        """One where batches are moved, so that the next is on its way while one is worked on."""
        return 0 if self.device is None else 1

    @cached_property
    def fingerprint(self) -> str:
        """A digest of every byte, whatever the device."""
        return digest(named(self.inputs))


def spread(size: int, count: int) -> Tensor:
    """At most `count` different positions, evenly over `size` of them, both ends included."""
    return torch.linspace(0, size - 1, min(size, count), dtype=torch.float64).round().long()


def digest(tensors: Mapping[str, Tensor]) -> str:
    """16 hex digits that depend on every name, dtype, shape and byte."""
    hasher = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        hasher.update(header(name, tensor.dtype, tensor.shape))
        hasher.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return hasher.hexdigest()[:16]


def digests(inputs: Inputs) -> list[bytes]:
    """Up to 32 bytes for each sample, equal for equal samples."""
    tensors = [tensor.detach().cpu().contiguous() for _, tensor in sorted(named(inputs).items())]
    parts = [tensor.view(torch.uint8).reshape(len(tensor), -1) for tensor in tensors if tensor.numel()]
    rows = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
    content, width = memoryview(rows.numpy().data).cast("B"), rows.shape[1]
    samples = (content[start : start + width] for start in range(0, len(content), width))
    if width <= 32:
        return [bytes(sample) for sample in samples]
    return [hashlib.blake2b(sample, digest_size=16).digest() for sample in samples]


def header(name: str, dtype: torch.dtype, shape: Sequence[int]) -> bytes:
    """What a digest has of a tensor before its bytes."""
    return f"{name} {dtype} {tuple(shape)};".encode()


def _pixels(tensor: Tensor) -> Tensor:
    return tensor.float() / 255 if tensor.dtype == torch.uint8 and tensor.ndim == 4 else tensor
