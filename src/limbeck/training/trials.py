"""Choices that are made by trying them: one forward and backward that leave no trace."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from statistics import median
from typing import Literal

import torch
from torch import nn

from limbeck.errors import LimbeckError
from limbeck.features import undone
from limbeck.outputs import Batch
from limbeck.training.choices import (
    Choices,
    MemoryFormat,
    gains_by_channels_last,
    unsafe_in_channels_last,
)

WORTH_COMPILING = 60.0
"""Seconds a loop must have to go for `compile=auto` to try the compiler, which takes about as many."""
STEPS = 3
"""Steps that each way is timed for."""


class Trials:
    """Makes a loop's choices on its first batch.

    Args:
        module: the loop's module, as it is before it is wrapped for several processes.
        batch: what it is tried on.
        note: says what was not to be had.
        average: of a number over all processes, which must choose alike.
        taken: the settings that were "auto" and have what a checkpoint says of them.
    """

    def __init__(
        self,
        module: nn.Module,
        batch: Batch,
        note: Callable[[str], None],
        average: Callable[[float], float] = float,
        taken: Collection[str] = (),
    ) -> None:
        self._module, self._batch, self._note = module, batch, note
        self._average, self._taken = average, taken

    def memory_format(self, choices: Choices, asked: MemoryFormat | Literal["auto"]) -> Choices:
        """The choices with channels-last images if they are asked for, or "auto" sees a gain in them.

        Raises:
            LimbeckError: if they are asked for and the networks cannot take them.
        """
        tried, failure = try_channels_last(choices, asked, self._module, self._batch, self._failure)
        if failure is None:
            return tried
        reason = f"the networks cannot take channels-last images: {failure}"
        if asked != "auto":
            raise self._refusal("memory_format", "channels_last", reason)
        self._note(f"{reason}; they get them as they are")
        return tried

    def compile(
        self,
        choices: Choices,
        asked: bool | Literal["auto"],
        compiled: AbstractContextManager[None],
        context: ExitStack,
        left: int,
    ) -> Choices:
        """The choices with compiled networks if they are asked for, or "auto" finds that they save time.

        Args:
            compiled: a context in which the networks run compiled.
            context: what keeps it open if it is to stay so.
            left: batches like this one to go.
        Raises:
            LimbeckError: if it is asked for and cannot be done.
        """
        if not asked:
            return choices
        # Also where compiling is asked for: what networks overwrite in place shows only as they are.
        failure, eager = self._failure(choices), math.inf
        if asked == "auto":
            if failure is not None:
                self._note(f"compile=auto cannot try the networks, which run as they are: {failure}")
                return choices
            eager = self._average(self._time(choices))
        if left * eager < WORTH_COMPILING:
            return choices
        context.enter_context(compiled)
        begun = time.perf_counter()
        failure = self._failure(choices)
        compilation = self._average(time.perf_counter() - begun)
        if failure is not None:
            context.close()
            if asked is True:
                raise self._refusal("compile", "true", f"the networks cannot be compiled here: {failure}")
            self._note(f"the networks cannot be compiled here and run as they are: {failure}")
            return choices
        # The compilation counts once more: a last batch of another size needs one of its own.
        if asked == "auto" and compilation + left * self._average(self._time(choices)) >= left * eager:
            context.close()
            return choices
        return replace(choices, compile=True)

    def _refusal(self, setting: str, value: str, reason: str) -> LimbeckError:
        if setting in self._taken:
            return LimbeckError(
                f"{setting}=auto came to {value} when this training began, and it cannot be resumed here: "
                f"{reason}"
            )
        return LimbeckError(f"{setting}={value}: {reason}")

    def _failure(self, choices: Choices) -> str | None:
        """Why a step cannot be done in some process; None if it can in all. Too little memory is raised."""
        failure = None
        try:
            self._step(choices)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            failure = first_line(error)
        failed = self._average(float(failure is not None)) > 0
        return (failure or "another process failed") if failed else None

    def _time(self, choices: Choices) -> float:
        """Median seconds of a step."""
        seconds = []
        for _ in range(STEPS):
            begun = time.perf_counter()
            self._step(choices)
            seconds.append(time.perf_counter() - begun)
        return median(seconds)

    def _step(self, choices: Choices) -> None:
        """One forward and backward, waited for."""
        with undone(self._module, self._batch.inputs):
            learning = [parameter for parameter in self._module.parameters() if parameter.requires_grad]
            total = choices.forward(self._module, self._batch).total
            # Unlike backward(), this touches no .grad, and no hook that joins several processes.
            torch.autograd.grad(total, learning, allow_unused=True)
            total.item()


def check_compiler(device: torch.device) -> None:
    """Refuses a machine on which `torch.compile` lacks something, such as a C++ compiler."""
    try:
        torch.compile(lambda tensor: tensor + 1)(torch.zeros(8, device=device))
    except RuntimeError as error:
        raise LimbeckError(f"compile=true: nothing can be compiled here: {first_line(error)}") from None


def try_channels_last(
    choices: Choices,
    asked: MemoryFormat | Literal["auto"],
    module: nn.Module,
    batch: Batch,
    failure_of: Callable[[Choices], str | None],
) -> tuple[Choices, str | None]:
    """The choices with channels-last images, if they are asked for or "auto" sees a gain in them.

    Args:
        choices: the choices as they are so far.
        asked: the setting.
        module: what holds the networks.
        batch: a batch for them.
        failure_of: a function that tries choices and says why they fail; None if they do not.
    Returns: the choices to take, and why the networks cannot take channels-last images; None if they can or
        need not.
    """
    gains = asked == "auto" and gains_by_channels_last(module, batch)
    if not gains and asked != "channels_last":
        return choices, None
    tried = replace(choices, memory_format="channels_last")
    if unsafe := unsafe_in_channels_last(module):
        return choices, unsafe
    failure = failure_of(tried)
    if failure is None:
        return tried, None
    if failure_of(choices):  # it is not the format's fault, and the first step will say what it is
        return choices if asked == "auto" else tried, None
    return choices, failure


def first_line(error: Exception) -> str:
    """The part of a message that says what went wrong."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    first = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]  # the compiler's says only who raised
    return first.strip().rstrip(".")
