"""The end of a run: what the student is worth, and the files that say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from limbeck import evaluation, models
from limbeck.config import RunConfig
from limbeck.errors import LimbeckError
from limbeck.evaluation import Contender, Evaluation
from limbeck.evaluation.results import Role
from limbeck.files import write_text
from limbeck.methods.parts.grafts import GraftedStudent
from limbeck.models.zoos import untrained
from limbeck.objective import resolved
from limbeck.runs import directory, networks
from limbeck.runs.directory import Run
from limbeck.runs.evaluate import of_config, of_run, write
from limbeck.runs.job import Job, answers
from limbeck.runs.modelcard import write_model_card
from limbeck.runs.network_record import describe, metadata_of, read_card
from limbeck.runs.reporting import write_report
from limbeck.training import Trainer


def conclude(run: Run, job: Job, trainer: Trainer, objects: Mapping[str, Any]) -> None:
    """Measures the student, on the test split for the first time, and writes weights, result and report."""
    config, source = job.config, job.source
    student = job.distiller.deploy()
    for name, text in source.files.items():
        write_text(run.path / name, text)
    card = describe(student, _buildable(config) if _named(student, job, objects) else None, source)
    models.save(student, run.path / "student.safetensors", metadata_of(card))
    found = _evaluated(run, job, student, trainer)
    test = found.networks if found and found.split == "test" else {}
    teacher = None
    if job.distiller.teacher is not None:
        teacher = {
            **job.taught_by,
            "cached": list(job.distiller.teacher.cached),
            "top1": test["teacher"].accuracy.top1.value if "teacher" in test else None,
        }
    validated = source.validation and answers(student, source.validation, trainer.device)
    metrics = {
        "test": test["student"].metrics if test else None,
        "validation": validated and evaluation.metrics(validated),
    }
    history = run.history
    result = {
        "objective": str(job.distiller.objective),
        "arguments": resolved(job.distiller.objective),
        "seed": config.seed,
        "selection": config.training.selection,
        "choices": asdict(trainer.choices),
        "student": {
            "model": config.student.model,
            "parameters": models.count_parameters(student),
            "top1": test["student"].accuracy.top1.value if test else None,
        },
        "teacher": teacher,
        "metrics": metrics,
        "agreement": found.fidelity.agreement if test and found and found.fidelity else None,
        "seconds": round(sum(line["seconds"] for line in history), 3),
        "data": {
            "name": source.name,
            "hub": source.hub,
            "fingerprint": source.fingerprint(),
            "train": len(job.split),
            "labeled": sum(source.task.counts(job.split.targets)),
            "validation": len(source.validation) if source.validation else 0,
            "test": len(source.test) if source.test else 0,
            "classes": source.task.width,
            "measured": {
                name: sum(source.task.counts(split.targets))
                for name, split in (("validation", source.validation), ("test", source.test))
                if split
            },
            "views": {
                "policy": str(source.views),
                "count": source.views.count,
                "drawn": config.training.views or source.views.count,
            },
            "noise": source.noise,
        },
    }
    write_report(run, result, source)
    write_model_card(run, result)
    directory.write_json(run.path / "result.json", result)  # last: it marks the run as finished


def _evaluated(run: Run, job: Job, student: nn.Module, trainer: Trainer) -> Evaluation | None:
    """What the quick suite finds, written to the run; None for data with nothing to measure on."""
    if job.source.test is None and job.source.validation is None:
        return None
    contenders: dict[Role, Contender] = {"student": of_run(student, run)}
    notes: tuple[str, ...] = ()
    try:
        if job.teacher is not None and job.config.teacher is not None:
            contenders["teacher"] = of_config(job.teacher, job.config.teacher)
    except LimbeckError as error:  # it was let go of, and cannot be had again: no reason to lose the run
        notes = (f"The teacher is left out: {error}.",)
        trainer.display.note(notes[0])
    found = evaluation.evaluate(job.source, contenders, device=trainer.device)
    found = found.model_copy(update={"notes": (*notes, *found.notes)})
    write(run, found)
    return found


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
