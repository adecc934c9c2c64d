"""What a `DistillationTrainer` refuses: options and networks that would train the wrong thing in silence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from limbeck import checks
from limbeck.errors import LimbeckError

if TYPE_CHECKING:
    from limbeck.integrations.transformers import DistillationTrainer


def options(trainer: DistillationTrainer) -> None:
    """Refuses options of `transformers.Trainer` that an objective cannot follow."""
    args = trainer.args
    conflicts = [
        (
            args.label_smoothing_factor != 0,
            "label_smoothing_factor is for the trainer's own loss; write label_smoothing(epsilon=...) in the "
            "objective",
        ),
        (
            trainer.compute_loss_func is not None,
            "compute_loss_func would be ignored: the objective is the loss",
        ),
        (
            trainer.model_init is not None,
            "model_init makes a student for each search, and a distiller has one; give it by model=",
        ),
        (
            len(trainer.label_names) > 1,
            f"a task has one column of targets, not {', '.join(trainer.label_names)}; name it by "
            "TrainingArguments(label_names=[...])",
        ),
        (
            trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled,
            "DeepSpeed and FSDP shard one network, and a distiller trains more than the student; launch the "
            "processes without them",
        ),
        (
            args.n_gpu > 1,
            f"one process would train on {args.n_gpu} devices; launch one for each, with torchrun or "
            "accelerate launch, or set CUDA_VISIBLE_DEVICES to one of them",
        ),
    ]
    for found, reason in conflicts:
        if found:
            raise LimbeckError(reason)


def other_names(student: object, teacher: object) -> None:
    """Refuses a teacher whose outputs have other names than the student's, or another order."""
    ours = _names(student)
    for each in teacher.values() if isinstance(teacher, Mapping) else [teacher]:
        theirs = _names(each)
        if ours and theirs and [name.casefold() for name in ours] != [name.casefold() for name in theirs]:
            raise LimbeckError(
                f"the outputs of the student are {', '.join(ours)}, and those of the teacher "
                f"{', '.join(theirs)}; give the student's config the id2label of the teacher, or the teacher "
                "the student's order, with limbeck.features.reordered"
            )


def objective(trainer: DistillationTrainer) -> None:
    """Refuses objectives that need what the trainer does not do or does not have."""
    distiller, columns = trainer.distiller, trainer._columns
    written = repr(str(distiller.objective))
    checks.plain_backward(distiller.objective, "transformers.Trainer")
    if distiller.deploy() is not trainer.model:
        raise LimbeckError(
            f"the objective {written} puts another network in the student's place, which save_pretrained "
            "cannot write; use limbeck.distill"
        )
    if "targets" in distiller.reads.batch and columns.label not in columns.names:
        raise LimbeckError(
            f"the objective {written} needs labels, and the batches hold {', '.join(columns.names)}; name "
            "their column by TrainingArguments(label_names=[...])"
        )
    if trainer.optimizer is not None and next(distiller.objective.parameters(), None) is not None:
        raise LimbeckError(
            f"the objective {written} trains parts of its own, which the optimizer given by optimizers= does "
            "not hold; give its class by optimizer_cls_and_kwargs="
        )


def _names(network: object) -> list[str]:
    """What a network's config calls its outputs; empty for nothing, or LABEL_0, LABEL_1, ..."""
    names = getattr(getattr(network, "config", None), "id2label", None) or {}
    ordered = [str(names[number]) for number in sorted(names)]
    return [] if ordered == [f"LABEL_{number}" for number in range(len(ordered))] else ordered
