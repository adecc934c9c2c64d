"""A student as one graph of tensors, for any number of samples at once."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from io import StringIO

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from limbeck.errors import LimbeckError
from limbeck.features import call, logits_of
from limbeck.features.calling import element_of
from limbeck.models import standalone
from limbeck.outputs import Inputs
from limbeck.runs.exports.metadata import named_tensors

_UNTRACEABLE = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError)
"""What torch raises, or has the network raise, where a forward is no graph of tensors."""


class Answering(nn.Module):
    """A network that takes its tensors by position and gives its logits, as exporters want it.

    Args:
        network: the network.
        names: of its inputs, where they have any.
        fields: names of further outputs, which are given behind the logits.
    """

    def __init__(self, network: nn.Module, names: Sequence[str] | None, fields: Sequence[str] = ()) -> None:
        super().__init__()
        self.network = network
        self._names, self._fields = names, tuple(fields)

    def forward(self, *tensors: Tensor) -> Tensor | tuple[Tensor, ...]:
        """(B, C) logits of the one input, or of the named ones in their order; with the fields a tuple."""
        inputs = tensors[0] if self._names is None else dict(zip(self._names, tensors, strict=True))
        result = call(self.network, inputs)
        logits = logits_of(result)
        if not self._fields:
            return logits
        return logits, *(element_of(result, field) for field in self._fields)


def trace(
    student: nn.Module,
    example: Inputs,
    longest: int = 0,
    *,
    any_size: bool = False,
    fields: Sequence[str] = (),
) -> ExportedProgram:
    """The student as torch.export sees it, normalization included; its batch axis is free.

    Args:
        student: in eval mode, on the CPU.
        example: two samples or more; all but their number is fixed from now on, and their length.
        longest: most tokens of a text, where their number is free; 0 where all inputs have one shape.
        any_size: whether the height and the width of images are free.
        fields: names of further outputs, which are given behind the logits.
    Raises:
        LimbeckError: for a network whose forward is no graph of tensors, or not for any number of samples.
    """
    names = None if isinstance(example, Tensor) else list(example)
    tensors = tuple(named_tensors(example).values())
    free = {0: Dim("batch")} | ({1: Dim("length", max=longest)} if longest else {})
    sides = {2: Dim.AUTO, 3: Dim.AUTO} if any_size else {}  # torch finds out what sizes may be
    try:
        with torch.no_grad(), quiet():
            return torch.export.export(
                Answering(standalone(student), names, fields).eval(),
                tensors,
                dynamic_shapes={"tensors": tuple({**free, **sides} for _ in tensors)},
                strict=False,  # strict does not follow hooks that keep what they see, as a graft's do
            )
    except _UNTRACEABLE as error:
        raise LimbeckError(
            f"{type(student).__name__} cannot be exported: torch.export finds no graph of its forward that "
            f"takes any number of samples{', of any size' * any_size}: {first_line(error)}"
        ) from error


def first_line(error: BaseException) -> str:
    """What the error says first; its type if it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps torch's exporters from telling of themselves; what goes wrong is raised all the same."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):  # a graph in full before some errors
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
