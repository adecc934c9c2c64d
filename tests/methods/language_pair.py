"""Two small language models and a batch of prompts with responses, for methods that write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from limbeck import Batch, Distiller
from limbeck.models import GPT
from limbeck.outputs import UNLABELED, Progress, named
from limbeck.tasks import Language

VOCABULARY, END = 19, 0
TASK = Language(VOCABULARY, END)


def network(seed: int, width: int = 16, dropout: float = 0.1) -> GPT:
    torch.manual_seed(seed)
    made = GPT(dim=width, depth=1, heads=2, tie=False, vocab_size=VOCABULARY, dropout=dropout)
    with torch.no_grad():
        made.head.weight.mul_(30)
    return made


def batch(step: int = 0) -> Batch:
    """Prompts of 3, 2 and 1 tokens with responses of 3 and 2, and a text that is all learned."""
    ids = torch.tensor([[3, 4, 5, 6, 7], [8, 9, 10, 11, 0], [12, 13, 14, 15, 16]])
    targets = torch.tensor(
        [[UNLABELED, UNLABELED, 6, 7, 1], [UNLABELED, 10, 11, UNLABELED, UNLABELED], [13, 14, 15, 16, 2]]
    )
    mask = torch.tensor([[1] * 5, [1, 1, 1, 1, 0], [1] * 5])
    inputs = {"input_ids": ids, "attention_mask": mask}
    return Batch(inputs, targets, torch.tensor([4, 7, 9]), progress=Progress(step, 0, 0.0))


def distiller(objective: str, teacher: nn.Module | None = None, **changes: Any) -> Distiller:
    student = network(0)
    given = network(1, 24) if teacher is None else teacher
    torch.manual_seed(5)
    return Distiller(student, given, objective, example=batch().inputs, task=TASK, **changes)


def collected(made: Distiller, step: int = 0, rows: Sequence[int] = (0, 1, 2), **changes: Any) -> Batch:
    """The batch that the objective learns from, of some of the samples."""
    some = batch(step).map(lambda tensor: tensor[list(rows)])
    return made._collected(replace(some, **changes), made._collecting)


def answers(network: nn.Module, some: Batch) -> Tensor:
    """(B, L, V) logits."""
    logits: Tensor = network(**named(some.inputs))
    return logits


def texts(some: Batch) -> list[tuple[list[int], list[int]]]:
    """The prompt and what is written after it, of each sample."""
    assert not isinstance(some.inputs, torch.Tensor)
    assert some.targets is not None
    found = []
    for ids, mask, targets in zip(
        some.inputs["input_ids"], some.inputs["attention_mask"], some.targets, strict=True
    ):
        own = targets[targets != UNLABELED].tolist()
        start = int((targets != UNLABELED).nonzero()[0])
        assert ids[mask.bool()].tolist() == [*ids[: start + 1].tolist(), *own[:-1]]
        found.append((ids[: start + 1].tolist(), own))
    return found


def same_in_chunks(objective: str) -> None:
    """Asserts that losses and gradients are the same whether logits are made in chunks or all at once."""
    results = []
    for chunk in (0, 2):
        made = distiller(objective, chunk=chunk).eval()
        assert (made._chunked is None) == (chunk == 0)
        losses = made(batch())
        losses.backward()
        results.append([losses.total.detach(), *(p.grad for p in made.student.parameters())])
    torch.testing.assert_close(results[1], results[0])
