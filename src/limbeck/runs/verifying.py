"""Whether a cache says what its teacher says: the log-probabilities of the true tokens of some texts."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from limbeck.config import RunConfig
from limbeck.errors import LimbeckError
from limbeck.features import call, logits_of
from limbeck.outputs import UNLABELED, Batch
from limbeck.runs.filling import opened
from limbeck.tasks import Language
from limbeck.training import Trainer

NEAR = 0.01
"""Nats by which the cache may differ from its teacher: numbers in float16 differ by much less."""


@dataclass(frozen=True)
class Verified:
    """What was compared.

    Attributes:
        samples: texts.
        tokens: true tokens in them.
        told: those that the cache tells apart, of which the figures are.
        cached: their mean negative log-likelihood in the cache, in nats.
        live: that by the teacher.
    """

    samples: int
    tokens: int
    told: int
    cached: float
    live: float

    @property
    def near(self) -> bool:
        """Whether both are the same but for rounding."""
        return abs(self.cached - self.live) <= NEAR


def verify(config: RunConfig, samples: int) -> Verified:
    """Asks a teacher again about some texts that are in its cache.

    Args:
        config: teacher and data, as a run with this cache has them.
        samples: how many texts at most, the first ones that are there.
    Raises:
        LimbeckError: for what is no language model, and a cache that has none of the texts.
    """
    teacher, source, config = opened(config)
    if not isinstance(source.task, Language) or "logits" not in teacher.cached:
        raise LimbeckError(
            f"a cache is compared with its teacher where it keeps the logits of a language model, and "
            f"{source.name} is for {source.task.name}; verify it without a teacher"
        )
    trainer = Trainer(device=config.training.device, precision=config.training.precision, display=False)
    device = trainer.device
    teacher.apply(lambda tensor: tensor.to(device))
    split = source.train.to(device)
    autocast = torch.autocast(device.type, torch.bfloat16) if trainer.precision == "bf16" else nullcontext()
    sums, tokens, seen = torch.zeros(3, dtype=torch.float64), 0, 0
    with autocast, torch.no_grad():
        for index in torch.split(split.index, config.training.batch_size):
            view = torch.full_like(index, source.views.base)
            there = ~teacher.missing(index, view).to(device)
            index, view = index[there][: samples - seen], view[there][: samples - seen]
            if len(index):
                inputs = teacher.preparation.read(
                    split.samples.render(source.views, index, view), split.samples, index
                )
                assert split.targets is not None
                targets = split.targets[torch.isin(split.index, index)]
                ranked = teacher(Batch(inputs, index=index, view=view))["ranked"]
                network = teacher.network.to(device).eval()
                live = logits_of(call(network, inputs), width=source.task.width, dense=True)
                sums += _compared(ranked.ids, ranked.logs, live[..., : source.task.width], targets)
                tokens += int((targets != UNLABELED).sum())
                seen += len(index)
            if seen == samples:
                break
    if not seen:
        raise LimbeckError(
            f"the cache has none of the training samples of {source.name}; fill it with `limbeck cache "
            "fill`, or give the teacher, data, precision and top that it was made with"
        )
    told = int(sums[0])
    return Verified(seen, tokens, told, *(float(each / max(told, 1)) for each in sums[1:]))


def _compared(ids: Tensor, logs: Tensor, live: Tensor, targets: Tensor) -> Tensor:
    """(3,) true tokens that are told apart, and the sums of their NLL in the cache and by the teacher.

    Args:
        ids, logs: (B, L, k) what the cache has.
        live: (B, L, V) logits.
        targets: (B, more than L).
    """
    targets = targets[:, : ids.shape[1]]
    wanted = targets.clamp(min=0).unsqueeze(-1)
    hit = (ids == wanted) & (targets != UNLABELED).unsqueeze(-1)
    rows = hit.any(-1)
    cached = logs.masked_fill(~hit, 0.0).sum(-1)[rows]
    found = live[rows].float().log_softmax(-1).gather(-1, wanted[rows])
    return torch.stack([rows.sum().double(), -cached.double().sum(), -found.double().sum()]).cpu()
