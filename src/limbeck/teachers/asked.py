"""A teacher's network as a cache asks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from limbeck.data.storage.base import spread
from limbeck.errors import LimbeckError
from limbeck.features import FeaturePoints
from limbeck.features.points import Point
from limbeck.outputs import Batch, Inputs, Outputs, apply, named
from limbeck.projection import Projection
from limbeck.sides import Side
from limbeck.teachers.live import LiveTeacher
from limbeck.teachers.ranks import Ranks
from limbeck.teachers.reloadable import Reloadable
from limbeck.words import Words


class Field(NamedTuple):
    """What is known of a network's answers in one field of its outputs, or on one side.

    Attributes:
        point: where in the network the field is.
        width: how many numbers it has for a sample.
        probe: some numbers that the network answers to a few samples.
        shape: that of an answer to a sample: (width,), (C, h, w) of a map, or (W, D) with D numbers for each
            of W words. That of a language model is kept as `Ranks` say, whatever this is.
    """

    point: str
    width: int
    probe: list[float]
    shape: tuple[int, ...]


class AskedNetwork:
    """A network that is asked about some samples of a batch, and that need not stay in memory meanwhile.

    Args:
        network: the teacher's network.
        features: module paths that override what is found in it.
        rebuild: makes the network again; without it, the network stays.
        probe: a few inputs; what the network answers to them tells it from another with the same weights.
        ranks: how the logits of a language model are kept; None for other tasks.
    Attributes:
        name: the network's class, and a digest of its weights.
        fields: what is known of the answers, by field or by the name of a side.
        maps: whether sides can be kept: what the network reads is one tensor, of one size for all samples.
        points: where the features are; None before `open`.
        dtype: of the answers that are read back; known once it is open.
    """

    dtype: torch.dtype

    def __init__(
        self,
        network: nn.Module,
        features: Mapping[str, str | Sequence[str]] | None,
        rebuild: Callable[[], nn.Module] | None,
        probe: Inputs,
        ranks: Ranks | None = None,
    ) -> None:
        self.ranks = ranks
        self._teacher = Reloadable(network, features, rebuild)
        self._probe = probe
        self.name = f"{type(network).__name__} {self._teacher.digest}"
        self.fields: dict[str, Field] = {}
        self.maps = isinstance(probe, Tensor)
        self._sides: dict[str, Side] = {}
        self.points: FeaturePoints | None = None

    @property
    def shown(self) -> int:
        """How many samples the network was shown."""
        return self._teacher.shown

    def told(self, width: int | None, dense: bool) -> None:
        """Says what the task's outputs are, before `open`."""
        self._teacher.width, self._teacher.dense = width, dense

    @property
    def live(self) -> LiveTeacher:
        """The network as a teacher, made again where it was released."""
        return self._teacher.live

    def open(
        self, example: Inputs, fields: Sequence[str], kept: Sequence[str], sides: Sequence[Side] = ()
    ) -> None:
        """Finds the features in the network, and what it answers to the probe where that is not known.

        Args:
            example: a few inputs, on the device and in the precision of those that follow.
            fields: what the network is to give.
            kept: those of the fields that are to be kept in files as they are.
            sides: what is to be kept of the others.
        Raises:
            LimbeckError: for a field of texts that is neither a vector, nor one for each word.
        """
        self._sides |= {side.name: side for side in sides}
        kept = [*kept, *(side.name for side in sides)]
        self._teacher.open(example, fields)
        self._example = example
        if self.points is not None and set(kept) <= self.fields.keys():
            return  # the network is not needed, and may have been released
        self.points = self.live.points
        assert self.points is not None
        answer = self.live(Batch(self._like_example(self._probe)))
        for field in kept:
            numbers = self._of(answer, field)
            shape = tuple(numbers.shape[1:])
            ranked = self.ranks is not None and field == "logits"
            if not (ranked or self.maps) and len(shape) != 1 + isinstance(self._probe, Words):
                raise LimbeckError(
                    f"the teacher's {field} of a sample should be a vector to be kept, not of shape "
                    f"{shape}; train without a cache of the {field}"
                )
            chosen = numbers.flatten()[spread(numbers.numel(), 32).to(numbers.device)].tolist()
            probe = [float(f"{number:.4g}") for number in chosen]
            point = ", ".join(map(str, self._points_of(field)))
            width = self.ranks.size if self.ranks is not None and ranked else prod(shape)
            self.fields[field] = Field(point, width, probe, shape)
        self.dtype = torch.promote_types(answer.logits.dtype, torch.float32)
        if self.ranks is not None and "logits" in kept and self.live.projects:
            self._teacher.open(example, [*(each for each in fields if each != "logits"), "projection"])

    def ask(
        self, inputs: Inputs, chosen: NDArray[np.bool_], fields: Sequence[str]
    ) -> dict[str, NDArray[np.float16]]:
        """The network's answers for some samples of a batch, rounded.

        Args:
            inputs: of the batch, as the network reads them.
            chosen: (B,) which samples.
            fields: what is asked for, fields and names of sides.
        Returns: (number of samples chosen, width) by field.
        Raises:
            LimbeckError: for a number that float16 cannot hold, and for answers of another shape than before.
        """
        where = torch.from_numpy(chosen)
        given = apply(lambda tensor: tensor[where.to(tensor.device)], inputs)
        outputs = self.live(Batch(given))
        answer = {}
        for field in fields:
            if self.ranks is not None and field == "logits":
                answer[field] = _ranked(outputs, self.ranks, given)
                continue
            numbers = self._of(outputs, field)
            if self.maps and tuple(numbers.shape[1:]) != self.fields[field].shape:
                raise LimbeckError(
                    f"the teacher's {field} of a sample is of shape {tuple(numbers.shape[1:])} in this "
                    f"batch and {self.fields[field].shape} elsewhere, and a cache keeps one shape; have "
                    f"views of one size, or train without a cache of the {field}"
                )
            numbers = numbers.flatten(1)
            rounded = numbers.half()
            if bool((rounded.isinf() & numbers.isfinite()).any()):
                raise LimbeckError(
                    f"the teacher's {field} holds numbers beyond 65,504, which float16 cannot; train without "
                    f"a cache of the {field}"
                )
            answer[field] = rounded.cpu().numpy()
        return answer

    def _of(self, outputs: Outputs, field: str) -> Tensor:
        """(B, ...) a field of the outputs, or what a side makes of them."""
        numbers = self._sides[field].computed(outputs) if field in self._sides else outputs[field]
        assert isinstance(numbers, Tensor)
        return numbers

    def _points_of(self, field: str) -> Sequence[Point]:
        assert self.points is not None
        side = self._sides.get(field)
        points = self.points.of(field if side is None else side.field)
        return points if side is None or side.place is None else points[side.place : side.place + 1]

    def precision(self, device: torch.device) -> str:
        """The type that the network computes in: autocast's, or that of its inputs."""
        if torch.is_autocast_enabled(device.type):
            return str(torch.get_autocast_dtype(device.type)).removeprefix("torch.")
        return str(self._inputs_dtype).removeprefix("torch.")

    def release(self) -> None:
        """Releases the network's memory, if the network can be made again."""
        self._teacher.release()

    def apply(self, function: Callable[[Tensor], Tensor]) -> None:
        """Moves the network, also one that is made later."""
        self._teacher.apply(function)

    def _like_example(self, inputs: Inputs) -> Inputs:
        """Inputs where the example is, in its precision."""
        device, dtype = next(iter(named(self._example).values())).device, self._inputs_dtype
        return apply(lambda t: t.to(device, dtype) if t.is_floating_point() else t.to(device), inputs)

    @property
    def _inputs_dtype(self) -> torch.dtype:
        floats = (tensor.dtype for tensor in named(self._example).values() if tensor.is_floating_point())
        return next(floats, torch.float32)


def _ranked(outputs: Outputs, ranks: Ranks, inputs: Inputs) -> NDArray[np.float16]:
    """What is kept of a language model's answer (B, L, V), or of what would make it.

    Args:
        outputs: with the answer.
        ranks: how it is kept.
        inputs: those that are answered, which say what of them is padding.
    """
    if "projection" in outputs:
        flat: Projection | Tensor = outputs["projection"].map(lambda hidden: hidden.flatten(0, 1))
        length = outputs["projection"].hidden.shape[1]
    else:
        flat, length = outputs.logits.flatten(0, 1), outputs.logits.shape[1]
    ids = next(iter(named(inputs).values()))
    mask = named(inputs).get("attention_mask", torch.ones_like(ids))
    return ranks.pack(flat.__getitem__, mask[:, :length] != 0)
