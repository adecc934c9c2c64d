"""Checkpoints of the CRD benchmark in the layouts of RepDistiller and mdistiller: read, and written.

Both keep `{"model": state_dict}`, with the keys that limbeck's networks have. Of mdistiller's files,
`student_best` and `student_latest` hold the student alone, `best` and `latest` a whole distiller, where its
keys begin with "student.".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.files import replacing
from limbeck.models import NAMED, Normalization, build, load_into, load_state, normalize_inputs
from limbeck.models.inputs import Size, sides
from limbeck.models.weights import write_checkpoint

BENCHMARK = (*NAMED, "mobilenetv2", "shufflenetv1", "shufflenetv2")
"""The networks that such checkpoints are of."""


def load_checkpoint(
    path: Path | str,
    name: str,
    num_classes: int = 100,
    *,
    in_channels: int = 3,
    size: Size = 32,
    normalization: Normalization | None = None,
) -> nn.Module:
    """A network with the weights of a checkpoint, in eval mode on the CPU; no code in the file is run.

    It takes what it took where it was trained: for the published checkpoints, images normalized by the means
    and standard deviations of CIFAR-100. With `normalization=limbeck.models.CIFAR100` it takes pixels in
    [0, 1], as the networks of a run do.

    Args:
        path: a file of `torch.save`, RepDistiller's or mdistiller's: a state dict, alone or at "model" or
            "state_dict", whatever DataParallel and torch.compile put before its keys, or a safetensors file.
        name: the network it is of, `resnet32x4`.
        num_classes: that the network tells apart.
        in_channels, size: of its images.
        normalization: normalization that the network brings from now on.
    Raises:
        LimbeckError: for a file that is missing, damaged, holds pickled objects or is of another network;
            names the network of the benchmark that it fits, if there is one.
    """
    example = torch.empty(1, in_channels, *sides(size, 1, name))
    with torch.random.fork_rng(devices=[]):  # the fresh weights are overwritten at once
        network = build(name, example=example, num_classes=num_classes)
    load_weights(network, Path(path), name)
    if normalization is not None:
        normalize_inputs(network, normalization)
    return network.eval()


def load_weights(network: nn.Module, path: Path, name: str) -> None:
    """Copies the weights of a file into a network, all of them or none.

    Args:
        network: network of which the file should be.
        path: as in `load_checkpoint`.
        name: name of the network, for messages.
    Raises:
        LimbeckError: as in `load_checkpoint`.
    """
    state = load_state(path)
    # No safetensors file is mdistiller's; a run's may be of a student that answers by other weights too.
    if path.suffix != ".safetensors" and not any(key.startswith("student.") for key in network.state_dict()):
        state = _student(state) or state
    try:
        load_into(network, state, str(path), name)
    except LimbeckError as error:
        fits = fitting(state)
        hint = f"; it fits {fits} with 3 channels and {_classes(state)} classes" if fits else ""
        raise LimbeckError(f"{error}{hint}") from None


def save_checkpoint(network: nn.Module, path: Path) -> str:
    """Writes `{"model": state_dict}`, which RepDistiller and mdistiller load; gives the network's name there.

    Raises:
        LimbeckError: for a network that they have not.
    """
    state = {key: tensor.detach().cpu().clone() for key, tensor in network.state_dict().items()}
    name = fitting(state)
    if name is None:
        raise LimbeckError(
            f"this {type(network).__name__} is none of the CRD benchmark's networks, which take images of 3 "
            f"channels: {', '.join(BENCHMARK)}"
        )
    with replacing(path) as partial:
        write_checkpoint({"model": state}, partial)
    return name


def fitting(state: Mapping[str, Tensor]) -> str | None:
    """The network of the benchmark whose keys and shapes a state has; None without one."""
    classes = _classes(state)
    if classes is None:
        return None
    shapes = {key: tensor.shape for key, tensor in state.items()}
    return next((name for name, known in _benchmark_shapes(classes) if known == shapes), None)


def _benchmark_shapes(classes: int) -> Iterator[tuple[str, dict[str, torch.Size]]]:
    for name in BENCHMARK:
        with torch.random.fork_rng(devices=[]):
            network = build(name, example=torch.empty(1, 3, 32, 32), num_classes=classes)
        yield name, {key: tensor.shape for key, tensor in network.state_dict().items()}


def _classes(state: Mapping[str, Tensor]) -> int | None:
    """Logits of the one linear layer; every network of the benchmark ends in it."""
    matrices = [tensor for tensor in state.values() if tensor.dim() == 2]
    return len(matrices[0]) if len(matrices) == 1 else None


def _student(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The student in a state that holds a whole distiller."""
    return {
        key.removeprefix("student."): tensor for key, tensor in state.items() if key.startswith("student.")
    }
