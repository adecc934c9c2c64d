"""The end of a run: what the student is worth, and the files that say so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limbeck import evaluation, models
from limbeck.config import RunConfig
from limbeck.files import write_text
from limbeck.methods.parts.grafts import GraftedStudent
from limbeck.models.zoos import untrained
from limbeck.objective import resolved
from limbeck.report import run_report
from limbeck.runs import directory, networks
from limbeck.runs.card import describe, metadata_of, read_card
from limbeck.runs.directory import Run
from limbeck.runs.job import Job, answers


def conclude(run: Run, job: Job, device: torch.device, objects: Mapping[str, Any]) -> None:
    """Measures the student, on the test split for the first time, and writes weights, result and report."""
    config, source = job.config, job.source
    student = job.distiller.deploy()
    test = source.test and answers(student, source.test, device)
    metrics = {
        "test": test and evaluation.metrics(test),
        "validation": source.validation and evaluation.metrics(answers(student, source.validation, device)),
    }
    teacher, agreement = None, None
    if job.teacher is not None and config.teacher is not None:
        theirs = source.test and answers(job.teacher, source.test, device)
        teacher = {
            "model": config.teacher.model,
            "parameters": models.count_parameters(job.teacher),
            "top1": theirs and evaluation.metrics(theirs)["top1"],
        }
        agreement = test and theirs and evaluation.agreement(test, theirs)
    for name, text in source.files.items():
        write_text(run.path / name, text)
    card = describe(student, _buildable(config) if _named(student, job, objects) else None, source)
    models.save(student, run.path / "student.safetensors", metadata_of(card))
    history = run.history
    result = {
        "objective": str(job.distiller.objective),
        "arguments": resolved(job.distiller.objective),
        "seed": config.seed,
        "selection": config.training.selection,
        "student": {
            "model": config.student.model,
            "parameters": models.count_parameters(student),
            "top1": metrics["test"] and metrics["test"]["top1"],
        },
        "teacher": teacher,
        "metrics": metrics,
        "agreement": agreement,
        "seconds": round(sum(line["seconds"] for line in history), 3),
        "data": {
            "name": source.name,
            "fingerprint": source.fingerprint(),
            "train": len(job.split),
            "labelled": int(job.split.class_counts(source.num_classes).sum()),
            "validation": len(source.validation) if source.validation else 0,
            "test": len(source.test) if source.test else 0,
            "classes": source.num_classes,
        },
    }
    write_text(run.path / "report.html", run_report(result, history))
    directory.write_json(run.path / "result.json", result)  # last: it marks the run as finished


def _named(shipped: nn.Module, job: Job, objects: Mapping[str, Any]) -> bool:
    """Whether the student's name tells how to build what is shipped, with the graft if there is one."""
    inside = shipped.student if isinstance(shipped, GraftedStudent) else shipped
    return "student" not in objects and job.distiller.student in (shipped, inside)


def _buildable(config: RunConfig) -> str:
    """The student's name; where it started from another run's weights, that run's."""
    path = Path(config.student.model)
    if not networks.is_path(config.student.model):
        return untrained(config.student.model)
    card = read_card(path / "student.safetensors" if path.is_dir() else path)
    assert card is not None, "networks.student has read it"
    assert card.model is not None
    return card.model
