"""How accuracy falls when the inputs get noisy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.evaluation.corruptions import Corruption
from limbeck.evaluation.predict import inference
from limbeck.features import call, logits_of
from limbeck.outputs import UNLABELED, Batch


def robustness(
    networks: Sequence[nn.Module], batches: Iterable[Batch], corruptions: Mapping[str, Corruption]
) -> list[dict[str, tuple[float, ...]]]:
    """Top-1 accuracy by kind of noise at severity 1 to 5; all networks see the same noisy inputs.

    Args:
        networks: on the device of the batches.
        batches: with `targets` and `index`; inputs as networks take them, before any normalization.
        corruptions: by name; see `limbeck.evaluation.corruptions`.
    Returns: a mapping for each network.
    Raises:
        LimbeckError: where no sample has a label.
    """
    right = {kind: torch.zeros(5, len(networks), dtype=torch.int64) for kind in corruptions}
    total = 0
    with ExitStack() as stack:
        for network in networks:
            stack.enter_context(inference(network))
        for batch in batches:
            if not isinstance(batch.inputs, Tensor) or batch.targets is None or batch.index is None:
                raise LimbeckError("robustness needs batches of one tensor, with the targets and the index")
            total += int((batch.targets != UNLABELED).sum())
            for kind, corruption in corruptions.items():
                for level in range(5):
                    noisy = corruption(batch.inputs, level + 1, batch.index)
                    answers = torch.stack([logits_of(call(net, noisy)).argmax(1) for net in networks])
                    right[kind][level] += (answers == batch.targets).sum(1).cpu()
    if not total:
        raise LimbeckError("no sample has a label, and robustness needs labels")
    return [
        {kind: tuple((counts[:, n].double() / total).tolist()) for kind, counts in right.items()}
        for n in range(len(networks))
    ]
