"""What limbeck writes about a network into its weights file: enough to build it again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from limbeck import models
from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.methods.parts.grafts import Graft, GraftedStudent
from limbeck.models.weights import read_metadata
from limbeck.outputs import Inputs

DType: TypeAlias = Literal[
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"
]


class Card(BaseModel):
    """The record.

    Attributes:
        model: the network in the notation; None if it was handed over as an object.
        graft: what a method grafted onto it; the file then holds the weights of both.
        class_names: one for each logit.
        input_shape: of one sample, or of each named tensor of one.
        input_dtype: of the inputs, or of each named tensor; None in files of before it was written down.
        preparation: what the inputs are and how they were made (see `limbeck.data.Source.preparation`).
        facts: what the network was told of the data besides (see `limbeck.data.Source.facts`).
        files: digests of the files that make such inputs, by name (see `limbeck.data.Source.files`).
        mean: of the normalization that the network brings; None if it has none.
        std: likewise.
    """

    model_config = ConfigDict(frozen=True)

    model: str | None
    graft: Graft | None = None
    class_names: tuple[str, ...]
    input_shape: tuple[int, ...] | dict[str, tuple[int, ...]]
    input_dtype: DType | dict[str, DType] | None = None
    preparation: str = Source.preparation
    facts: dict[str, int] = {}
    files: dict[str, str] = {}
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None

    @property
    def example(self) -> Inputs:
        """An input of that shape and dtype."""
        if isinstance(self.input_shape, dict):
            dtypes = self.input_dtype if isinstance(self.input_dtype, dict) else {}
            return {
                name: torch.zeros(1, *shape, dtype=getattr(torch, dtypes.get(name, "int64")))
                for name, shape in self.input_shape.items()
            }
        dtype = self.input_dtype if isinstance(self.input_dtype, str) else "float32"
        return torch.zeros(1, *self.input_shape, dtype=getattr(torch, dtype))

    @property
    def calls_a_factory(self) -> bool:
        """Whether building the network imports and calls something of the user's."""
        return self.model is not None and ":" in self.model.partition("(")[0]


def describe(network: nn.Module, name: str | None, source: Source) -> Card:
    """The card of a network that takes a source's inputs."""
    example, normalization = source.example(1), models.normalization_of(network)
    return Card(
        model=name,
        graft=network.graft if isinstance(network, GraftedStudent) else None,
        class_names=source.task.names,
        input_shape=sample_shape(example),
        input_dtype=_dtypes(example),
        preparation=source.preparation,
        facts=dict(source.facts),
        files=digests(source.files),
        mean=normalization and normalization.mean,
        std=normalization and normalization.std,
    )


def sample_shape(inputs: Inputs) -> tuple[int, ...] | dict[str, tuple[int, ...]]:
    """The shape of one sample, or of each named tensor of one."""
    if isinstance(inputs, Tensor):
        return tuple(inputs.shape[1:])
    return {name: tuple(tensor.shape[1:]) for name, tensor in inputs.items()}


def _dtypes(inputs: Inputs) -> Any:
    if isinstance(inputs, Tensor):
        return str(inputs.dtype).removeprefix("torch.")
    return {name: _dtypes(tensor) for name, tensor in inputs.items()}


def digests(files: Mapping[str, str]) -> dict[str, str]:
    """16 hex digits for each text."""
    return {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in files.items()}


def metadata_of(card: Card) -> dict[str, str]:
    """The metadata of the weights file that carries the card."""
    return {"limbeck": card.model_dump_json()}


def read_card(file: Path) -> Card | None:
    """The card of a weights file; None if it is somebody else's file.

    Raises:
        LimbeckError: for a file or a card that is damaged.
    """
    metadata = read_metadata(file) if file.suffix == ".safetensors" else {}
    if "limbeck" not in metadata:
        return None
    try:
        return Card.model_validate_json(metadata["limbeck"])
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "all of it"
        raise LimbeckError(
            f"what {str(file)!r} says of its network is damaged: {where}: {problem['msg']}"
        ) from None
