"""What a student writes, as its teacher sees it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from limbeck.data import Loader, Source
from limbeck.features import call, logits_of
from limbeck.generation import noise, write
from limbeck.methods.parts.rewriting import prompts_of, rewritten
from limbeck.outputs import UNLABELED, Batch
from limbeck.tasks import Language

LENGTH = 64
"""Tokens that a student writes at most."""

BEGINNING = 16
"""Tokens that are given of a text without a prompt."""


def taught_nll(student: nn.Module, teacher: nn.Module, source: Source, texts: int) -> float:
    """Mean negative log-likelihood, by the teacher, of what a student draws after held-out prompts.

    Args:
        student, teacher: causal language models in eval mode.
        source: the texts, whose test split has the prompts.
        texts: how many at most, at equal distances.
    """
    task, split = source.task, source.test
    assert isinstance(task, Language)
    assert split is not None
    texts = min(texts, len(split))
    some = torch.arange(texts) * len(split) // texts
    summed, tokens = 0.0, 0
    for batch in Loader(split.select(some), texts, shuffle=False):
        made = drawn(student, batch, task)
        assert made.targets is not None
        with torch.no_grad():
            logits = logits_of(call(teacher, made.inputs), width=task.width, dense=True)
        targets = made.targets.flatten()
        losses = F.cross_entropy(
            logits[..., : task.width].flatten(0, 1).float(), targets, ignore_index=UNLABELED, reduction="sum"
        )
        summed, tokens = summed + losses.item(), tokens + int((targets != UNLABELED).sum())
    return summed / tokens


def drawn(student: nn.Module, batch: Batch, task: Language) -> Batch:
    """A batch with what a student draws after its prompts at temperature 1, by the numbers of its samples."""
    prompts, index = prompts_of(batch, BEGINNING), batch.index
    assert index is not None
    with torch.no_grad():
        written = write(
            student,
            prompts.ids,
            prompts.mask,
            length=LENGTH,
            ends=() if task.end is None else (task.end,),
            noise=lambda role, place: noise(0, 0, role, index, place),
            width=task.width,
        )
    return rewritten(batch, prompts, written, labeled=True)
