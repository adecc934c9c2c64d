"""Weights on disk: our own as safetensors; other people's checkpoints, read without running their code."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import pickle
import re
import struct
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.files import parse_json, replacing
from limbeck.models.normalize import normalization_of
from limbeck.models.rescale import rescaling_of

_DAMAGED = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    AssertionError,
    struct.error,
)
"""What torch.load raises on a file that is cut short or is none of its own."""

_PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every key."""


def count_parameters(network: nn.Module) -> int:
    """Number of trainable and frozen parameters; those that are shared count once."""
    return sum(parameter.numel() for parameter in network.parameters())


def fingerprint(network: nn.Module) -> str:
    """16 hex digits of the network's class, weights, buffers, normalization and rescaling."""
    digest = hashlib.sha256(f"{type(network).__qualname__} {normalization_of(network)}".encode())
    if (rescaling := rescaling_of(network)) is not None:
        digest.update(f"{rescaling}".encode())
    _take_in(digest, network.state_dict())
    return digest.hexdigest()[:16]


def state_fingerprint(state: Mapping[str, Any]) -> str:
    """16 hex digits of the tensors of a state, by key."""
    digest = hashlib.sha256()
    _take_in(digest, state)
    return digest.hexdigest()[:16]


def _take_in(digest: hashlib._Hash, state: Mapping[str, Any]) -> None:
    for key, value in state.items():
        if isinstance(value, Tensor):
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def save(network: nn.Module, path: Path, metadata: Mapping[str, str]) -> None:
    """Writes the network's `state_dict` as safetensors, whole or not at all.

    Tensors that share memory are written under each of their keys, so that a strict load finds all of them.

    Raises:
        LimbeckError: for a state that holds anything but tensors.
    """
    state = network.state_dict()
    for key, value in state.items():
        if not isinstance(value, Tensor):
            raise LimbeckError(
                f"{type(network).__name__} keeps a {type(value).__name__} at {key!r} of its state; "
                "a weights file holds tensors alone"
            )
    copies = {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in state.items()
    }
    with replacing(path) as partial:
        # in bytes, as save_file makes the file private
        partial.write_bytes(_sorted(safetensors.torch.save(copies, dict(metadata))))


def _sorted(file: bytes) -> bytes:
    """A safetensors file with its metadata by key, so that equal networks make equal files.

    The library writes the metadata in a random order.
    """
    length = 8 + int.from_bytes(file[:8], "little")
    header = parse_json(file[8:length])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text = text.ljust(8 * math.ceil(len(text) / 8))
    return len(text).to_bytes(8, "little") + text + file[length:]


def read_metadata(path: Path) -> dict[str, str]:
    """What was written beside the tensors of a safetensors file.

    Raises:
        LimbeckError: for a file that is damaged or none of safetensors.
    """
    try:
        with safe_open(path, "pt") as tensors:
            return dict(tensors.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise LimbeckError(f"{str(path)!r} is damaged or no safetensors file: {error}") from error


def load_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file, by key, on the CPU; no code in the file is run.

    Args:
        path: a `.safetensors` file, or a checkpoint of `torch.save`: a state dict, alone or at "model" or
            "state_dict"; the prefixes of DataParallel and torch.compile are taken off its keys.
    Raises:
        LimbeckError: for a file that is missing, damaged, holds pickled objects, or holds no state dict.
    """
    if not path.is_file():
        raise LimbeckError(f"there is no weights file {str(path)!r}")
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except SafetensorError as error:
            raise LimbeckError(f"{str(path)!r} is damaged or no safetensors file: {error}") from error
    checkpoint = read_checkpoint(path)
    if isinstance(checkpoint, Mapping):
        for state in (checkpoint.get("model"), checkpoint.get("state_dict"), checkpoint):
            if _is_state(state):
                return _without_prefixes(state)
    found = f"keys {_some(checkpoint)}" if isinstance(checkpoint, Mapping) else type(checkpoint).__name__
    raise LimbeckError(f"{str(path)!r} holds no state dict, alone or at 'model' or 'state_dict', but {found}")


def load_into(network: nn.Module, state: Mapping[str, Tensor], source: str, name: str | None = None) -> None:
    """Copies the tensors into the network, all of them or none.

    Args:
        source: where the state is from, for the message.
        name: name of the network, for the message; its class if None.
    Raises:
        LimbeckError: where keys are missing or unexpected or shapes differ; counts them and names a few.
    """
    own = network.state_dict()
    problems = {
        "missing": [key for key in own if key not in state],
        "unexpected": [key for key in state if key not in own],
        "of another shape": [
            f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}"
            for key in own
            if key in state and state[key].shape != own[key].shape
        ],
    }
    if any(problems.values()):
        listed = "; ".join(f"{len(keys)} {what} ({_some(keys)})" for what, keys in problems.items() if keys)
        what = name or type(network).__name__
        raise LimbeckError(f"{source} does not fit {what}: of {len(own)} tensors, {listed}")
    network.load_state_dict(dict(state))


def read_checkpoint(path: Path) -> Any:
    """What a file of `torch.save` holds, on the CPU; tensors, numbers, texts and containers of them alone.

    Raises:
        LimbeckError: for a file that is damaged or holds pickled objects; none of its code is run.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch's hint at pickles, which we refuse below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = f"holds a pickled {named[1]}" if named else "is damaged, or holds more than tensors"
        raise LimbeckError(
            f"{str(path)!r} {what}; a pickle can run code, so it was left unread: if you trust it, take its "
            f"weights out, torch.save(torch.load({str(path)!r}, weights_only=False)['model'], 'new.pth'), "
            "and give those"
        ) from error
    except _DAMAGED as error:
        raise LimbeckError(
            f"{str(path)!r} cannot be read: it is damaged, or no checkpoint of torch.save"
        ) from error


def write_checkpoint(value: object, path: Path) -> None:
    """Writes a file of `torch.save`.

    Given a path, torch hides what the system says, and torch 2.8 even that a file is cut short.

    Raises:
        OSError: if it cannot be written; where torch alone fails, there is no room.
    """
    try:
        with path.open("wb") as file:
            torch.save(value, file)
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise
        raise OSError(errno.ENOSPC, "there is no room for it on the disk") from error


def _is_state(value: object) -> TypeGuard[Mapping[str, Tensor]]:
    if not isinstance(value, Mapping) or not value:
        return False
    return all(isinstance(key, str) and isinstance(item, Tensor) for key, item in value.items())


def _without_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _PREFIXES * 2:  # compiled within DataParallel, or the other way round
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return dict(state)


def _some(keys: Iterable[object]) -> str:
    names = [str(key) for key in keys]
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
