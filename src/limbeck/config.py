"""What a run is, as typed data: a YAML file, the arguments of a run and its settings all fill this."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from limbeck.byte_sizes import bytes_of
from limbeck.config_errors import explained
from limbeck.errors import LimbeckError
from limbeck.intervals import parse_interval
from limbeck.optimization import SGD, Cosine, OptimizerConfig, ScheduleConfig
from limbeck.yaml_text import dump_yaml, read_yaml


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(_Part):
    """The data set."""

    name: str = Field("digits", description="a data set's name, with arguments if it has any")
    dir: Path | None = Field(None, description="where its files are")
    views: str | None = Field(None, description="training views, crop(padding=4, flip=true); null: its own")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class NetworkConfig(_Part):
    """A network: built from its name, or read from a run or a checkpoint."""

    model: str = Field(description="a name, a run directory, a weights file, or package.module:factory(...)")
    weights: Path | None = Field(None, description="a checkpoint to start from")
    size: int | None = Field(
        None, ge=1, description="pixels a side of the images it reads; null: as the data has them"
    )
    features: dict[str, str | list[str]] = Field(
        default_factory=dict, description="module paths that override the features found, by field"
    )
    normalize: Literal["data", "none"] | None = Field(
        None,
        description="what is put before it: the data's normalization or none; null: the data's for fresh "
        "weights, its run's for a run's, none for other weights",
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value


class LoraConfig(_Part):
    """Low-rank adapters, which alone learn."""

    r: int = Field(8, ge=1, description="rank of an adapter's matrices")
    alpha: float | None = Field(
        None, gt=0, description="an adapter counts alpha / r times; null: twice the rank"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="share of an adapter's input that is silenced")
    targets: tuple[str, ...] = Field(
        (), description="names of the linear layers that get one; none: all but the head"
    )


class StudentConfig(NetworkConfig):
    """The student."""

    lora: LoraConfig | None = Field(
        None, description="adapters that learn in place of the network's weights; null: the weights learn"
    )


class TeacherConfig(NetworkConfig):
    """The teacher."""

    labels: Literal["clean", "noisy"] | None = Field(
        None, description="those it learned from; needed where the data's training labels are noisy"
    )
    outputs: Literal["logits", "probabilities"] = Field(
        "logits", description="what it answers with; of probabilities, the logarithms are taught"
    )
    trust: bool = Field(
        False, description="whether what its answers show before training is said and never an error"
    )
    cache: Literal["logits", "embedding", "both", "all"] | None = Field(
        None,
        description="answers that are kept in files and read back, by this run and all others; all: whatever "
        "the objective reads, maps too",
    )
    cache_budget: str | None = Field(
        None,
        description='most that these files may take of the disk, such as "20GB"; null: no bound',
    )
    top: int | None = Field(
        None,
        ge=1,
        description="most probable tokens of a position that a cache keeps of a language model; null: 64",
    )

    @property
    def cached(self) -> tuple[str, ...]:
        """The fields of its outputs that are cached."""
        several = {"both": ("logits", "embedding"), "all": ("logits", "embedding", "maps")}
        return several.get(self.cache, (self.cache,)) if self.cache else ()

    @property
    def budget(self) -> int | None:
        """Bytes that the files of the cache may take."""
        return None if self.cache_budget is None else bytes_of(self.cache_budget)

    @field_validator("cache_budget")
    @classmethod
    def _is_size(cls, value: str | None) -> str | None:
        if value is not None and not bytes_of(value):
            raise ValueError('should be a size such as "20GB" or "500 MiB"')
        return value


def _checked_interval(value: int | str) -> int | str:
    """The interval as it is given, a number of steps as a number."""
    steps = parse_interval(value).steps
    return value if steps is None else steps


def _checked_device(value: str) -> str:
    if re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value) is None:
        raise ValueError("should be auto, cpu, cuda, mps, or cuda:1 for one of several")
    return value


class EarlyStoppingConfig(_Part):
    """What ends a training before its last epoch, by the task's first metric on the validation split."""

    patience: int = Field(ge=1, description="epochs in a row that may pass without an improvement")
    min_delta: float = Field(
        0.0,
        ge=0,
        description="an improvement is larger than this, in the unit of metrics.jsonl: 0.001 is 0.1 points "
        "of a percentage",
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("should be how many epochs may pass without an improvement, such as 5, or null")
        return {"patience": value} if isinstance(value, int) else value


class TrainingConfig(_Part):
    """How the student is trained."""

    epochs: int = Field(30, ge=1)
    max_steps: int | None = Field(
        None,
        ge=1,
        description="optimizer steps after which training ends, where that is before its last epoch does; "
        "the schedule ends with it. null: no bound",
    )
    early_stopping: EarlyStoppingConfig | None = Field(
        None, description="patience in epochs, and min_delta; null: training goes on to its end"
    )
    samples_per_epoch: int | None = Field(
        None,
        ge=1,
        description="samples of an epoch, from one pass over the training data after the other; null: each "
        "sample once",
    )
    batch_size: int = Field(64, ge=1, description="samples an optimizer step, over all processes")
    accumulation: int = Field(1, ge=1, description="pieces a batch is worked through in, to save memory")
    optimizer: OptimizerConfig = SGD()
    schedule: ScheduleConfig = Cosine()
    rates: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict,
        description='learning rates of some of the student\'s parameters by their names, {"head.*": 0.1}',
    )
    layer_decay: float | None = Field(
        None,
        gt=0,
        le=1,
        description="factor on the learning rate for every stage that a parameter is below the head; null: 1",
    )
    freeze: tuple[str, ...] = Field(
        (), description="names of the student's parameters that stay as they are, such as layer1.*"
    )
    clip: float | None = Field(None, gt=0, description="largest gradient norm, for each optimizer by itself")
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="decay of an average of the student's weights, such as 0.999, which is what is measured, "
        "selected and kept; null: the weights as they are",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="of the networks; auto: bf16 where the processor has it. fp16 is for CUDA"
    )
    memory_format: Literal["auto", "contiguous", "channels_last"] = Field(
        "auto", description="of images; auto: channels_last for convolutional networks"
    )
    compile: Literal[False, True, "auto"] = Field(
        False, description="whether the networks run compiled; auto: if that saves time"
    )
    device: Annotated[str, AfterValidator(_checked_device)] = Field(
        "auto",
        description="auto: the accelerator if there is one; cpu, cuda, or cuda:1 for one of several",
    )
    sharding: Literal["none", "student", "both"] = Field(
        "none",
        description="what several processes have in shares (FSDP2) and not whole each: the student, or both, "
        "which is the teachers as well",
    )
    selection: Literal["last", "validation"] = Field(
        "last", description="the epoch whose weights are kept: the last, or the best on validation"
    )
    views: int | None = Field(
        None, ge=1, description="views of each sample to draw among; null: all that the policy has"
    )
    view_seed: int | None = Field(None, description="seed of the views; null: the run's seed")
    checkpoint_every: int | None = Field(
        None,
        ge=1,
        description="epochs between checkpoints at their ends; null: one after each epoch, but for those "
        "that would have saving take more than 2 % of the time",
    )
    save_every: Annotated[int | str, AfterValidator(_checked_interval)] | None = Field(
        "10min",
        description="steps (500) or time (10min) between checkpoints within an epoch; null: none there",
    )
    skip_bad_steps: int = Field(
        0, ge=0, description="how many steps with a loss that is NaN or infinite are passed over"
    )
    keep_every: int | None = Field(
        None,
        ge=1,
        description="epochs between the weights that are kept, a schedule of teachers; null: none are",
    )
    trackers: tuple[str, ...] = Field(("tensorboard",), description="accelerate's trackers")


class RunConfig(_Part):
    """Everything that is needed to repeat a run."""

    data: DataConfig = DataConfig()
    student: StudentConfig
    teacher: TeacherConfig | None = None
    teachers: dict[str, TeacherConfig] = Field(
        default_factory=dict, description="several teachers by name, in place of one"
    )
    objective: str | None = Field(
        None,
        description="in the notation; null: what the task of the data recommends, with or without a teacher",
    )
    related: int = Field(
        1024,
        ge=2,
        description="rows of a batch that methods relate to each other, where a sample has several",
    )
    training: TrainingConfig = TrainingConfig()
    seed: int = Field(0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if value.get("teachers", {}) is None:  # as a teacher may be null, to override a file
            value = {**value, "teachers": {}}
        one, several = value.get("teacher"), value.get("teachers")
        if not isinstance(several, dict) or not several:
            return value
        for name in several:
            check_teacher_name(str(name))
        first = next(iter(several))
        if isinstance(one, dict) and one and "model" not in one:
            key = next(iter(one))
            raise ValueError(
                f"there are several teachers; set teachers.{first}.{key} in place of teacher.{key}"
            )
        if one is not None:
            raise ValueError("give teacher or teachers, not both")
        if len(several) == 1:
            raise ValueError(f"teachers has only {first!r}; add the others, or give it alone as teacher")
        return value

    @property
    def taught_by(self) -> dict[str, TeacherConfig]:
        """All teachers by name; one alone is called "teacher"."""
        return dict(self.teachers) if self.teacher is None else {"teacher": self.teacher}

    def to_yaml(self) -> str:
        """The whole config, defaults included, as YAML."""
        return dump_yaml(self.model_dump(mode="json"))


def check_teacher_name(name: str) -> None:
    """Refuses a name that cannot stand in a dotted key, or that means something else.

    Raises:
        LimbeckError: naming it.
    """
    if not name.isidentifier():
        raise LimbeckError(f"the name of a teacher has letters, digits and _ only, such as big; not {name!r}")
    if name in ("student", "data"):
        raise LimbeckError(f"a teacher cannot be named {name!r}; choose another name, such as big")


def flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """The leaves of a tree of mappings, by dotted name."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        leaves |= flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {above + name: value}
    return leaves


OPTIONS = {
    "student": "--student, or --model for train",
    "student.model": "--student",
    "teacher.model": "--teacher",
}
"""The options of the command line that set what a config must have, by key."""


def make_config(file: Path | None = None, settings: Mapping[str, Any] | None = None) -> RunConfig:
    """A run's config from a YAML file and what overrides it.

    Args:
        file: YAML with the fields of `RunConfig`.
        settings: values by dotted key ("training.epochs"); they win over the file.
    Raises:
        LimbeckError: naming the file and the key that is unknown, missing or out of range.
    """
    raw: dict[str, Any] = read_yaml(file, RunConfig, "config") if file else {}
    settings = settings or {}
    whole_before_parts = sorted(settings.items(), key=lambda item: item[0].count("."))
    for key, value in whole_before_parts:
        _set(raw, key.split("."), value, key)
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        raise explained(error, file, RunConfig, "config", settings, OPTIONS) from None


def _set(raw: dict[str, Any], path: list[str], value: Any, key: str) -> None:
    is_network = path[0] in ("student", "teacher", "teachers")
    for name in path[:-1]:
        inner = raw.get(name)
        if isinstance(inner, str):  # the short form of a part
            inner = {"model" if is_network else "name": inner}
        elif inner is not None and not isinstance(inner, dict):
            raise LimbeckError(f"{key!r} cannot be set: {name} is {inner!r}, which has no parts")
        raw[name] = dict(inner or {})
        raw = raw[name]
    there = raw.get(path[-1])
    raw[path[-1]] = merged(there, value) if isinstance(there, dict) and isinstance(value, dict) else value


def merged(there: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping with the values of another one over its own, part by part."""
    made = dict(there)
    for name, item in value.items():
        inner = made.get(name)
        made[name] = merged(inner, item) if isinstance(inner, dict) and isinstance(item, dict) else item
    return made
