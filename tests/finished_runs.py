"""Directories of finished runs, without the training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from limbeck.config import make_config
from limbeck.runs import Run
from limbeck.runs.result import DataResult, Metrics, Result, StudentResult, TeacherResult


def finished_run(
    path: Path,
    objective: str = "ce",
    seed: int = 0,
    top1: float = 0.8,
    *,
    data: str = "digits",
    fingerprint: str = "aaaa",
    epochs: int = 2,
    settings: dict[str, Any] | None = None,
    agreement: float | None = None,
) -> Run:
    """A run of `cnn` on the digits with the files that a comparison reads."""
    given = {"student": "cnn", "objective": objective, "seed": seed, "data.name": data}
    teacher = None if objective == "ce" else "runs/teacher"
    given |= {"teacher": teacher} if teacher else {}
    config = make_config(None, {**given, "training.epochs": epochs, **(settings or {})})
    taught = (
        {"teacher": TeacherResult(model=teacher, parameters=26000, metrics={"top1": 0.99})} if teacher else {}
    )
    result = Result(
        objective=objective,
        arguments={},
        seed=seed,
        selection="last",
        task={"name": "classification", "names": tuple(map(str, range(10)))},
        student=StudentResult(model=config.student.model, parameters=650),
        teachers=taught,
        metrics=Metrics(test={"top1": top1, "nll": 1 - top1, "ece": 0.1}, validation=None),
        agreement=agreement,
        seconds=1.5,
        data=DataResult(
            name=data,
            fingerprint=fingerprint,
            train=1000,
            labeled=1000,
            validation=297,
            test=500,
            outputs=10,
            measured={"validation": 297, "test": 500},
        ),
    )
    line = {"phase": "training", "epoch": 1, "step": 16, "seconds": 1.5, "terms": {"ce": 1.0}}
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(config.to_yaml())
    (path / "environment.json").write_text("{}")
    (path / "metrics.jsonl").write_text(json.dumps({**line, "validation": {"top1": top1}}) + "\n")
    (path / "student.safetensors").write_bytes(b"")
    result.write(path / "result.json")
    return Run(path)


def two_groups(folder: Path, seeds: int = 5) -> list[Path]:
    """ce at 70, 71, ... % and kd 7, 8, 9, 7, 8 points above it."""
    return [
        finished_run(folder / f"{name}-{seed}", objective, seed, 0.70 + seed / 100 + gain(seed)).path
        for name, objective, gain in (
            ("ce", "ce", lambda seed: 0.0),
            ("kd", "kd(temperature=4)", lambda seed: 0.07 + seed % 3 / 100),
        )
        for seed in range(seeds)
    ]
