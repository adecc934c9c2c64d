"""Images and texts that are mixed with others, and the shares that each has."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.hashing import below, mix
from limbeck.methods.parts.blocks import alone, gather, places
from limbeck.outputs import Inputs, Mixture, apply, named


def partners(tensor: Tensor, seed: Tensor, step: int) -> Tensor:
    """(B, ...) for each sample of this process one that is drawn from the batch of all processes.

    Args:
        tensor: (B, ...) what is known of the samples; their labels have the partners of their inputs.
        seed: scalar int64.
        step: number of the step.
    """
    everyone = gather(tensor)
    order = mix(seed, step, 3, torch.arange(len(everyone), device=tensor.device)).argsort()
    own = places(len(tensor), tensor.device)
    return everyone[order[own.start : own.stop]]


def cut(inputs: Tensor, share: Tensor, seed: Tensor, step: int) -> Tensor:
    """(H, W) true in a rectangle that CutMix draws, one for the batch, as far as the images reach.

    Args:
        inputs: (B, C, H, W).
        share: scalar in [0, 1], of the area outside of the rectangle, if it were not cut off.
        seed: scalar int64.
        step: number of the step.
    """
    height, width = inputs.shape[2:]
    side: Tensor = (1 - share).sqrt()
    row, column = below(height, seed, step, 1), below(width, seed, step, 2)
    return rectangle(inputs, row, column, (height * side).floor(), (width * side).floor())


def rectangle(inputs: Tensor, row: Tensor, column: Tensor, high: Tensor | int, wide: Tensor | int) -> Tensor:
    """(H, W) true in a rectangle of a size around a center, as far as the images (B, C, H, W) reach."""
    rows, columns = (torch.arange(size, device=inputs.device) for size in inputs.shape[2:])
    return _near(rows, row, high).unsqueeze(1) & _near(columns, column, wide)


def _near(places: Tensor, center: Tensor, size: Tensor | int) -> Tensor:
    """True at the places that are in a span of a size around the center; an odd one has its extra cut off."""
    half = size // 2
    return (places >= center - half) & (places < center + half)


def mixed(first: Inputs, second: Inputs, shares: Tensor) -> Inputs:
    """Samples mixed with others: floats as they are, texts in the embeddings that a network has of them.

    Of a text, the ids are those among named tensors that are called `input_ids`, or the first integers but a
    mask. Where one of two texts has ended, the other goes on with its share; a mask is true where either has
    a token, unless its share is 0. What else there is, such as the types of tokens, is that of the text with
    the larger share, and of the other where that has ended.

    Args:
        first: (B, ...) floats, token ids (B, L), or named tensors of either.
        second: the same kind of others; a text may be of another length.
        shares: (B,) in [0, 1], of the first.
    Raises:
        LimbeckError: for integers or truth values that are no (B, L) of a text.
    """
    ours, theirs = map(named, (first, second))
    made = {
        name: tensor.lerp(theirs[name], (1 - shares).view(-1, *[1] * (tensor.ndim - 1)).to(tensor))
        for name, tensor in ours.items()
        if tensor.is_floating_point()
    }
    pairs = {name: _pairs(name, ours[name], theirs[name]) for name in ours if name not in made}
    if not pairs:
        return made[""] if isinstance(first, Tensor) else made
    ids = "input_ids" if "input_ids" in pairs else next((each for each in pairs if "mask" not in each), None)
    mask = next((each for each in pairs if "mask" in each), None)
    has = torch.stack([shares, 1 - shares], 1).unsqueeze(2)
    there = (
        pairs[mask] if mask else _pairs("", *(torch.ones_like(each[ids or ""]) for each in (ours, theirs)))
    )
    valid = there.bool() & (has > 0)
    larger = (shares >= 0.5).unsqueeze(1)
    other = torch.where(larger, ~valid[:, 0] & valid[:, 1], valid[:, 1] | ~valid[:, 0])
    made |= {name: torch.where(other, pair[:, 1], pair[:, 0]) for name, pair in pairs.items()}
    if mask:
        made[mask] = valid.any(1).to(there.dtype)
    given = made[""] if isinstance(first, Tensor) else {name: made[name] for name in ours}
    return given if ids is None else Mixture(given, ids, pairs[ids], has * valid)


def _pairs(name: str, first: Tensor, second: Tensor) -> Tensor:
    """(B, 2, L) of two (B, L), the shorter of which is filled up with zeros."""
    if first.ndim != 2:
        raise LimbeckError(
            f"texts are mixed position by position, and {name or 'the input'} of dtype {first.dtype} and "
            f"shape {tuple(first.shape)} has no (samples, positions); use a method that mixes no inputs, "
            "such as kd"
        )
    longest = max(first.shape[1], second.shape[1])
    return torch.stack([F.pad(each, (0, longest - each.shape[1])) for each in (first, second)], 1)


def partners_of(inputs: Inputs, partners: Tensor) -> Inputs:
    """Samples (B, ...) of the batch of all processes, by their positions (B,) in it.

    Args:
        inputs: those of this process; texts (B, L) of each process may have a length of their own.
        partners: which samples.
    """
    return apply(lambda tensor: gather(_as_long(tensor))[partners], inputs)


def _as_long(tensor: Tensor) -> Tensor:
    """Integers (B, L), filled up with zeros to the longest of all processes; anything else as it is."""
    if alone() or tensor.is_floating_point() or tensor.ndim != 2:
        return tensor
    longest = int(gather(torch.tensor([tensor.shape[1]], device=tensor.device)).max())
    return F.pad(tensor, (0, longest - tensor.shape[1]))


def beta(alpha: float, seed: Tensor, step: int, samples: Tensor | int = 0) -> Tensor:
    """Draws of a symmetric Beta distribution, by Johnk's method from a hash of seed, step and sample.

    Args:
        alpha: both parameters of it, at most 1, for which at least every second of the trials succeeds.
        seed: scalar int64.
        step: number of the step.
        samples: (...) int64 numbers of what a draw is for.
    Returns: (...) in [0, 1].
    """
    samples = torch.as_tensor(samples, device=seed.device).unsqueeze(-1)
    trials = torch.arange(2 * 64, device=seed.device).view(2, *[1] * (samples.ndim - 1), 64)
    x, y = (((below(2**24, seed, step, samples, trials) + 0.5) / 2**24) ** (1 / alpha)).unbind()
    first = (x + y <= 1).int().argmax(-1, keepdim=True)  # of trials that may all fail, once in 2^64
    x, y = (each.gather(-1, first).squeeze(-1) for each in (x, y))
    return x / (x + y)
