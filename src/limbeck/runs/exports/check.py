"""Whether a file that was read back answers as the student does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, repeat

import torch
from torch import Tensor, nn

from limbeck.data import Loader, Split
from limbeck.data.preparation import AS_RENDERED, Preparation
from limbeck.errors import LimbeckError
from limbeck.evaluation import inference
from limbeck.features import by_word, call, logits_of
from limbeck.features.calling import element_of
from limbeck.outputs import Batch, Inputs, Outputs
from limbeck.tasks import Task

TOLERANCE = 1e-3
"""Largest difference of an output that passes, over the largest one. Float noise is 100 times smaller."""

TIES = 1e-5
"""Share of the pixels whose class may differ: of millions, some are a tie up to float noise."""

MOST = 10_000
"""Samples that a file is checked on; of a larger split, some from all over it."""

LARGEST_BATCH = 512


class CheckError(LimbeckError):
    """A file does not answer as its student does. The command line exits with code 1."""

    exit_code = 1


@dataclass(frozen=True)
class Agreement:
    """What the check found.

    Attributes:
        samples: how many were compared.
        batches: the different numbers of samples in a batch, in the order tried.
        difference: the largest between two outputs.
        ties: pixels whose class differs, `TIES` of all at most; every other decision is the same.
        decides: whether outputs choose among classes.
    """

    samples: int
    batches: tuple[int, ...]
    difference: float
    ties: int = 0
    decides: bool = True

    def summary(self, where: str) -> str:
        """One sentence, for people."""
        sizes = ", ".join(map(str, self.batches))
        same = "all decisions are the same, and " if self.decides else ""
        if self.ties:
            same = f"all decisions but {self.ties:,}, ties up to float noise, are the same, and "
        return (
            f"read back, it agrees with the student on {self.samples:,} samples of {where} in batches of "
            f"{sizes}: {same}outputs differ by {self.difference:.1e} at most"
        )


def check(
    student: nn.Module,
    answer: Callable[[Inputs], Tensor],
    split: Split,
    task: Task,
    reads: Preparation = AS_RENDERED,
    tolerance: float = TOLERANCE,
    field: str | None = None,
) -> Agreement:
    """Compares a file's answers with the student's, in batches of 1, 2, 32, and of 512 or what is left.

    Fewer at once where the memory that the data may take holds no more.

    Args:
        student: on the CPU.
        answer: outputs (B, ...) that the file gives for B samples.
        split: real data; the targets are not looked at.
        task: what the student is for.
        reads: what the student reads of a sample.
        tolerance: largest difference of an output that passes, over the largest output.
        field: name of another output that the file gives, in place of the logits.
    Raises:
        CheckError: if one row gets another class (ties too), where the task has classes, or an output differs
            by more than that. Of pixels, `TIES` may get another class.
    """
    sizes = _sizes(len(split), max(1, min(split.samples.most, split.samples.at_once)))
    found = _Differences()
    with inference(student):
        for rows in torch.split(torch.arange(len(split)), sizes):
            loader = Loader(split.select(rows), len(rows), shuffle=False, preparation=reads)
            batch = next(iter(loader))
            result = call(student, batch.inputs)
            ours = (logits_of(result) if field is None else element_of(result, field)).float()
            theirs = answer(batch.inputs).float()
            if theirs.shape != ours.shape:
                raise CheckError(
                    "the file does not answer as the student and was not kept: its outputs are "
                    f"{tuple(theirs.shape)} and not {tuple(ours.shape)}"
                )
            found.add(theirs, ours, task if field is None else None, batch)
    ties = int(TIES * found.rows) if task.spatial else 0
    decides = task.scores == "classes"
    close = found.largest <= tolerance * found.scale  # False with NaN, which is no agreement either
    if found.decisions > ties or not close:
        differ = f"{found.decisions:,} of {found.rows:,} decisions differ, and " if decides else ""
        raise CheckError(
            f"the file does not answer as the student and was not kept: {differ}"
            f"outputs of up to {found.scale:.3g} differ by {found.largest:.1e}"
        )
    return Agreement(len(split), tuple(dict.fromkeys(sizes)), found.largest, found.decisions, decides)


@dataclass
class _Differences:
    """What was seen of a file and its student so far.

    Attributes:
        rows: decisions that were compared.
        decisions: those of them that differ.
        largest: difference between two outputs.
        scale: the student's largest output.
    """

    rows: int = 0
    decisions: int = 0
    largest: float = 0.0
    scale: float = 0.0

    def add(self, theirs: Tensor, ours: Tensor, task: Task | None, batch: Batch) -> None:
        """Takes in the file's and the student's outputs for a batch; without a task, they decide nothing."""
        if task is not None:
            both = [by_word(Outputs(logits=logits), batch.inputs) for logits in (theirs, ours)]
            rows = task.rows(batch, both[1])
            self.rows += rows.count
            if task.scores == "classes":
                decided = [rows.logits(each.logits).argmax(1) for each in both]
                self.decisions += int((decided[0] != decided[1]).sum())
        mask = None if isinstance(batch.inputs, Tensor) else batch.inputs.get("attention_mask")
        if mask is not None and ours.shape[:-1] == mask.shape:  # what is said of padding means nothing
            theirs, ours = theirs[mask != 0], ours[mask != 0]
        pairs = (self.largest, (theirs - ours).abs()), (self.scale, ours.abs())
        # Of tensors, so that NaN, once seen, stays.
        self.largest, self.scale = (
            float(torch.maximum(torch.tensor(before), now.max())) for before, now in pairs
        )


def _sizes(samples: int, most: int) -> list[int]:
    """1, 2, 32, then 512 until nothing is left, `most` at most; they show that the batch axis is free."""
    sizes: list[int] = []
    for size in chain((1, 2, 32), repeat(LARGEST_BATCH)):
        if samples == sum(sizes):
            break
        sizes.append(min(size, most, samples - sum(sizes)))
    return sizes
