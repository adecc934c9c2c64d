"""Batches of text that networks write: from the prompts of a batch to one that all methods learn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.generation import Written
from limbeck.outputs import UNLABELED, Batch


@dataclass(frozen=True)
class Prompts:
    """The beginnings of the texts of a batch, padded on the left.

    Attributes:
        ids: (B, m) int64 token ids.
        mask: (B, m) bool, which of them are tokens.
    """

    ids: Tensor
    mask: Tensor


def prompts_of(batch: Batch, beginning: int) -> Prompts:
    """What there is of each text before what is learned; of a text that is all learned, its beginning.

    Of a row with several documents it is the first one that counts.

    Args:
        batch: of the task `language`.
        beginning: tokens that are taken of a text that is all learned, at most half of it.
    Raises:
        LimbeckError: for inputs without `input_ids`.
    """
    if isinstance(batch.inputs, Tensor) or "input_ids" not in batch.inputs:
        raise LimbeckError("text is written after token ids, and the inputs of the batch have no input_ids")
    ids = batch.inputs["input_ids"]
    assert batch.targets is not None
    documents = batch.inputs.get("attention_mask", torch.ones_like(ids))
    first = documents == documents.masked_fill(documents == 0, documents.max() + 1).amin(1, keepdim=True)
    learned = (batch.targets != UNLABELED) & first
    place = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    start = place.where(learned, ids.shape[1]).amin(1)
    length = first.sum(1)
    half = (length // 2).clamp(min=1, max=beginning)
    # Position t of the targets is position t + 1 of the text, so the prompt ends at the first learned one.
    counts = torch.where(start == 0, half, torch.minimum(start + 1, length))
    longest = int(counts.max())
    shift = place[:, :longest] - (longest - counts).unsqueeze(1)
    mask = shift >= 0
    return Prompts(ids.gather(1, shift.clamp(min=0)) * mask, mask)


def rewritten(batch: Batch, prompts: Prompts, written: Written, *, labeled: bool) -> Batch:
    """The batch with what was written after its prompts in the place of its texts.

    Args:
        batch: where the prompts are from.
        prompts: those.
        written: what was written after them.
        labeled: whether the tokens that were written are labels, such as those of a teacher's text.
    """
    ids = torch.cat([prompts.ids, written.ids], 1)
    mask = torch.cat([prompts.mask, written.mask], 1)
    own = torch.cat([torch.zeros_like(prompts.mask), written.mask], 1)
    order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)  # padding goes to the end
    ids, mask, own = (each.gather(1, order) for each in (ids * mask, mask, own))
    width = max(2, int(mask.sum(1).max()))
    ids, mask, own = ids[:, :width], mask[:, :width], own[:, :width]
    targets = torch.where(own, ids, UNLABELED)[:, 1:]
    given = batch.inputs
    assert not isinstance(given, Tensor)
    # What follows the last token is not known, so it is not read.
    read = mask[:, 1:].to(given["input_ids"].dtype)
    inputs = {"input_ids": ids[:, :-1] * read, "attention_mask": read}
    if "position_ids" in given:
        inputs["position_ids"] = (read.cumsum(1) - 1).clamp(min=0)
    unlabeled = torch.full((len(ids),), not labeled, device=ids.device)
    return replace(
        batch,
        inputs=inputs,
        targets=targets,
        view=None,
        bytes=None,
        teacher_inputs={},
        written=unlabeled,
        figures={"tokens": written.lengths, "replaced": written.replaced.sum(1)},
    )


def beside(first: Batch, second: Batch) -> Batch:
    """One batch of the texts of two, the shorter ones padded at their ends.

    Args:
        first: of the task `language`, as `rewritten` makes it.
        second: the same, as the data gives it; its samples are none that a network has written.
    """
    pair = (first, second)
    targets = [part.targets for part in pair if part.targets is not None]
    width = max(each.shape[1] for each in targets)

    def joined(tensors: Sequence[Tensor], fill: int = 0) -> Tensor:
        return torch.cat([F.pad(each, (0, width - each.shape[1]), value=fill) for each in tensors])

    inputs = [part.inputs for part in pair if not isinstance(part.inputs, Tensor)]
    whole = {"attention_mask": torch.ones_like(inputs[1]["input_ids"])}
    notes = {
        name: joined([note, second.notes.get(name, note.new_zeros(targets[1].shape))])
        for name, note in first.notes.items()
    }
    index = [part.index for part in pair if part.index is not None]
    return replace(
        first,
        inputs={name: joined([each, {**whole, **inputs[1]}[name]]) for name, each in inputs[0].items()},
        targets=joined(targets, UNLABELED),
        index=torch.cat(index) if index else None,
        written=torch.cat(
            [torch.full((len(part),), part is first, device=targets[0].device) for part in pair]
        ),
        notes=notes,
    )


@contextmanager
def at_rest(*networks: nn.Module) -> Iterator[None]:
    """Eval mode inside, so that no dropout has a part in what is written; then each mode as it was."""
    modes = [(module, module.training) for network in networks for module in network.modules()]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
