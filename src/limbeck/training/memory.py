"""What is said where memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from limbeck.errors import LimbeckError
from limbeck.training.records import Records


@contextmanager
def enough_memory(where: str, remedy: Callable[[], str], records: Records) -> Iterator[None]:
    """A context of which it is said, with a remedy, if there is not enough memory for what is in it.

    Args:
        where: what was being done, from a preposition on.
        remedy: a function that says what helps, a sentence with a space behind it.
        records: which say what the training can go on from.
    Raises:
        LimbeckError: in place of the error of torch or of Python.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # An accelerator's error is of a kind of its own; torch's on a CPU is a RuntimeError.
        known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if not known and "allocate memory" not in str(error):
            raise
        raise LimbeckError(f"memory ran out {where}; {remedy()}{records.last_good}") from error
