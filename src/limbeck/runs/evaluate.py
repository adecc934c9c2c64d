"""Measuring a finished run again."""

from __future__ import annotations

from pathlib import Path

import torch

from limbeck import data as sources
from limbeck import evaluation
from limbeck.errors import LimbeckError
from limbeck.runs.directory import Run, load
from limbeck.runs.job import answers


def evaluate(run: Run | Path | str, device: str = "cpu") -> dict[str, dict[str, float]]:
    """The student's metrics on the validation and the test split of the run's data.

    Args:
        run: a finished run, or its directory.
        device: where to run the student.
    Raises:
        LimbeckError: for a run without a student, or whose data was handed over as an object or has neither
            split.
    """
    run = run if isinstance(run, Run) else Run(Path(run))
    if not (run.path / "config.yaml").is_file():
        raise LimbeckError(f"{str(run.path)!r} is no run's directory: it holds no config.yaml")
    student = load(run)
    config = run.config.data
    if config.name.startswith("<"):
        raise LimbeckError(
            f"the data of {str(run.path)!r} was handed over as an object; use limbeck.evaluation"
        )
    source = sources.load(config.name, config.dir)
    splits = {"validation": source.validation, "test": source.test}
    found = {
        name: evaluation.metrics(answers(student, split, torch.device(device)))
        for name, split in splits.items()
        if split is not None
    }
    if not found:
        raise LimbeckError(f"{source.name} has neither a validation nor a test split to measure on")
    return found
