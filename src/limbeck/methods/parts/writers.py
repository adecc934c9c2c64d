"""What the methods share that exchange a batch for text that networks write."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.generation import Noise, Written, most_tokens, noise
from limbeck.hashing import below
from limbeck.methods.base import Method, inner_first
from limbeck.methods.declarations import Context, Networks, Reads
from limbeck.methods.parts.rewriting import Prompts, at_rest, prompts_of, rewritten
from limbeck.methods.terms import Term
from limbeck.outputs import Batch, Inputs, Outputs, named


def foreign(method: str, teacher: str) -> str:
    """What is said of a teacher that cannot read what is written in the student's tokens."""
    return (
        f"{method} has student and teacher read what is written, and {teacher} has a tokenizer of its own; "
        "take a teacher with the student's"
    )


class Writer(Method):
    """Exchanges batches of the task `language` for text that networks write, and wraps what learns from them.

    Class attributes:
        labeled: whether the written tokens are labels; those of a student are none, which `ce` passes over.
        asks: whether a teacher writes or reads as the batch is made.
    """

    reads = Reads(batch=("targets", "progress"))
    rows = "classes"
    tasks = ("language",)
    row_wise = True
    labeled: ClassVar[bool] = False
    asks: ClassVar[bool] = False

    def __init__(self, base: Method | None, *, length: int, beginning: int, fraction: float) -> None:
        super().__init__()
        for method in inner_first(base) if base else ():
            if isinstance(method, Writer):
                raise LimbeckError(
                    f"{self.name} wraps what learns from the text that is written for it, and {method.name} "
                    "has another one written; take one of the two"
                )
        self.base, self.length, self.beginning, self.fraction = base, length, beginning, fraction
        self.reads = replace(self.reads, teacher=("logits",) if self.asks else ())

    @property
    def reads_in_training(self) -> Reads:
        """Nothing of a teacher, which has its part before training reads a batch."""
        return replace(self.reads, teacher=())

    def bind(self, context: Context) -> None:
        """Draws a seed."""
        from limbeck.tasks.language import Language  # the equations are imported without it

        task = context.task
        assert isinstance(task, Language)
        self.draws: Tensor
        self.register_buffer("draws", torch.randint(2**62, ()))
        self.tokens: Tensor
        self.register_buffer("tokens", torch.zeros(()))
        self.width = task.width
        self.ends = () if task.end is None else (task.end,)

    def collect(self, batch: Batch, networks: Networks) -> Batch:
        """In a share of the steps, the text that is written after the prompts of the batch."""
        assert batch.progress is not None
        seed, step = int(self.draws), batch.progress.step
        if float(below(1 << 30, seed, step)) >= self.fraction * (1 << 30):
            return batch
        for name, theirs in batch.teacher_inputs.items():
            if not _alike(batch.inputs, theirs):
                raise LimbeckError(foreign(self.name, name))
        prompts = prompts_of(batch, self.beginning)
        device = prompts.ids.device
        sample = torch.arange(len(batch), device=device) if batch.index is None else batch.index

        def numbers(role: int, place: Tensor) -> Tensor:
            return noise(seed, step, role, sample, place)

        with at_rest(networks.student):
            written = self.written(prompts, sample, numbers, networks)
        return self.made(batch, prompts, written)

    @abstractmethod
    def written(self, prompts: Prompts, sample: Tensor, numbers: Noise, networks: Networks) -> Written:
        """What is written after some prompts.

        Args:
            prompts: of B texts.
            sample: (B,) number of each text among the data.
            numbers: random numbers.
            networks: student, at rest, and teachers.
        """

    def teacher_of(self, networks: Networks, texts: int) -> nn.Module:
        """The network of the teacher, to write or to read some texts piece by piece.

        Each text counts as one sample that the network was shown: it sees every token of it once, and what
        was proposed and dropped besides.

        Args:
            networks: student and teachers.
            texts: how many.
        Raises:
            LimbeckError: if the teacher has none.
        """
        name = self.teacher_name or next(iter(networks.teachers), None)
        teacher = None if name is None else networks.teachers[name]
        if teacher is None or (network := teacher.network) is None:
            raise LimbeckError(f"{self.name} has its teacher write, and that one has no live network")
        teacher.lent += texts
        return network

    @staticmethod
    def read_by_all(networks: Networks) -> int | None:
        """How many tokens of a text student and teachers read at most; None where nothing says it."""
        teachers = (teacher.network for teacher in networks.teachers.values())
        each = [most_tokens(network) for network in (networks.student, *teachers) if network is not None]
        return min((most for most in each if most is not None), default=None)

    def made(self, batch: Batch, prompts: Prompts, written: Written) -> Batch:
        """The batch to learn from."""
        return rewritten(batch, prompts, written, labeled=self.labeled)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """The terms of what is wrapped, and the mean length of what was written last."""
        assert self.base is not None
        return {**self.base.terms(student, teacher, batch), "tokens": self.lengths(batch)}

    def lengths(self, batch: Batch) -> Term:
        """The mean length of what was written last, to be looked at."""
        if "tokens" in batch.figures:
            self.tokens.fill_(batch.figures["tokens"].double().mean())
        return Term(self.tokens, "monitor", per="samples")


def _alike(ours: Inputs, theirs: Inputs) -> bool:
    """Whether two networks read the same ids."""
    first, second = (named(each).get("input_ids") for each in (ours, theirs))
    return first is not None and second is not None and torch.equal(first, second)
