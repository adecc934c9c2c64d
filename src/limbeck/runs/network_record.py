"""What limbeck writes about a network into its weights file: enough to build it again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator
from torch import Tensor, nn

from limbeck import models, tasks
from limbeck.data import Source
from limbeck.data.preparation import AS_RENDERED, Preparation
from limbeck.data.tokenization import Tokenization
from limbeck.errors import LimbeckError
from limbeck.methods.parts.grafts import Graft, GraftedStudent
from limbeck.models.weights import read_metadata
from limbeck.outputs import Inputs
from limbeck.tasks import Task
from limbeck.words import Words

STEPS = ("shortest", "resample", "crop", "flipped")
"""What a card says of how images are prepared, beside their size."""

DType: TypeAlias = Literal[
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"
]


class Card(BaseModel):
    """The record.

    Attributes:
        model: the network in the notation; None if it was handed over as an object.
        graft: what a method grafted onto it; the file then holds the weights of both.
        task: the record of the task that the network is for (see `limbeck.tasks.from_record`).
        input_shape: of one sample, or of each named tensor of one.
        input_dtype: of the inputs, or of each named tensor; None in files of before it was written down.
        preparation: what the inputs are and how they were made (see `limbeck.data.Source.preparation`).
        columns: of a table, in their order; none for other inputs.
        size: the pixels that images are resampled to for it, a side or (height, width); None for images as
            the data has them.
        steps: how else its images are prepared, the arguments of `limbeck.data.preparation.Preparation` that
            are not its defaults.
        network: the config of a network of `transformers` as JSON, which builds it; None for any other.
        tokenizer: a digest of the tokenizer that the network brings, which lies beside it in the folder
            `tokenizer`; None for a network that reads what the data says.
        max_length: tokens that a text is cut to; 0 where it brings no tokenizer.
        prompts: what is put before a text that it reads, by the kind of the text, such as "query".
        facts: what the network was told of the data besides (see `limbeck.data.Source.facts`).
        files: digests of the files that make such inputs, by name (see `limbeck.data.Source.files`).
        mean: mean of the normalization that the network brings; None if it has none.
        std: of the normalization.
        output_mean: of the rescaling that the network brings; None if it has none.
        output_std: of the rescaling.
        standalone: whether the file holds a `limbeck.models.Standalone`: these constants are tensors there.
    """

    model_config = ConfigDict(frozen=True)

    model: str | None
    graft: Graft | None = None
    task: dict[str, Any]
    input_shape: tuple[int, ...] | dict[str, tuple[int, ...]]
    input_dtype: DType | dict[str, DType] | None = None
    preparation: str = Source.preparation
    columns: tuple[str, ...] = ()
    size: int | tuple[int, int] | None = None
    steps: dict[str, Any] = {}
    network: str | None = None
    tokenizer: str | None = None
    max_length: int = 0
    prompts: dict[str, str] = {}
    facts: dict[str, bool | int] = {}
    files: dict[str, str] = {}
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    output_mean: tuple[float, ...] | None = None
    output_std: tuple[float, ...] | None = None
    standalone: bool = False

    @model_validator(mode="before")
    @classmethod
    def _of_a_classification(cls, fields: Any) -> Any:
        """Takes a card of before there were tasks, which named classes."""
        if not isinstance(fields, dict) or "class_names" not in fields:
            return fields
        others = {key: value for key, value in fields.items() if key != "class_names"}
        return {**others, "task": {"name": "classification", "names": fields["class_names"]}}

    @field_validator("task")
    @classmethod
    def _as_json(cls, task: dict[str, Any]) -> dict[str, Any]:
        """As it is read back: with lists for tuples."""
        as_json: dict[str, Any] = json.loads(json.dumps(task))
        return as_json

    @property
    def reads(self) -> Preparation:
        """What it reads of an image."""
        steps: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in self.steps.items()
        }
        return Preparation(self.size, **steps)

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each output of the network."""
        return self.made_for().outputs

    def made_for(self) -> Task:
        """The task that the network is for.

        Raises:
            LimbeckError: if no installed package has such a task.
        """
        return tasks.from_record(self.task)

    @property
    def normalization(self) -> models.Normalization | None:
        """The normalization that the network brings."""
        return models.Normalization(self.mean, self.std) if self.mean and self.std else None

    @property
    def rescaling(self) -> models.Rescaling | None:
        """The rescaling that the network brings."""
        if not (self.output_mean and self.output_std):
            return None
        return models.Rescaling(self.output_mean, self.output_std)

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
        return self.network is None and self.model is not None and ":" in self.model.partition("(")[0]


def describe(network: nn.Module, name: str | None, source: Source, reads: Preparation = AS_RENDERED) -> Card:
    """The card of a network that takes a source's inputs.

    Args:
        network: the network.
        name: in the notation; None if it was handed over as an object.
        source: the data.
        reads: what the network reads of a sample.
    """
    example = source.example(1, reads)
    normalization, rescaling = models.normalization_of(network), models.rescaling_of(network)
    return Card(
        model=name,
        graft=network.graft if isinstance(network, GraftedStudent) else None,
        task=source.task.record(),
        input_shape=sample_shape(example),
        input_dtype=_dtypes(example),
        preparation=token_ids(reads, example) if isinstance(reads, Tokenization) else source.preparation,
        columns=source.columns,
        size=reads.size,
        steps={
            name: value for name in STEPS if (value := getattr(reads, name)) != getattr(AS_RENDERED, name)
        },
        network=models.encoders.config_of(network),
        tokenizer=reads.digest if isinstance(reads, Tokenization) else None,
        max_length=reads.max_length if isinstance(reads, Tokenization) else 0,
        prompts=dict(reads.prompts) if isinstance(reads, Tokenization) else {},
        facts=dict(source.facts),
        files={} if isinstance(reads, Tokenization) else digests(source.files),
        mean=normalization and normalization.mean,
        std=normalization and normalization.std,
        output_mean=rescaling and rescaling.mean,
        output_std=rescaling and rescaling.std,
    )


def token_ids(reads: Tokenization, example: Inputs, by: str = "the tokenizer in the folder tokenizer") -> str:
    """What the inputs are of a network that brings its tokenizer.

    Args:
        reads: the tokenizer.
        example: some inputs.
        by: where the tokenizer lies.
    """
    of_words = "; the answer to a word is that to its first token" if isinstance(example, Words) else ""
    return f"token ids by {by}, at most {reads.max_length}{of_words}"


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
    """The metadata of the weights file that carries the card.

    What the network computes outside the tensors is there in plain words too, for whoever reads the file
    without limbeck: `normalize_mean`, `normalize_std`, `output_mean` and `output_std` as JSON lists, and
    `before_use`, sentences that say what to do with them.
    """
    plain: dict[str, str] = {}
    sentences = []
    if card.normalization and not card.standalone:
        plain |= {"normalize_mean": json.dumps(card.mean), "normalize_std": json.dumps(card.std)}
        sentences.append(
            "The weights expect normalized inputs: give the network (inputs - normalize_mean) / "
            f"normalize_std, by channel or feature, of inputs that are {card.preparation}."
        )
    if card.rescaling and not card.standalone:
        plain |= {"output_mean": json.dumps(card.output_mean), "output_std": json.dumps(card.output_std)}
        sentences.append("The answer in real units is output * output_std + output_mean, by output.")
    if sentences:
        sentences.append("limbeck.load(...) does so by itself.")
        plain["before_use"] = " ".join(sentences)
    return {"limbeck": card.model_dump_json(), **plain}


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
