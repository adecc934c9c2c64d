"""A network that was trained elsewhere becomes a run directory, to teach and to be measured."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from limbeck import models
from limbeck.data.source import PIXELS
from limbeck.errors import LimbeckError
from limbeck.models import Normalization
from limbeck.models.checkpoints import BENCHMARK, load_checkpoint
from limbeck.models.zoos import untrained
from limbeck.runs import directory
from limbeck.runs.directory import Run
from limbeck.runs.network_record import Card, metadata_of
from limbeck.tasks import Classification

NORMALIZATIONS = {"cifar100": models.CIFAR100, "imagenet": models.IMAGENET}
"""By name, of three channels; pixels are in [0, 1] before it."""


def import_checkpoint(
    path: Path | str,
    model: str,
    *,
    classes: int = 100,
    shape: Sequence[int] = (3, 32, 32),
    normalization: Normalization | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
) -> Run:
    """Makes a run directory of a checkpoint; what `limbeck import` does.

    Args:
        path: the checkpoint; see `limbeck.load_checkpoint`.
        model: the network it is of.
        classes: that the network tells apart.
        shape: channels, height and width of its images.
        normalization: of the pixels it was trained on. If None, that of CIFAR-100 for a network of the CRD
            benchmark with 100 classes and images of 3 x 32 x 32; any other must be told.
        out: the directory; the next free one under `runs/` if None.
        overwrite: replace what was imported or run there.
    Raises:
        LimbeckError: as `limbeck.load_checkpoint`, and where the directory may not be written to; nothing is
            written then.
    """
    path, out = Path(path), directory.free_directory("import") if out is None else Path(out)
    directory.check_claim(out, resume=False, overwrite=overwrite)
    if len(shape) != 3:
        raise LimbeckError(f"an imported network takes images, channels x height x width, not {tuple(shape)}")
    channels, *size = shape
    network = load_checkpoint(path, model, classes, in_channels=channels, size=size)
    normalization = normalization or _usual(model, classes, shape)
    if len(normalization.mean) != channels:
        raise LimbeckError(
            f"the normalization is for {len(normalization.mean)} channels, and the images have {channels}; "
            "give a mean and a standard deviation for each"
        )
    models.normalize_inputs(network, normalization)
    card = Card(
        model=untrained(model),
        task=Classification(tuple(map(str, range(classes)))).record(),
        input_shape=tuple(shape),
        input_dtype="float32",
        preparation=PIXELS,
        mean=normalization.mean,
        std=normalization.std,
    )
    origin = {"file": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    directory.clear(out)
    directory.write_json(out / "environment.json", directory.environment())
    models.save(network, out / "student.safetensors", metadata_of(card))
    directory.write_json(out / "import.json", origin)  # last: it marks the directory as imported
    directory.cleared(out)
    return Run(out)


def _usual(model: str, classes: int, shape: Sequence[int]) -> Normalization:
    if model in BENCHMARK and classes == 100 and tuple(shape) == (3, 32, 32):
        return models.CIFAR100
    raise LimbeckError(
        f"say how the images of {model} were normalized, with normalization (--normalization "
        f"{'|'.join([*NORMALIZATIONS, 'none'])}, or --mean and --std)"
    )
