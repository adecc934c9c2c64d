"""A folder that `transformers` loads: network, tokenizer, labels and card."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from limbeck import models
from limbeck.data.preparation import Preparation
from limbeck.data.tokenization import Tokenization
from limbeck.errors import LimbeckError
from limbeck.features import call, logits_of
from limbeck.methods.parts.grafts import GraftedStudent
from limbeck.optional import imported
from limbeck.outputs import Inputs
from limbeck.pretrained import EXTRA, from_pretrained, quiet
from limbeck.runs.network_record import Card
from limbeck.tasks import Task

PROBLEMS = {
    "classification": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}
"""What `transformers` calls a task."""


def check_fits(student: nn.Module, card: Card) -> None:
    """Refuses a student that is no network of `transformers` alone."""
    if isinstance(student, GraftedStudent) or card.network is None:
        raise LimbeckError(
            "the format hf is for networks of transformers (hf:...), and this student is "
            f"{card.model or type(student).__name__}; take safetensors, onnx or pt2"
        )
    if card.rescaling is not None:
        raise LimbeckError(
            "this student answers on the scale of its targets by a rescaling that transformers does not "
            "know; take safetensors, onnx or pt2"
        )


def write(student: nn.Module, card: Card, reads: Preparation, folder: Path) -> list[str]:
    """Writes the folder.

    Args:
        student: a network of `transformers`, as `check_fits` lets it pass.
        card: of it.
        reads: what it reads of a sample.
        folder: an empty folder.
    Returns: sentences on what was written.
    """
    task = card.made_for()
    network: Any = copy.deepcopy(student)
    network.config.id2label, network.config.label2id = labels(task)
    network.config.problem_type = PROBLEMS.get(task.name)
    with quiet(imported("transformers", EXTRA)):
        network.save_pretrained(folder)
        if isinstance(reads, Tokenization):
            reads.tokenizer.save_pretrained(folder)
    lines = [f"a folder for AutoModel.from_pretrained; its labels are {', '.join(task.outputs[:10])}"]
    if isinstance(reads, Tokenization):
        lines.append(f"its tokenizer is beside it and cuts texts to {reads.max_length} tokens")
    if (normalization := models.normalization_of(student)) is not None:
        (folder / "preprocessor_config.json").write_text(
            json.dumps(_processor(reads, normalization), indent=2)
        )
        lines.append(f"preprocessor_config.json normalizes its images ({normalization.summary})")
    return lines


def labels(task: Task) -> tuple[dict[int, str], dict[str, int]]:
    """The names of the outputs, as `id2label` and `label2id`."""
    return dict(enumerate(task.outputs)), {name: number for number, name in enumerate(task.outputs)}


def reopen(folder: Path, card: Card) -> Callable[[Inputs], Tensor]:
    """What the folder answers, given what the student reads.

    Args:
        folder: the folder that `write` wrote.
        card: of the student.
    """
    assert card.network is not None
    (name,) = json.loads(card.network)["architectures"]
    network: nn.Module = from_pretrained(name, str(folder)).eval()
    if card.normalization is not None:
        models.normalize_inputs(network, card.normalization)
    return lambda inputs: logits_of(call(network, inputs))


def _processor(reads: Preparation, normalization: models.Normalization) -> dict[str, Any]:
    """The settings of an image processor that makes what the student reads of 8-bit pixels."""
    sides = reads.size if isinstance(reads.size, tuple) else (reads.size, reads.size)
    resized = {"do_resize": True, "size": {"height": sides[0], "width": sides[1]}, "resample": 2}
    return {
        "image_processor_type": "ViTImageProcessor",
        **(resized if reads.size is not None else {"do_resize": False}),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(normalization.mean),
        "image_std": list(normalization.std),
    }


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to; it becomes `folder` when the block ends without an error.

    Raises:
        LimbeckError: if it cannot be written.
    """
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        yield partial
        if folder.exists():
            shutil.rmtree(folder)
        partial.replace(folder)
    except OSError as error:
        raise LimbeckError(f"{str(folder)!r} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
