"""Linear layers on the embedding of a network that was made for something else."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from limbeck.features import FeaturePoints, Tap
from limbeck.methods import Losses, Term
from limbeck.methods.ce import cross_entropy
from limbeck.methods.parts.blocks import full_precision
from limbeck.optimization import SGD
from limbeck.outputs import Batch, Outputs
from limbeck.seeds import seed_for
from limbeck.tasks import Task
from limbeck.teachers import Teacher


class NewHead(nn.Module):
    """A network that answers by a linear layer on its embedding; its own head has no part in the answer."""

    def __init__(self, network: nn.Module, points: FeaturePoints, head: nn.Linear) -> None:
        super().__init__()
        self.network, self.head = network, head
        self._tap = Tap(network, points, ["embedding"])

    def forward(self, inputs: Tensor | None = None, **named: Tensor) -> Tensor:
        """(B, width) outputs for what the network takes, a tensor or named tensors."""
        embedding = self._tap(named if inputs is None else inputs).embedding
        return self.head(embedding)  # type: ignore[no-any-return]


class Heads(nn.Module):
    """Linear layers side by side on one frozen embedding, each with a learning rate of its own.

    Args:
        task: what they are for; its rows are choices among classes.
        body: gives the embedding.
        head: the layer that all start as.
        rates: learning rates.
    """

    def __init__(self, task: Task, body: Teacher, head: nn.Linear, rates: Sequence[float]) -> None:
        super().__init__()
        self._task = task
        self.body = body  # no nn.Module: no optimizer, train() or checkpoint reaches it
        self.by_rate = {lr: copy.deepcopy(head) for lr in rates}
        self.heads = nn.ModuleList(self.by_rate.values())

    def forward(self, batch: Batch) -> Losses:
        """Cross-entropy of each, over the rows."""
        embedding = self.body(batch).embedding
        return Losses(
            {
                f"lr={lr}": Term(self._loss(full_precision(head(embedding)), batch), "task")
                for lr, head in self.by_rate.items()
            }
        )

    def _loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        rows = self._task.rows(batch, Outputs(logits=outputs))
        assert rows.targets is not None
        return cross_entropy(rows.logits(outputs), rows.targets)

    def optimizer(self) -> torch.optim.Optimizer:
        """One optimizer with a group for each."""
        (first, head), *rest = self.by_rate.items()
        optimizer = SGD(lr=first)(head.parameters())
        for lr, head in rest:
            optimizer.add_param_group({"params": list(head.parameters()), "lr": lr})
        return optimizer


def new_head(embedding: Tensor, width: int, seed: int) -> nn.Linear:
    """A layer of `width` outputs on embeddings like these, (B, D); small normal weights as in ICD's code."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "new head"))
        head = nn.Linear(embedding.shape[1], width)
        nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    return head.to(embedding.device)
