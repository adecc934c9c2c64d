"""What a student writes, as its teacher sees it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from limbeck.data import Loader, Source
from limbeck.features import call, logits_of
from limbeck.generation import noise, write
from limbeck.methods.parts.rewriting import prompts_of, rewritten
from limbeck.outputs import UNLABELED
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
        texts: how many, at equal distances.
    """
    task, split = source.task, source.test
    assert isinstance(task, Language)
    assert split is not None
    some = torch.arange(texts) * len(split) // texts
    batch = next(iter(Loader(split.select(some), texts, shuffle=False)))
    prompts = prompts_of(batch, BEGINNING)
    with torch.no_grad():
        written = write(
            student,
            prompts.ids,
            prompts.mask,
            length=LENGTH,
            ends=() if task.end is None else (task.end,),
            noise=lambda role, place: noise(0, 0, role, some, place),
            width=task.width,
        )
        made = rewritten(batch, prompts, written, labeled=True)
        logits = logits_of(call(teacher, made.inputs), width=task.width, dense=True)
        assert made.targets is not None
        loss = F.cross_entropy(
            logits[..., : task.width].flatten(0, 1).float(), made.targets.flatten(), ignore_index=UNLABELED
        )
    return loss.item()
