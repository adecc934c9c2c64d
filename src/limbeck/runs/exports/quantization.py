"""What the quantization of a student cost and gave: the record that a run keeps of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from limbeck import tasks
from limbeck.errors import LimbeckError
from limbeck.evaluation.results import Data, Machine, Timing
from limbeck.files import digest
from limbeck.tasks.wording import Cell, axis, figure

FILE = "quantization.json"

SplitName: TypeAlias = Literal["validation", "test", "training"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Figures(_Record):
    """What was measured on a split.

    Attributes:
        samples: how many were measured on; of a larger split, some from all over it.
        before: metrics of the task by name for the file in float32; none without labels.
        after: the same for the quantized file.
        agreement: share of the rows that both files decide alike; None where a task decides nothing.
        distance: distance of the answers, as the task measures it; the file in float32 is the teacher in it.
    """

    samples: int
    before: dict[str, float]
    after: dict[str, float]
    agreement: float | None
    distance: float


class Times(_Record):
    """The time of one call of the file in float32 and of the quantized one, which took turns."""

    before: Timing
    after: Timing


class Sizes(_Record):
    """The bytes of the file in float32 and of the quantized one."""

    before: int
    after: int


class Quantization(_Record):
    """The record of a quantized file and of the file in float32 that it was made of.

    Attributes:
        version: version of this format.
        file: where the quantized file went; its name alone in the run's own directory.
        digest: 16 hex digits of what it holds.
        precision: that of the weights.
        mode: "static", with ranges of the activations from calibration data, or "dynamic".
        calibration: how many training samples gave those ranges; 0 for dynamic quantization.
        task: the record of the student's task (see `limbeck.tasks.from_record`).
        data: the data that all was measured on.
        splits: what was measured, by split; training only where it had to decide.
        decided_on: the split that `drop` is of; None where there was nothing to decide.
        drop: loss in the task's first metric, as it is shown: points for a percentage; below 0 for a gain.
        max_drop: largest loss that was allowed; None if any was.
        latency: see `Times`, by the number of samples in a batch.
        bytes: see `Sizes`.
        machine: what the times are of.
        onnxruntime: its version.
    """

    version: Literal[1] = 1
    file: str
    digest: str
    precision: Literal["int8"] = "int8"
    mode: Literal["static", "dynamic"]
    calibration: int
    task: dict[str, Any]
    data: Data
    splits: dict[SplitName, Figures]
    decided_on: SplitName | None
    drop: float | None
    max_drop: float | None
    latency: dict[int, Times]
    bytes: Sizes
    machine: Machine
    onnxruntime: str

    def lies_in(self, folder: Path) -> bool:
        """Whether that file is still in a run's directory, and the same."""
        file = folder / self.file
        return file.parent == folder and file.is_file() and digest(file) == self.digest

    @property
    def timed_on(self) -> str:
        """What the times are of, for people."""
        return f"onnxruntime {self.onnxruntime} on {self.machine.processor}, {self.machine.shown_threads}"

    @property
    def rows(self) -> Iterator[tuple[str, Cell, Cell]]:
        """What a table shows: the name of a figure, and its value in float32 and quantized.

        Raises:
            LimbeckError: if the task is not installed.
        """
        metric = tasks.from_record(self.task).primary
        for split, found in self.splits.items():
            if metric.name in found.before and metric.name in found.after:
                before, after = (figure(metric, each[metric.name]) for each in (found.before, found.after))
                yield f"{axis(metric)}, {split}", before, after
            if found.agreement is not None:
                yield f"agreement (%), {split}", None, f"{100 * found.agreement:.2f}"
            else:
                yield f"distance, {split}", None, found.distance
        for size, times in self.latency.items():
            before, after = (f"{each.median_ms:.3f}" for each in (times.before, times.after))
            yield f"latency, batch {size} (ms)", before, after
        yield "file (bytes)", self.bytes.before, self.bytes.after

    @property
    def notes(self) -> str:
        """What a reader of the table must know, in whole sentences."""
        said = f"Times are medians of 50 calls in {self.timed_on}; the two files took turns."
        if any(each.agreement is None for each in self.splits.values()):
            distance = tasks.from_record(self.task).distance
            said += f" Distance: {distance}, where the file in float32 is the teacher."
        return said


def read(folder: Path) -> Quantization | None:
    """What a run's `quantization.json` holds; None where there is none.

    Raises:
        LimbeckError: if it is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return Quantization.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "all of it"
        raise LimbeckError(f"{str(path)!r} is damaged: {where}: {problem['msg']}") from None
