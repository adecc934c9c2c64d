"""The end of a run: what the student is worth, and the files that say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import nn

from limbeck import evaluation, models
from limbeck.config import RunConfig
from limbeck.data.tokenization import Tokenization
from limbeck.errors import LimbeckError
from limbeck.evaluation import Contender, Evaluation
from limbeck.evaluation.results import Role
from limbeck.features import BatchNorm
from limbeck.files import write_text
from limbeck.methods.parts.grafts import GraftedStudent
from limbeck.models.zoos import untrained
from limbeck.objective import resolved
from limbeck.runs import chance, network_notes, preparations
from limbeck.runs.directory import TOKENIZER, Report, Run
from limbeck.runs.evaluate import of_config, of_run, write
from limbeck.runs.job import Job
from limbeck.runs.loops import measured
from limbeck.runs.modelcard import write_model_card
from limbeck.runs.network_names import is_path
from limbeck.runs.network_record import describe, metadata_of, read_card
from limbeck.runs.result import (
    DataResult,
    Metrics,
    Result,
    StudentResult,
    TeacherResult,
    ViewsResult,
)
from limbeck.training import Trainer, checkpoints


def conclude(
    run: Run, job: Job, trainer: Trainer, objects: Mapping[str, Any], report: Report | None = None
) -> None:
    """Measures the student, on the test split for the first time, and writes weights, result and cards.

    Args:
        run: the run's directory.
        job: what was done.
        trainer: the trainer that did it.
        objects: the student, teacher or data that were handed over as objects.
        report: a function that writes the run's page; no page is written if None.
    """
    source = job.source
    reads = preparations.reads_of(job.config.student, source)
    if isinstance(reads, Tokenization):
        reads.save(run.path / TOKENIZER)
    else:
        for name, text in source.files.items():
            write_text(run.path / name, text)
    student = write_student(job, objects, run.path / "student.safetensors")
    found, notes = _evaluated(run, job, student, trainer)
    result = _result(run, job, trainer, student, found, notes)
    remedy = network_notes.remedy(job.config.student, job.distiller.student, source)
    said = chance.note(result, job.config.training, remedy) or chance.unmeasured(job, student, trainer.device)
    if said is not None:
        trainer.display.note(said)
        result = result.model_copy(update={"notes": (*result.notes, said)})
    if report:
        report(run, result, source)
    write_model_card(run, result)
    if trainer.records.checkpoint is not None:
        checkpoints.before(trainer.records.checkpoint).unlink(missing_ok=True)
    result.write(run.path / "result.json")  # last: it marks the run as finished


def write_student(job: Job, objects: Mapping[str, Any], file: Path) -> nn.Module:
    """Writes the weights of what a run would ship now, with the card of its network.

    Args:
        job: what is done.
        objects: the student, teacher or data that were handed over as objects.
        file: where they go.
    Returns: the network.
    """
    deployed = job.distiller.deploy()
    built = _buildable(job.config) if _named(deployed, job, objects) else None
    student = models.lora.merged(deployed)
    _check_finite(student)
    card = describe(student, built, job.source, preparations.reads_of(job.config.student, job.source))
    models.save(student, file, metadata_of(card))
    return student


def _check_finite(student: nn.Module) -> None:
    """Refuses to ship weights, or statistics of batch norm, that are NaN or infinite."""
    norms = {
        f"{path}.{name}".lstrip("."): buffer
        for path, part in student.named_modules()
        if isinstance(part, BatchNorm)
        for name, buffer in part.named_buffers(recurse=False)
    }
    for name, tensor in {**dict(student.named_parameters()), **norms}.items():
        if not tensor.isfinite().all():
            raise LimbeckError(
                f"the student's {name!r} is NaN or infinite, so it is not written; a lower learning rate or "
                "training.clip may help"
            )


def _result(
    run: Run,
    job: Job,
    trainer: Trainer,
    student: nn.Module,
    found: Evaluation | None,
    notes: tuple[str, ...],
) -> Result:
    config, source, history = job.config, job.source, run.history
    test = found.networks if found and found.split == "test" else {}
    beside = job.measured_beside
    teachers = {
        name: TeacherResult(
            **facts,
            cached=tuple(job.distiller.teachers[name].cached),
            metrics=test["teacher"].metrics if "teacher" in test and name == beside else None,
        )
        for name, facts in job.taught_by.items()
    }
    steps = history[-1]["step"]
    stopped = (f"Training {history[-1]['stopped']}.",) if "stopped" in history[-1] else ()
    metrics = Metrics(
        test=test["student"].metrics if test else None,
        validation=measured(job, student, source.validation, trainer.device) if source.validation else None,
    )
    data = _data(job)
    return Result(
        objective=str(job.distiller.objective),
        arguments=resolved(job.distiller.objective),
        seed=config.seed,
        selection=config.training.selection,
        choices=asdict(trainer.choices),
        task=source.task.record(),
        student=StudentResult(model=config.student.model, parameters=models.count_parameters(student)),
        teachers=teachers,
        metrics=metrics,
        at_chance=chance.at_chance(metrics, data, source),
        agreement=found.agreement.agreement if test and found and found.agreement else None,
        seconds=round(sum(line["seconds"] for line in history), 3),
        steps=steps,
        samples_seen=_samples_seen(job, history),
        teacher_forwards=sum(line.get("teacher_forwards", 0) for line in history) if teachers else None,
        notes=(*job.notes, *job.distrusted, *stopped, *notes),
        data=data,
    )


def _samples_seen(job: Job, history: Sequence[Mapping[str, Any]]) -> int:
    """Samples of all steps; an epoch leaves a last batch out that is too small to train on."""
    training = job.config.training
    size = training.samples_per_epoch or len(job.split)
    per_epoch: int = next(line["step"] for line in history if line["phase"] == "training")
    epochs, rest = divmod(history[-1]["step"], per_epoch)
    return int(epochs * min(size, per_epoch * training.batch_size) + rest * training.batch_size)


def _data(job: Job) -> DataResult:
    source, training = job.source, job.config.training
    measured = {"validation": source.validation, "test": source.test}
    return DataResult(
        name=source.name,
        hub=source.hub,
        fingerprint=source.fingerprint(),
        train=len(job.split),
        labeled=int(source.task.labeled(job.split.targets).sum()),
        validation=len(source.validation) if source.validation else 0,
        test=len(source.test) if source.test else 0,
        outputs=source.task.width,
        measured={
            name: int(source.task.labeled(split.targets).sum()) for name, split in measured.items() if split
        },
        views=ViewsResult(
            policy=str(source.views),
            count=source.views.count,
            drawn=training.views or source.views.count,
        ),
        noise=source.noise,
        weights=job.split.range_of_weights,
    )


def _evaluated(
    run: Run, job: Job, student: nn.Module, trainer: Trainer
) -> tuple[Evaluation | None, tuple[str, ...]]:
    """What the quick suite finds, written to the run, and what was left out of it.

    There is no evaluation of data with nothing to measure on.
    """
    if job.source.test is None and job.source.validation is None:
        return None, ()
    contenders: dict[Role, Contender] = {"student": of_run(student, run)}
    notes: tuple[str, ...] = ()
    try:
        beside = job.measured_beside
        if beside is not None and (teacher := job.distiller.teachers[beside].network) is not None:
            found_teacher = of_config(teacher, job.config.taught_by[beside], job.source.task)
            contenders["teacher"] = replace(found_teacher, told=job.told.get(beside))
    except LimbeckError as error:  # its network was unloaded and is gone: no reason to lose the run
        notes = (f"The teacher is left out: {error}.",)
        trainer.display.note(notes[0])
    found = evaluation.evaluate(job.source, contenders, device=trainer.device)
    found = found.model_copy(update={"notes": (*notes, *found.notes)})
    write(run, found)
    return found, notes


def _named(shipped: nn.Module, job: Job, objects: Mapping[str, Any]) -> bool:
    """Whether the student's name tells how to build what is shipped, with the graft if there is one."""
    inside = shipped.student if isinstance(shipped, GraftedStudent) else shipped
    return "student" not in objects and job.distiller.student in (shipped, inside)


def _buildable(config: RunConfig) -> str:
    """The student's name; where it started from another run's weights, that run's."""
    path = Path(config.student.model)
    if not is_path(config.student.model):
        return untrained(config.student.model)
    card = read_card(path / "student.safetensors" if path.is_dir() else path)
    assert card is not None, "networks.student has read it"
    assert card.model is not None
    return card.model
