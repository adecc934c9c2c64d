"""What came of the cells of a study, kept in one file: the run directories may go, the figures stay."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from limbeck.errors import LimbeckError
from limbeck.files import parse_json, write_text
from limbeck.runs.result import Result
from limbeck.studies.cells import Cell


class TransferRecord(BaseModel):
    """A new linear classifier over the frozen student.

    Attributes:
        data: name of the data set, in the notation.
        metric: name of the metric of its task.
        value: of that metric on the test split, or on validation where there is no test split.
        lr: the learning rate that validation chose.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    metric: str
    value: float
    lr: float


class Point(NamedTuple):
    """The student after an epoch, and what it had cost by then, phases included.

    Attributes:
        steps: of the student's optimizer.
        seconds: of training, validation not counted.
        forwards: samples that the networks of the teachers were shown.
        validation: the first metric of the task on the validation split; None without one.
    """

    steps: int
    seconds: float
    forwards: int
    validation: float | None


class CellRecord(BaseModel):
    """What came of one cell.

    Attributes:
        identity: what decided it, as `Cell.identity` gives it.
        result: of its run.
        curve: the student after each epoch.
        right: which test samples it got right, a bit each, packed and in base64; None where that was not
            asked, and for tasks other than classification.
        tested: how many test samples those are.
        noiseless: the first metric of the task on the samples that were shown with noise; None where that was
            not asked, as is the next.
        noisy: the same at severity 1 to 5, by kind of noise.
        transfer: figures on other data sets, by their name in the study.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    identity: dict[str, Any]
    result: Result
    curve: tuple[Point, ...]
    right: str | None = None
    tested: int = 0
    noiseless: float | None = None
    noisy: dict[str, tuple[float, ...]] | None = None
    transfer: dict[str, TransferRecord] = {}

    @property
    def correct(self) -> NDArray[np.bool_] | None:
        """(N,) which test samples it got right; None if that is not known."""
        if self.right is None:
            return None
        bits = np.unpackbits(np.frombuffer(base64.b64decode(self.right), dtype=np.uint8))
        return bits[: self.tested].astype(bool)


def packed(correct: NDArray[np.bool_]) -> str:
    """The text that `CellRecord.right` holds."""
    return base64.b64encode(np.packbits(correct).tobytes()).decode()


class Records:
    """The file of a study's figures.

    Several processes may add to it.

    Args:
        path: of the file, which need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, CellRecord]:
        """The records by the key of their cell.

        Raises:
            LimbeckError: if the file is damaged.
        """
        if not self.path.exists():
            return {}
        try:
            cells = parse_json(self.path.read_text(encoding="utf-8"))["cells"]
            return {key: CellRecord.model_validate(record) for key, record in cells.items()}
        except (ValueError, LookupError, TypeError, AttributeError, ValidationError) as error:
            problem = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            raise LimbeckError(f"{str(self.path)!r} holds no figures of a study: {problem}") from None
        except OSError as error:
            raise LimbeckError(f"{str(self.path)!r} cannot be read: {error.strerror}") from None

    def add(self, found: Mapping[str, CellRecord]) -> None:
        """Adds records at once, whole or not at all; a cell that is there is replaced."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_name(f".{self.path.name}.lock")):
            cells = {key: record.model_dump_json() for key, record in {**self.read(), **found}.items()}
            lines = ",\n".join(f"{json.dumps(key)}: {cells[key]}" for key in sorted(cells))
            write_text(self.path, f'{{"version": 1, "cells": {{\n{lines}\n}}}}\n')


def changed(cells: Iterable[Cell], known: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What differs between cells and the identities that they were begun with, in words, a line each.

    Args:
        cells: as the study file has them now.
        known: identities by key; cells that are not among them have not begun.
    """
    lines = []
    for cell in cells:
        if (there := known.get(cell.key)) is None or there == cell.identity:
            continue
        here = cell.identity
        keys = [key for key in {**there, **here} if there.get(key) != here.get(key)]
        first = keys[0]
        more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        lines.append(f"{cell.key}: {first} was {there.get(first)!r} and is {here.get(first)!r}{more}")
    return lines
