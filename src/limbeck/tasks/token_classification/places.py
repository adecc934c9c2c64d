"""Which words of a batch are rows."""

from __future__ import annotations

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Batch, named
from limbeck.words import Words


def words_of(batch: Batch) -> Tensor:
    """(B, W) bool, the words that are decided: those that all networks read.

    In a loop of one's own, with inputs that are no `Words`, every position of the attention mask is a word;
    of a sentence with a label those that have one, so that -100 stands, as in transformers, for what is none.

    Args:
        batch: as the loader gave it.
    """
    targets = batch.targets if batch.targets is not None and batch.targets.shape[1] else None
    if isinstance(batch.inputs, Words):
        if targets is not None:
            same_words(targets, batch.inputs.first)
        read = batch.inputs.read
        for theirs in batch.teacher_inputs.values():
            read = read & theirs.read if isinstance(theirs, Words) else read
        return read
    inputs = named(batch.inputs)
    first = next(iter(inputs.values()))
    valid = torch.ones(first.shape[:2], dtype=torch.bool, device=first.device)
    valid = inputs["attention_mask"].bool() if "attention_mask" in inputs else valid
    if targets is None:
        return valid
    same_words(targets, valid)
    known = targets != UNLABELED
    return torch.where(known.any(1, keepdim=True), known, valid)


def same_words(targets: Tensor, words: Tensor) -> None:
    """Refuses tags (B, W) of another number of words, or tokens, than there are."""
    if targets.shape != words.shape[:2]:
        raise LimbeckError(
            f"the tags of a batch are of {targets.shape[1]} words a sentence, and the networks read "
            f"{words.shape[1]}; a tag belongs to each, {UNLABELED} where none is known"
        )
