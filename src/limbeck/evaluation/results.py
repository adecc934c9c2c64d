"""What an evaluation found: the records that `evaluation.json` holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from limbeck.errors import LimbeckError

Suite: TypeAlias = Literal["quick", "full"]
Role: TypeAlias = Literal["student", "teacher", "baseline"]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Rate(_Record):
    """A proportion of `samples` with its 95 % Wilson interval; all in [0, 1]."""

    value: Share
    low: Share
    high: Share
    samples: int


class Accuracy(_Record):
    """How often the network is right.

    Attributes:
        top1: over all labeled samples.
        top5: None where there are too few classes for it to say anything (`metrics.TOP5_FROM`).
        per_class: top-1 of the samples of each class; None where the split has no sample of it.
    """

    top1: Rate
    top5: Rate | None
    per_class: tuple[Rate | None, ...]


class Bin(_Record):
    """A bin of the reliability curve: mean confidence and accuracy of its samples."""

    confidence: float
    accuracy: float
    samples: int


class Calibration(_Record):
    """Whether the confidence can be trusted.

    Attributes:
        ece: expected calibration error over the bins.
        temperature: what to divide the logits by, fitted on the validation split; None where there is no such
            split, and where no temperature was best, as for a network that is always right on it.
        ece_after: with that temperature, and not always lower; None without one.
        nll_after: likewise, in nats.
        bins: of equal mass, by rising confidence.
    """

    ece: float
    temperature: float | None
    ece_after: float | None
    nll_after: float | None
    bins: tuple[Bin, ...]


class Pair(_Record):
    """How many `samples` of class `target` were taken for class `predicted`."""

    target: int
    predicted: int
    samples: int


class Confusion(_Record):
    """What is taken for what.

    Attributes:
        classes: C, the network's.
        cells: (target, answer, samples) of all that happened, by target and then by answer.
        pairs: the most confused, most samples first; none that never happened.
    """

    classes: int
    cells: tuple[tuple[int, int, int], ...]
    pairs: tuple[Pair, ...]

    @property
    def matrix(self) -> tuple[tuple[int, ...], ...]:
        """(C, C) numbers of samples, a row for each target, a column for each answer."""
        rows = [[0] * self.classes for _ in range(self.classes)]
        for target, answer, samples in self.cells:
            rows[target][answer] = samples
        return tuple(map(tuple, rows))


class Timing(_Record):
    """Wall-clock milliseconds of one call: median and 95th percentile."""

    median_ms: float
    p95_ms: float


class Cost(_Record):
    """What the network costs to run.

    Attributes:
        parameters: how many numbers.
        multiply_adds: of one sample, in convolutions, matrix products and attention.
        bytes: of the weights in a file.
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
        accuracy: see `Accuracy`.
        nll: mean negative log-likelihood, in nats.
        calibration: see `Calibration`.
        confusion: see `Confusion`.
        robustness: top-1 at severity 1 to 5 by kind of noise; None in the quick suite and where the inputs
            cannot be corrupted.
        noiseless: top-1 at severity 0, on the samples that `robustness` is of; None where that is None.
        cost: see `Cost`.
    """

    name: str
    run: str | None
    accuracy: Accuracy
    nll: float
    calibration: Calibration
    confusion: Confusion
    robustness: dict[str, tuple[float, ...]] | None
    noiseless: Share | None
    cost: Cost

    @property
    def metrics(self) -> dict[str, float]:
        """Accuracy and calibration by the names of `limbeck.evaluation.metrics`."""
        top5 = {} if self.accuracy.top5 is None else {"top5": self.accuracy.top5.value}
        return {"top1": self.accuracy.top1.value, **top5, "nll": self.nll, "ece": self.calibration.ece}


class CKA(_Record):
    """Similarity of representations, linear CKA; 1 for equal ones, about 0 for unrelated ones.

    Attributes:
        embedding: of the two embeddings; None where one was not found.
        stages: a row for each stage of the student, a column for each of the teacher; None in the quick suite
            and where a network has none.
    """

    embedding: float | None
    stages: tuple[tuple[float, ...], ...] | None


class Correlation(_Record):
    """Of the class-correlation matrices of student and teacher.

    Attributes:
        difference: mean absolute difference.
        matrix: (C, C) student less teacher, in [-2, 2]; None for more classes than `fidelity.FEW_CLASSES`.
    """

    difference: float
    matrix: tuple[tuple[float, ...], ...] | None


class Fidelity(_Record):
    """How close the student is to its teacher.

    Attributes:
        agreement: share of the samples they give the same class.
        kl: mean divergence KL(teacher, student) of their answers, in nats.
        cka: see `CKA`.
        correlation: see `Correlation`.
    """

    agreement: Share
    kl: float
    cka: CKA
    correlation: Correlation


class Mistake(_Record):
    """A sample that the teacher gets right and the student wrong: its position in the split, and classes."""

    index: int
    target: int
    student: int
    teacher: int


class Data(_Record):
    """What was measured on."""

    name: str
    fingerprint: str
    classes: int


class Machine(_Record):
    """What the times were measured on: the `processor` that the device is, and the CPU `threads` of torch."""

    processor: str
    threads: int


class Evaluation(_Record):
    """All of it.

    Attributes:
        version: of this format.
        suite: how much was measured.
        split: of the data; validation only where the data has no test split.
        data: see `Data`.
        samples: in the split.
        class_names: one for each logit.
        device: what it ran on.
        machine: see `Machine`.
        seed: of the noise; None where none was shown.
        networks: by role; the student is always there.
        fidelity: None without a teacher.
        mistakes: up to 12, those the student is surest of first; empty without a teacher.
        notes: sentences on what was left out, and why.
    """

    version: Literal[1] = 1
    suite: Suite
    split: Literal["test", "validation"]
    data: Data
    samples: int
    class_names: tuple[str, ...]
    device: str
    machine: Machine
    seed: int | None
    networks: dict[Role, NetworkResult]
    fidelity: Fidelity | None
    mistakes: tuple[Mistake, ...]
    notes: tuple[str, ...] = ()

    @property
    def timed_on(self) -> str:
        """What the wall-clock times are of, for people."""
        threads = "1 thread" if self.machine.threads == 1 else f"{self.machine.threads} threads"
        return f"{self.machine.processor} ({self.device}), {threads}"

    @property
    def student(self) -> NetworkResult:
        """The student's figures."""
        return self.networks["student"]


def read(path: Path) -> Evaluation | None:
    """What an `evaluation.json` holds; None where there is no such file.

    Raises:
        LimbeckError: if it is damaged.
    """
    if not path.is_file():
        return None
    try:
        return Evaluation.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "all of it"
        raise LimbeckError(f"{str(path)!r} is damaged: {where}: {problem['msg']}") from None
