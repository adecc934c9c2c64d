"""What travels in an exported file: the task, names of the outputs, and how its inputs are made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from limbeck.outputs import Inputs
from limbeck.runs.network_record import Card

INPUT, OUTPUT = "inputs", "logits"
"""Names of a single input, and of the answer."""


def metadata(card: Card, inputs: dict[str, Any], shipped: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Texts by key: `task`, `names` of the outputs and `preprocessing` in JSON, and `limbeck`, the card.

    Args:
        card: of the student.
        inputs: what `preprocessing` gives.
        shipped: what else a user has to know, by key (see `limbeck.tasks.Findings.shipped`).
    """
    return {
        "task": json.dumps(card.task, ensure_ascii=False),
        "names": json.dumps(card.names, ensure_ascii=False),
        "preprocessing": json.dumps(inputs, ensure_ascii=False),
        **{name: json.dumps(value) for name, value in (shipped or {}).items()},
        "limbeck": card.model_dump_json(),
    }


def preprocessing(card: Card) -> dict[str, Any]:
    """How the inputs of a student are made, in values that JSON has.

    Args:
        card: of the student.
    Returns:
        `inputs`: name, dtype and shape of each tensor, in the order the file takes them, and the `layout` of
        images; `values`: what they are and how they were made; `normalization` of the inputs and `rescaling`
        of the answer to the units of the targets, which the file does itself, or null; `files`: a digest of
        each file it takes besides, such as the tokenizer; `output`; `further_outputs`, names, of tasks that
        have some.
    """
    example = card.example
    image = isinstance(example, Tensor) and example.ndim == 4
    any_size = image and card.made_for().spatial
    normalization = card.mean and {"mean": card.mean, "std": card.std, "where": "inside the network"}
    return {
        "inputs": [
            {
                "name": name,
                "dtype": str(tensor.dtype).removeprefix("torch."),
                "shape": ["batch", "length"]
                if card.tokenizer
                else ["batch", tensor.shape[1], "height", "width"]
                if any_size
                else ["batch", *tensor.shape[1:]],
                **({"layout": "NCHW"} if image else {}),
            }
            for name, tensor in named_tensors(example).items()
        ],
        "values": card.preparation,
        "normalization": normalization,
        "rescaling": card.output_mean and {"mean": card.output_mean, "std": card.output_std},
        "files": card.files,
        "output": {"name": OUTPUT, "shape": _answer(card)},
        **({"further_outputs": list(fields)} if (fields := card.made_for().fields) else {}),
    }


def _answer(card: Card) -> list[str | int]:
    """The axes of the answer: with those of the tokens or of the positions where each has an answer."""
    shape = next(iter(card.input_shape.values())) if isinstance(card.input_shape, dict) else ()
    task, outputs = card.made_for(), len(card.names)
    if task.boxed:
        return ["batch", "places", outputs]
    if task.spatial:
        return ["batch", outputs, "rows", "columns"]
    if task.columns_hold != "tags":
        return ["batch", outputs]
    return ["batch", *(["length"] if card.tokenizer else shape), outputs]


def summary(inputs: dict[str, Any]) -> str:
    """What `preprocessing` gives in one line, for people."""
    tensors = ", ".join(
        f"{each['name']} ({', '.join(map(str, each['shape']))}) {each['dtype']}" for each in inputs["inputs"]
    )
    does = "; it normalizes them itself" if inputs["normalization"] else ""
    does += "; it answers in the units of the targets" if inputs["rescaling"] else ""
    return f"takes {tensors}, {inputs['values']}{does}"


def named_tensors(inputs: Inputs) -> Mapping[str, Tensor]:
    """The inputs by name, in the order that an exported file takes them."""
    return {INPUT: inputs} if isinstance(inputs, Tensor) else inputs
