"""The arguments of a run: one declaration for `limbeck.distill`, `limbeck.train` and the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeAlias

from torch import nn

from limbeck import models
from limbeck.config import RunConfig, check_teacher_name, make_config
from limbeck.data import Source, spelled_out
from limbeck.errors import LimbeckError
from limbeck.methods import Method
from limbeck.models import zoos
from limbeck.models.factory import check_trust, names_factory
from limbeck.runs import optimizers
from limbeck.runs.directory import Run
from limbeck.runs.network_names import key_of, read_by

TeacherLike: TypeAlias = str | Path | Run | nn.Module
"""A teacher: its name in a config, its run or that run's directory, or the network itself."""


@dataclass(frozen=True, kw_only=True)
class RunArguments:
    """What decides a run, as people give it; `limbeck.distill` explains each argument.

    None leaves a value to the config. `values` says which key of the config each argument stands for.
    """

    config: Path | str | RunConfig | None = None
    student: str | nn.Module | None = None
    teacher: TeacherLike | Mapping[str, TeacherLike] | None = None
    data: str | Source | None = None
    data_dir: Path | str | None = None
    task: str | None = None
    objective: str | Method | None = None
    epochs: int | None = None
    max_steps: int | None = None
    early_stopping: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    ema: float | None = None
    freeze: Sequence[str] | None = None
    layer_decay: float | None = None
    device: str | None = None
    precision: str | None = None
    views: int | None = None
    cache_teacher: str | None = None
    cache_budget: str | None = None
    compile: bool | Literal["auto"] | None = None
    seed: int | None = None
    save_every: int | str | None = None
    skip_bad_steps: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def teachers(self) -> Mapping[str, TeacherLike]:
        """The teachers by the key of the config that each has: "teacher", or "teachers.NAME".

        Raises:
            LimbeckError: for a name that is no identifier.
        """
        if self.teacher is None:
            return {}
        if not isinstance(self.teacher, Mapping):
            return {"teacher": self.teacher}
        for name in self.teacher:
            check_teacher_name(name)
        return {f"teachers.{name}": teacher for name, teacher in self.teacher.items()}

    @property
    def values(self) -> dict[str, Any]:
        """The values that are given, by dotted key of the config, without those in `settings`."""
        teachers = self.teachers
        if self.task is not None and not isinstance(self.data, str):
            raise LimbeckError(f"task={self.task} (--task) goes with the data; name that too, data (--data)")
        given = {
            "data.name": spelled_out(self.data, self.task) if isinstance(self.data, str) else self.data,
            "data.dir": self.data_dir,
            "student.model": self.student,
            **{f"{key}.model": teacher for key, teacher in teachers.items()},
            **{f"{key}.cache": self.cache_teacher for key in teachers or ["teacher"]},
            **{f"{key}.cache_budget": self.cache_budget for key in teachers or ["teacher"]},
            "objective": self.objective,
            "training.epochs": self.epochs,
            "training.max_steps": self.max_steps,
            "training.early_stopping": self.early_stopping and {"patience": self.early_stopping},
            "training.ema": self.ema,
            "training.freeze": None if self.freeze is None else list(self.freeze),
            "training.layer_decay": self.layer_decay,
            "training.device": self.device,
            "training.precision": self.precision,
            "training.batch_size": self.batch_size,
            "training.views": self.views,
            "training.optimizer.lr": self.lr,
            "training.compile": self.compile,
            "training.save_every": self.save_every,
            "training.skip_bad_steps": self.skip_bad_steps,
            "seed": self.seed,
        }
        return {key: _written(value) for key, value in given.items() if value is not None}

    @property
    def objects(self) -> dict[str, Any]:
        """What was handed over as an object: student, data, objective, and teacher.

        Of several teachers it has a mapping by name of those that are networks.
        """
        given = {"student": self.student, "data": self.data, "objective": self.objective}
        found: dict[str, Any] = {
            name: value for name, value in given.items() if isinstance(value, (nn.Module, Source))
        }
        if isinstance(self.teacher, Mapping):
            networks = {name: each for name, each in self.teacher.items() if isinstance(each, nn.Module)}
            return {**found, "teacher": networks} if networks else found
        return {**found, "teacher": self.teacher} if isinstance(self.teacher, nn.Module) else found

    def made(self, file: Path | None = None) -> RunConfig:
        """The config that all of it comes to: settings win over the other arguments, and they over the file.

        A network of `transformers` has an optimizer of its own where none is named; see `optimizers`.

        Args:
            file: YAML that is read if no config is given.
        Raises:
            LimbeckError: naming the key that is unknown, missing or out of range.
        """
        if not isinstance(self.config, (RunConfig, Path, str, NoneType)):
            raise LimbeckError(
                f"what comes first is a config or its file, not a {type(self.config).__name__}; a network is "
                "student=... of distill, and model=... of train"
            )
        given = {**self.values, **self.settings}
        if isinstance(self.config, RunConfig):
            unset = {"optimizer", "schedule"} - self.config.training.model_fields_set
            values = self.config.model_dump(mode="json", exclude={"training": unset})
            made = make_config(None, {**values, **given})
        else:
            file = file if self.config is None else Path(self.config)
            made = make_config(file, given)
            if file is not None and (file.parent / "environment.json").exists():
                _check_factories(made, file.parent, given)
        return optimizers.settled(made, self.student)


def _written(value: Any) -> Any:
    """A value as the config writes it; an object by what it is."""
    if isinstance(value, Run):
        return str(value.path)
    if isinstance(value, (Method, Path)):
        return str(value)
    if isinstance(value, nn.Module):
        return f"<{type(value).__name__}>"
    return f"<{value.name}>" if isinstance(value, Source) else value


def _check_factories(config: RunConfig, directory: Path, given: Mapping[str, Any]) -> None:
    """Refuses factories that the config of a run's directory names, and the user does not."""
    for role, network in {"student": config.student, **config.taught_by}.items():
        if f"{key_of(role)}.model" in given:
            continue
        for model in {network.model, *read_by(network)}:
            known = models.huggingface.is_hf(model) or zoos.is_zoo(model)
            if names_factory(model) and not known and not model.startswith("<"):
                check_trust(model, directory)


def check_taught(config: RunConfig, *, teaches: bool) -> None:
    """Refuses a teacher in `train`, and `distill` where there is none and nothing else to learn from.

    Args:
        config: of the run.
        teaches: whether it is one of `distill`, and not of `train`.
    Raises:
        LimbeckError: naming the command that is right.
    """
    if teaches and not config.taught_by and config.objective in (None, "ce"):
        raise LimbeckError("distill needs a teacher (--teacher); to learn from labels alone, use train")
    if not teaches and config.taught_by:
        raise LimbeckError("train learns from labels alone; to learn from a teacher, use distill")
