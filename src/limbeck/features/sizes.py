"""How many samples at once a network can take."""

from __future__ import annotations

import torch

from limbeck.errors import LimbeckError
from limbeck.features.calling import undisturbed
from limbeck.features.tap import Tap
from limbeck.outputs import Inputs, apply, size_of


def check_sizes(tap: Tap, example: Inputs, whose: str) -> None:
    """Refuses a network that cannot take one sample, two, and all of the example, in eval mode.

    A last batch may have any number of samples, and so may what a deployed network is asked.

    Args:
        tap: the network, as `answering` gives it.
        example: inputs of a few samples, on the network's device.
        whose: what the network is, for the message: "the student".

    Raises:
        LimbeckError: naming the number of samples, and what the network said or returned.
    """
    for size in dict.fromkeys((1, min(2, size_of(example)), size_of(example))):
        inputs = apply(lambda tensor, size=size: tensor[:size], example)  # type: ignore[misc]
        try:
            with undisturbed(tap.network, inputs), torch.no_grad():
                logits = tap(inputs).logits
        except Exception as error:  # whatever other people's code raises
            reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
            raise _refused(whose, size, reason) from error
        if len(logits) != size:
            raise _refused(whose, size, f"its logits are then of shape {tuple(logits.shape)}")


def _refused(whose: str, size: int, reason: str) -> LimbeckError:
    samples = "one sample" if size == 1 else f"{size} samples"
    return LimbeckError(
        f"{whose} cannot take {samples} at once in eval mode ({reason}); a last batch may be that small, so "
        "change its forward, for example squeeze(1) for squeeze(), or batch norm with running statistics"
    )
