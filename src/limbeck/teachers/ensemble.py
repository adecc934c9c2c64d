"""Several teachers as one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.features import call, logits_of
from limbeck.outputs import Batch, Inputs, Outputs
from limbeck.tasks import Classification, Task
from limbeck.teachers.base import Teacher

Mean = Literal["logits", "probabilities"]


class Ensemble(Teacher):
    """Teachers that answer together: a weighted mean of what they answer to the same inputs.

    The mean of probabilities, sum_k w_k softmax(z_k), is handed over as its logarithm, whose softmax is that
    mean. Where a temperature divides these logits, as in KD, it softens the mean of the probabilities, which
    differs from the mean of the members' softened probabilities.

    Args:
        teachers: the members, each live, cached or itself an ensemble; all read what the ensemble reads.
        of: what the mean is taken of: "probabilities", for tasks that choose one class for each sample; or
            "logits", the outputs as they are, for every task and for outputs that are values.
        weights: the share of each member, divided by their sum; equal if None.
        task: what the members are for.
    Raises:
        LimbeckError: for no member, a file of answers as one, weights that do not fit, or probabilities of a
            task that has none.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        *,
        of: Mean = "probabilities",
        weights: Sequence[float] | None = None,
        task: type[Task] = Classification,
    ) -> None:
        if not teachers:
            raise LimbeckError("an ensemble needs a teacher or more")
        if any(teacher.gives is not None for teacher in teachers):
            raise LimbeckError(
                "the members of an ensemble answer any input, and a file of answers does not; give it as "
                "another teacher"
            )
        if of not in get_args(Mean):
            raise LimbeckError(f"an ensemble takes the mean of logits or probabilities, not of {of!r}")
        if of == "probabilities" and not (task.scores == "classes" and task.one_row_per_sample):
            raise LimbeckError(
                f"the outputs for {task.name} are no probabilities of one class for each sample; take the"
                ' mean of the outputs, Ensemble(..., of="logits")'
            )
        weights = [1.0] * len(teachers) if weights is None else weights
        if len(weights) != len(teachers) or not all(0 < weight < math.inf for weight in weights):
            raise LimbeckError(
                f"an ensemble of {len(teachers)} teachers needs as many positive weights, not {list(weights)}"
            )
        self.teachers, self.of = tuple(teachers), of
        self.weights = tuple(weight / sum(weights) for weight in weights)
        self.keeps = tuple(field for field in ("logits",) if any(field in each.keeps for each in teachers))

    @property
    def shown(self) -> int:
        """How many samples the members were shown, each counted."""
        return sum(teacher.shown for teacher in self.teachers)

    def open(self, example: Inputs, fields: Sequence[str]) -> None:
        """Opens the members.

        Raises:
            LimbeckError: for any field but the logits.
        """
        for field in fields:
            if field != "logits":
                raise LimbeckError(
                    f"an ensemble has no {field}: its members' differ in what they mean, and only logits can"
                    " be averaged; take a method that reads logits alone, or one teacher"
                )
        for teacher in self.teachers:
            teacher.width, teacher.dense = self.width, self.dense
            teacher.open(example, fields)
        self.cached = tuple(fields) if any(teacher.cached for teacher in self.teachers) else ()

    def __call__(self, batch: Batch) -> Outputs:
        """The mean of the members' answers, in float32 or what is more precise.

        Raises:
            LimbeckError: for members whose answers differ in shape.
        """
        seen = replace(batch, inputs=self.inputs_of(batch), teacher_inputs={})
        return Outputs(
            logits=mean_of([teacher(seen).logits for teacher in self.teachers], self.of, self.weights)
        )

    @property
    def network(self) -> nn.Module | None:
        """The members' networks as one, where each has one."""
        networks = [teacher.network for teacher in self.teachers]
        there = [network for network in networks if network is not None]
        return Averaged(there, self.of, self.weights) if len(there) == len(networks) else None

    def release(self) -> None:
        """Unloads what the members can load again."""
        for teacher in self.teachers:
            teacher.release()

    @contextmanager
    def compiled(self) -> Iterator[None]:
        """A context in which the members run compiled."""
        with ExitStack() as stack:
            for teacher in self.teachers:
                stack.enter_context(teacher.compiled())
            yield

    def apply(self, function: Callable[[Tensor], Tensor]) -> None:
        """Moves the members."""
        for teacher in self.teachers:
            teacher.apply(function)


class Averaged(nn.Module):
    """Networks that answer together, as one network; see `Ensemble`."""

    answers_together = True

    def __init__(self, networks: Sequence[nn.Module], of: Mean, weights: Sequence[float]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.of, self.weights = of, tuple(weights)

    def forward(self, inputs: Tensor | None = None, **named: Tensor) -> Tensor:
        """(B, C) the mean of the networks' answers to what they take, a tensor or named tensors."""
        given = named if inputs is None else inputs
        return mean_of([logits_of(call(network, given)) for network in self.networks], self.of, self.weights)


def mean_of(members: Sequence[Tensor], of: Mean, weights: Sequence[float]) -> Tensor:
    """The weighted mean of logits (B, C), or the logarithm of that of their probabilities.

    Raises:
        LimbeckError: for members whose answers differ in shape.
    """
    if len({logits.shape for logits in members}) > 1:
        widths = ", ".join(str(tuple(logits.shape[1:])) for logits in members)
        raise LimbeckError(
            f"the members of an ensemble answer a sample in different shapes, {widths}; they should have"
            " the same outputs in the same order"
        )
    exact = [logits.to(torch.promote_types(logits.dtype, torch.float32)) for logits in members]
    if of == "logits":
        return torch.stack([weight * logits for weight, logits in zip(weights, exact, strict=True)]).sum(0)
    shares = [
        logits.log_softmax(-1) + math.log(weight) for weight, logits in zip(weights, exact, strict=True)
    ]
    return torch.stack(shares).logsumexp(0)
