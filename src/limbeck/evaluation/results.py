"""What an evaluation found: the records that `evaluation.json` holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from limbeck import tasks
from limbeck.errors import LimbeckError
from limbeck.evaluation import version1
from limbeck.files import parse_json
from limbeck.tasks import Agreement, Findings, Task
from limbeck.tasks.parts.rates import Rate

Suite: TypeAlias = Literal["quick", "full"]
Role: TypeAlias = Literal["student", "teacher", "baseline"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Timing(_Record):
    """Wall-clock milliseconds of one call: median and 95th percentile."""

    median_ms: float
    p95_ms: float


class Cost(_Record):
    """What the network costs to run.

    Attributes:
        parameters: how many numbers.
        multiply_adds: multiply-adds of one sample, in convolutions, matrix products and attention.
        bytes: size in bytes of the weights in a file.
        peak_bytes: most memory that tensors take at once in a call with 32 samples, weights included; None
            in the quick suite, as are the next.
        latency: by batch size, 1 and 32.
        throughput: samples a second in large batches.
    """

    parameters: int
    multiply_adds: int
    bytes: int
    peak_bytes: int | None
    latency: dict[int, Timing] | None
    throughput: float | None


class NetworkResult(_Record):
    """One network's figures.

    Attributes:
        name: the model, in the notation.
        run: the directory it comes from, if it comes from a run.
        metrics: those of the task, by name.
        intervals: 95 % Wilson intervals of the metrics that are shares of rows, by the metric's name.
        findings: all that the task found out about the network.
        robustness: the task's first metric at severity 1 to 5, by kind of noise; None in the quick suite and
            where the inputs cannot be corrupted.
        noiseless: that metric at severity 0, on the samples that `robustness` is of; None where that is None.
        cost: see `Cost`.
    """

    name: str
    run: str | None
    metrics: dict[str, float]
    intervals: dict[str, Rate]
    findings: SerializeAsAny[Findings]
    robustness: dict[str, tuple[float, ...]] | None
    noiseless: float | None
    cost: Cost


class Measured(_Record):
    """A metric on `samples` samples; `low` and `high` are its 95 % interval where it is a share of them."""

    value: float
    low: float | None
    high: float | None
    samples: int


class CKA(_Record):
    """Similarity of representations, linear CKA; 1 for equal ones, about 0 for unrelated ones.

    Attributes:
        embedding: CKA of the two embeddings; None where one was not found.
        stages: a row for each stage of the student, a column for each of the teacher; None in the quick suite
            and where a network has none.
    """

    embedding: float | None
    stages: tuple[tuple[float, ...], ...] | None


class TargetComplexity(_Record):
    """How hard some targets are for a kernel.

    Attributes:
        complexity: sqrt(Y^T K^-1 Y * tr K) / n, a reconstruction (see `limbeck.evaluation.complexity`).
        relative: that of the complexity for a kernel that prefers nothing, which is 1; less where the targets
            lie along what the kernel learns easily. None for targets that are the same for all samples.
    """

    complexity: float
    relative: float | None


class Supervision(_Record):
    """How hard what a student learned from is for it.

    Attributes:
        samples: training samples that it is measured on.
        seed: random seed of their draw.
        ridge: share of the mean of the kernel's diagonal that was added to it.
        kernel: "full", of all outputs of all samples; or its "mean" over the outputs.
        trained: by the name of the targets, for the student as it is.
        initial: the same for the student before its training; None where that is not known.
    """

    samples: int
    seed: int
    ridge: float
    kernel: Literal["full", "mean"]
    trained: dict[str, TargetComplexity]
    initial: dict[str, TargetComplexity] | None


class Data(_Record):
    """What was measured on."""

    name: str
    fingerprint: str


class Machine(_Record):
    """What the times were measured on: the `processor` that the device is, and the CPU `threads` of torch."""

    processor: str
    threads: int

    @property
    def shown_threads(self) -> str:
        """The threads for people."""
        return "1 thread" if self.threads == 1 else f"{self.threads} threads"


class Written(_Record):
    """What language models wrote.

    Attributes:
        beginnings: of held-out texts, which the networks were given.
        texts: by role, how the network goes on after each.
    """

    beginnings: tuple[str, ...]
    texts: dict[Role, tuple[str, ...]]


class TaskScore(_Record):
    """What networks score on a task of lm-eval.

    Attributes:
        task: name of the task, or of a group of them.
        metric: name of the metric, with that of the filter of the answers where there is one.
        samples: documents that it was measured on; None for a group.
        values: by role.
        errors: standard errors, by role, where lm-eval has one.
    """

    task: str
    metric: str
    samples: int | None
    values: dict[Role, float]
    errors: dict[Role, float]


def _task(info: ValidationInfo) -> type[Task]:
    """The class of the task that a record says."""
    task = info.data["task"]
    return tasks.named(str(task.get("name")), task.get("package"))


class Evaluation(_Record):
    """All of it.

    Attributes:
        version: version of this format.
        task: the record of the task (`Task.record`).
        suite: how much was measured.
        split: split of the data; validation only where the data has no test split.
        data: see `Data`.
        samples: in the split.
        device: what it ran on.
        machine: see `Machine`.
        seed: random seed of the noise; None where none was shown.
        networks: by role; the student is always there.
        agreement: how close the student's answers are to the teacher's; None without a teacher.
        cka: how alike student and teacher represent the samples; None without a teacher.
        supervision: how hard the targets were for the student; None where it was not asked for.
        written: what language models wrote; None for other networks.
        scores: what language models score on tasks of lm-eval, where that was asked for.
        notes: sentences on what was left out, and why.
    """

    version: Literal[2] = 2
    task: dict[str, Any]
    suite: Suite
    split: Literal["test", "validation"]
    data: Data
    samples: int
    device: str
    machine: Machine
    seed: int | None
    networks: dict[Role, NetworkResult]
    agreement: SerializeAsAny[Agreement] | None
    cka: CKA | None
    supervision: Supervision | None = None
    written: Written | None = None
    scores: tuple[TaskScore, ...] = ()
    notes: tuple[str, ...] = ()

    @field_validator("task")
    @classmethod
    def _as_json(cls, task: dict[str, Any]) -> dict[str, Any]:
        """With lists for tuples, so that a record that was read equals the one that was written."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in task.items()}

    @field_validator("networks", mode="before")
    @classmethod
    def _with_findings(cls, networks: Any, info: ValidationInfo) -> Any:
        """With the findings as the task's own class."""
        if "task" not in info.data or not isinstance(networks, Mapping):
            return networks
        findings = _task(info).findings
        return {
            role: {**each, "findings": findings.model_validate(each.get("findings"))}
            if isinstance(each, Mapping)
            else each
            for role, each in networks.items()
        }

    @field_validator("agreement", mode="before")
    @classmethod
    def _of_the_task(cls, agreement: Any, info: ValidationInfo) -> Any:
        """As the task's own class."""
        if "task" not in info.data or not isinstance(agreement, Mapping):
            return agreement
        return _task(info).agreement.model_validate(agreement)

    @cached_property
    def found_task(self) -> Task:
        """The task.

        Raises:
            LimbeckError: if it is not installed.
        """
        return tasks.from_record(self.task)

    @property
    def timed_on(self) -> str:
        """What the wall-clock times are of, for people."""
        return f"{self.machine.processor} ({self.device}), {self.machine.shown_threads}"

    @property
    def student(self) -> NetworkResult:
        """The student's figures."""
        return self.networks["student"]


def read(path: Path) -> Evaluation | None:
    """What an `evaluation.json` holds; None where there is no such file.

    Raises:
        LimbeckError: if it is damaged, or of a task that is not installed.
    """
    if not path.is_file():
        return None
    try:
        record = parse_json(path.read_bytes())
        if isinstance(record, dict) and record.get("version") == 1:
            record = version1.converted(record)
        if isinstance(record, dict) and isinstance(record.get("task"), dict):
            tasks.from_record(record["task"])
        return Evaluation.model_validate(record)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "all of it"
        raise LimbeckError(f"{str(path)!r} is damaged: {where}: {problem['msg']}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise LimbeckError(f"{str(path)!r} is damaged: all of it: {error}") from None
    except LimbeckError as error:
        raise LimbeckError(f"{str(path)!r} cannot be read: {error}") from None
