"""A regression that a Trainer runs, small enough to follow, and ways to break it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.methods import Losses, Term
from limbeck.optimization import SGD, MakeOptimizer
from limbeck.outputs import Batch
from scripted_loop import ScriptedLoop

torch.set_num_threads(1)

Terms = Callable[["Regression", Batch], dict[str, Tensor]]


def squared_error(model: Regression, batch: Batch) -> dict[str, Tensor]:
    """One term: half of the squared distance from the row's own sum."""
    assert isinstance(batch.inputs, Tensor)
    return {"mse": F.mse_loss(model(batch.inputs), batch.inputs.sum(1, keepdim=True))}


class Regression(nn.Module):
    """Two linear layers with dropout between."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.first, self.dropout, self.last = nn.Linear(3, 4), nn.Dropout(dropout), nn.Linear(4, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.last(self.dropout(self.first(inputs)))
        return output


class Fit(nn.Module):
    """What a stage opens: turns batches into losses, and remembers what it saw.

    Attributes:
        before: the weights that each step found.
        seen: the batches.
        modes: whether each step found the model in training mode.
    """

    def __init__(self, model: Regression, terms: Terms = squared_error) -> None:
        super().__init__()
        self.model, self._terms = model, terms
        self.before: list[dict[str, Tensor]] = []
        self.seen: list[Batch] = []
        self.modes: list[bool] = []

    def forward(self, batch: Batch) -> Losses:
        self.before.append(weights(self.model))
        self.seen.append(batch)
        self.modes.append(self.model.training)
        return Losses({name: Term(value) for name, value in self._terms(self.model, batch).items()})


def weights(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the module's state."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether two states are equal bit by bit."""
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def rows(samples: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """(samples, 3) inputs, always the same."""
    return torch.randn(samples, 3, generator=torch.Generator().manual_seed(1), dtype=dtype)


def batches(*sizes: int, dtype: torch.dtype = torch.float32) -> list[Batch]:
    """Batches of these sizes."""
    return [Batch(part) for part in torch.split(rows(sum(sizes), dtype), list(sizes))]


def stage(
    fit: Fit,
    data: Iterable[object],
    *,
    epochs: int = 2,
    optimizer: MakeOptimizer | None = None,
    **changes: Any,
) -> ScriptedLoop:
    """A stage that trains `fit` on the same batches in every epoch."""
    make = optimizer or SGD(lr=0.05)
    return ScriptedLoop(
        **{
            "name": "training",
            "open": partial(_opened, fit, make),
            "batches": lambda epoch: data,
            "epochs": epochs,
            **changes,
        }
    )


@contextmanager
def _opened(fit: Fit, make: MakeOptimizer) -> Iterator[tuple[nn.Module, torch.optim.Optimizer]]:
    yield fit, make(fit.parameters())
