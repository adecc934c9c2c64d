"""Whether a cache of a language model says what its teacher does: the true tokens, asked about anew."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Outputs
from limbeck.runs.arguments import RunArguments
from limbeck.runs.asking import Asking, in_precision, stretches
from limbeck.tasks import Language
from limbeck.training.choices import Choices

TOLERANCE = {"fp32": 0.02, "fp16": 0.05, "bf16": 0.25}
"""Nats by which a log-probability may differ that is kept in float16, by the precision of the teacher: in
half precision a network answers a little otherwise in batches of another size, in float16, which has three
bits more, less so than in bfloat16."""


@dataclass(frozen=True)
class Verified:
    """What was found in a cache.

    Attributes:
        samples: how many of the training samples it answers.
        of: how many there are.
        compared: tokens whose log-probability it tells.
        beyond: tokens that are not among those it tells apart.
        largest: the largest difference from the teacher's, in nats.
        mean: the mean difference.
        wrong: tokens whose difference is beyond the tolerance, and those beyond which are more probable than
            all that it does not tell apart.
        tolerance: in nats.
    """

    samples: int
    of: int
    compared: int
    beyond: int
    largest: float
    mean: float
    wrong: int
    tolerance: float


def verify(given: RunArguments) -> Verified:
    """Compares the log-probability of every true token in a cache with that of its teacher, asked anew.

    Args:
        given: the options of a run, as `limbeck cache fill` takes them.
    Raises:
        LimbeckError: for other tasks than `language`, and for a cache without an answer about these samples.
    """
    ((asking, choices),) = stretches(given)
    task = asking.source.task
    if not isinstance(task, Language):
        raise LimbeckError(
            f"the answers of a cache are compared with its teacher's for the task language, and "
            f"{asking.source.name} is for {task.name}; leave out the teacher to compare checksums"
        )
    tolerance = TOLERANCE[asking.trainer.precision]
    samples, counts = 0, torch.zeros(3, dtype=torch.int64)
    sums = torch.zeros(2, dtype=torch.float64)
    with in_precision(asking.trainer), torch.no_grad():
        for index in torch.split(asking.split.index, asking.config.training.batch_size):
            there = ~asking.teacher.missing(index, torch.zeros_like(index))
            if there.any():
                samples += int(there.sum())
                found, largest, total = _compared(asking, choices, index[there.to(index.device)], tolerance)
                counts += found
                sums = torch.stack([sums[0].maximum(largest), sums[1] + total])
    if not samples:
        raise LimbeckError(
            "the cache has no answer about these samples; it is of another teacher, tokenizer, template, "
            "block or precision, or was never filled (limbeck cache fill)"
        )
    compared, beyond, wrong = counts.tolist()
    largest, total = sums.tolist()
    mean = total / max(1, compared)
    return Verified(samples, len(asking.split), compared, beyond, largest, mean, wrong, tolerance)


def _compared(
    asking: Asking, choices: Choices, index: Tensor, tolerance: float
) -> tuple[Tensor, Tensor, Tensor]:
    """How many tokens of some samples are compared, beyond what is told apart, and wrong; the largest
    difference and the sum of all.
    """
    view = torch.zeros_like(index)
    cached = choices.forward(asking.teacher, asking.batch(index, view))
    asked = choices.forward(asking.teacher, asking.batch(index, view, keep=False))
    targets = asking.split.targets_by_position.to(index.device)[index][:, : cached["ranked"].ids.shape[1]]
    valid = targets != UNLABELED
    ranked, wanted = cached["ranked"].map(lambda tensor: tensor[valid]), targets[valid]
    told = ranked.ids == wanted.unsqueeze(1)
    kept = ranked.logs.masked_fill(~told, -torch.inf).amax(1).double().cpu()
    fresh = _of_tokens(asked, valid, wanted, asking.source.task.width).double().cpu()
    among, tail = told.any(1).cpu(), ranked.tail.squeeze(1).double().cpu()
    difference = (kept - fresh).abs().where(among, 0.0)
    above = (fresh > tail + tolerance) & ~among
    wrong = int((difference > tolerance).sum()) + int(above.sum())
    counts = torch.tensor([int(among.sum()), int((~among).sum()), wrong])
    return counts, difference.max() if len(difference) else torch.zeros(()), difference.sum()


def _of_tokens(outputs: Outputs, valid: Tensor, wanted: Tensor, width: int) -> Tensor:
    """(P,) the log-probabilities of some tokens, by logits (B, L, V) or by what makes them."""
    if "projection" in outputs:
        logits = outputs["projection"].map(lambda hidden: hidden[valid])[:]
    else:
        logits = outputs.logits[valid]
    logs: Tensor = logits[:, :width].float().log_softmax(-1)
    return logs.gather(1, wanted.unsqueeze(1)).squeeze(1)
