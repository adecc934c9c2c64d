"""Whether a file that was read back answers as the student does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, repeat

import torch
from torch import Tensor, nn

from limbeck.data import Loader, Split
from limbeck.errors import LimbeckError
from limbeck.evaluation import inference
from limbeck.features import call, logits_of
from limbeck.outputs import Inputs

TOLERANCE = 1e-3
"""Largest difference of a logit that passes, over the largest logit. Float noise is 100 times smaller."""

LARGEST_BATCH = 512


class CheckError(LimbeckError):
    """A file does not answer as its student does. The command line exits with code 1."""

    exit_code = 1


@dataclass(frozen=True)
class Agreement:
    """What the check found.

    Attributes:
        samples: how many were compared; the class is the same for all.
        batches: the different numbers of samples in a batch, in the order tried.
        difference: the largest between two logits.
    """

    samples: int
    batches: tuple[int, ...]
    difference: float

    def summary(self, where: str) -> str:
        """One sentence, for people."""
        sizes = ", ".join(map(str, self.batches))
        return (
            f"read back, it agrees with the student on {self.samples:,} samples of {where} in batches of "
            f"{sizes}: top-1 agreement 100 %, logits differ by {self.difference:.1e} at most"
        )


def check(student: nn.Module, answer: Callable[[Inputs], Tensor], split: Split) -> Agreement:
    """Compares a file's answers with the student's, in batches of 1, 2, 32, and of 512 or what is left.

    Fewer at once where the memory that the data may take holds no more.

    Args:
        student: on the CPU.
        answer: (B, C) logits that the file gives for B samples.
        split: real data; the targets are not looked at.
    Raises:
        CheckError: if one sample gets another class (ties too), or a logit differs by more than `TOLERANCE`.
    """
    sizes = _sizes(len(split), max(split.samples.most, 1))
    parts = [split.select(rows) for rows in torch.split(torch.arange(len(split)), sizes)]
    theirs, ours = [], []
    with inference(student):
        for part in parts:
            inputs = next(iter(Loader(part, len(part), shuffle=False))).inputs
            theirs.append(answer(inputs).float())
            ours.append(logits_of(call(student, inputs)).float())
    found, wanted = torch.cat(theirs), torch.cat(ours)
    if found.shape != wanted.shape:
        problem = f"its logits are {tuple(found.shape)} and not {tuple(wanted.shape)}"
        raise CheckError(f"the file does not answer as the student and was not kept: {problem}")
    differing = int((found.argmax(1) != wanted.argmax(1)).sum())
    difference, largest = float((found - wanted).abs().max()), float(wanted.abs().max())
    if differing or not difference <= TOLERANCE * largest:  # not: NaN is no agreement either
        raise CheckError(
            f"the file does not answer as the student and was not kept: {differing:,} of {len(wanted):,} "
            f"samples get another class, and logits of up to {largest:.3g} differ by {difference:.1e}"
        )
    return Agreement(len(wanted), tuple(dict.fromkeys(map(len, ours))), difference)


def _sizes(samples: int, most: int) -> list[int]:
    """1, 2, 32, then 512 until nothing is left, `most` at most; they show that the batch axis is free."""
    sizes: list[int] = []
    for size in chain((1, 2, 32), repeat(LARGEST_BATCH)):
        if samples == sum(sizes):
            break
        sizes.append(min(size, most, samples - sum(sizes)))
    return sizes
