"""Measuring a finished run again."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from limbeck import data as sources
from limbeck import evaluation
from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.runs import networks
from limbeck.runs.directory import Run, is_imported, load
from limbeck.runs.job import answers, classes_of


def evaluate(
    run: Run | Path | str, data: str | None = None, data_dir: Path | None = None, device: str = "cpu"
) -> dict[str, dict[str, float]]:
    """The student's metrics on the validation and the test split of some data.

    Args:
        run: a finished run or an imported network, or its directory.
        data: a data set's name; the run's own data if None.
        data_dir: where its files are.
        device: where to run the student.
    Raises:
        LimbeckError: for a run without a student, or without data of its own where none is named; for data
            that the student does not fit, or that has neither split.
    """
    run = run if isinstance(run, Run) else Run(Path(run))
    if not (run.path / "config.yaml").is_file() and not is_imported(run.path):
        raise LimbeckError(f"{str(run.path)!r} is no run's directory: it holds no config.yaml")
    student = load(run)
    source = _own_source(run) if data is None else _other_source(run, student, data, data_dir)
    splits = {"validation": source.validation, "test": source.test}
    found = {
        name: evaluation.metrics(answers(student, split, torch.device(device)))
        for name, split in splits.items()
        if split is not None
    }
    if not found:
        raise LimbeckError(f"{source.name} has neither a validation nor a test split to measure on")
    return found


def _own_source(run: Run) -> Source:
    if is_imported(run.path):
        raise LimbeckError(
            f"{str(run.path)!r} was imported and has no data of its own; name some with --data"
        )
    config = run.config.data
    if config.name.startswith("<"):
        raise LimbeckError(
            f"the data of {str(run.path)!r} was handed over as an object; use limbeck.evaluation"
        )
    return sources.load(config.name, config.dir)


def _other_source(run: Run, student: nn.Module, data: str, data_dir: Path | None) -> Source:
    source = sources.load(data, data_dir)
    networks.check_files(run.path, "student", source)
    classes = classes_of(student, "student", source.example())
    if classes != source.num_classes:
        raise LimbeckError(
            f"the student tells {classes} classes apart, and {source.name} has {source.num_classes}"
        )
    return source
