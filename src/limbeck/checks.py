"""What a Distiller refuses: mistakes that would train the wrong thing, or fail far from their cause."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.methods import DataFacts, Method, Reads
from limbeck.methods.base import Objective, inner_first
from limbeck.methods.gradient_rules import GradientRule
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.teachers import Teacher


def networks(student: object, teacher: object, example: object) -> None:
    """Refuses what is no network, and networks that share parameters: training one would change the other."""
    if not isinstance(student, nn.Module):
        raise LimbeckError(f"the student must be an nn.Module, not {student!r:.80}")
    if not isinstance(teacher, (nn.Module, Teacher, NoneType)):
        raise LimbeckError(f"the teacher must be an nn.Module, a Teacher or None, not {teacher!r:.80}")
    callable_with("the example", example)
    network = teacher.network if isinstance(teacher, Teacher) else teacher
    theirs = {id(parameter) for parameter in network.parameters()} if network is not None else set()
    for name, parameter in student.named_parameters():
        if id(parameter) in theirs:
            raise LimbeckError(
                f"the student's {name} is the teacher's too, so training would change the teacher; "
                "copy.deepcopy one of them"
            )


def callable_with(what: str, inputs: object) -> None:
    """Refuses what networks are not called with."""
    if not isinstance(inputs, (Tensor, Mapping)):
        raise LimbeckError(f"{what} must be a tensor or named tensors, not a {type(inputs).__name__}")


def possible(objective: Method, teacher: Teacher | None, facts: DataFacts) -> None:
    """Refuses an objective that lacks its teacher, or something of the data it must know beforehand."""
    for method in inner_first(objective):
        if method.reads.teacher and teacher is None:
            raise LimbeckError(f"{method.name} learns from a teacher, and none was given")
        for name in method.reads.data:
            if getattr(facts, name) is None:
                whose = (
                    " a Source, a Split or a Loader of limbeck.data, or DataFacts(size, targets=...)"
                    if name == "targets"
                    else ""
                )
                raise LimbeckError(
                    f"{method.name} needs the {name} of the training set; give Distiller(data=...){whose}"
                )
    if teacher is not None and not objective.all_reads.teacher:
        raise LimbeckError(
            f"the objective {str(objective)!r} has no use for a teacher; leave it out, or add kd"
        )
    _trained_by_something(objective)
    shipping = [method.name for method in inner_first(objective) if type(method).deploy is not Method.deploy]
    for name in shipping:
        if shipping.count(name) > 1:
            raise LimbeckError(f"{name} replaces part of the student, so an objective can have it only once")


def _trained_by_something(objective: Method) -> None:
    """Refuses an objective of nothing but phases, and a weight on what has no term in training."""
    methods = [method for method in inner_first(objective) if not isinstance(method, Objective)]
    if all(method.phases_only for method in methods):
        raise LimbeckError(
            f"{methods[0].name} is over when training begins, so the objective {str(objective)!r} leaves "
            f"nothing to minimize; add what to train by, for example ce + {objective}"
        )
    for part in inner_first(objective):
        for weight, method in part.summands if isinstance(part, Objective) else ():
            if method.phases_only and weight != 1:
                raise LimbeckError(
                    f"{method.name} is over when training begins and has no term in it, so the weight "
                    f"{weight:g} would do nothing; write {method} without one"
                )


def gradient_rule(objective: Method) -> GradientRule | None:
    """The objective's gradient rule, if some method has one; refuses two."""
    rules = [(method, rule) for method in inner_first(objective) if (rule := method.gradient_rule())]
    if len(rules) > 1:
        names = " and ".join(method.name for method, _ in rules)
        raise LimbeckError(
            f"an optimizer follows one gradient rule, and the objective {str(objective)!r} has {len(rules)}: "
            f"{names}; keep one"
        )
    return rules[0][1] if rules else None


def same_classes(student: Outputs, teacher: Outputs | None) -> None:
    """Refuses logits of different widths."""
    if teacher is None or "logits" not in teacher:
        return
    ours, theirs = student.logits.shape[-1], teacher.logits.shape[-1]
    if ours != theirs:
        raise LimbeckError(
            f"the student tells {ours} classes apart and the teacher {theirs}; they must agree"
        )


def batch_complete(batch: Batch, reads: Reads, objective: Method) -> None:
    """Refuses a batch that lacks what a method reads, or where a sample lacks its part."""
    callable_with("the inputs of a batch", batch.inputs)
    for name in reads.batch:
        if getattr(batch, name) is None:
            users = [method.name for method in inner_first(objective) if name in method.reads.batch]
            how = "call distiller.progress(...) before each step" if name == "progress" else f"give {name}="
            who = " and ".join(users) or "a phase"
            verb = "need" if len(users) > 1 else "needs"
            raise LimbeckError(f"{who} {verb} the {name} of the batch; {how}")
    for method in inner_first(objective):
        if (batch.total or len(batch)) < method.min_samples:
            raise LimbeckError(
                f"{method.name} compares samples and needs at least {method.min_samples} in a batch, "
                f"not {len(batch)}"
            )
    for name in reads.views:
        if name not in batch.views:
            raise LimbeckError(f"the objective reads a further view {name!r} of each sample; give views=")
    for name in ("targets", "index", "view"):
        tensor: Tensor | None = getattr(batch, name)
        if tensor is not None and (tensor.dtype, tensor.shape) != (torch.int64, (len(batch),)):
            raise LimbeckError(
                f"the {name} of a batch of {len(batch)} must be int64 of shape ({len(batch)},), "
                f"not {str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
            )


def targets_in_range(targets: Tensor, num_classes: int) -> None:
    """Refuses targets that are no class ids; costs a look at the values."""
    wrong = (targets != UNLABELED) & ((targets < 0) | (targets >= num_classes))
    if wrong.any():
        raise LimbeckError(
            f"target {int(targets[wrong][0])} is out of range: the student tells {num_classes} classes "
            f"apart, so targets are 0 to {num_classes - 1}, or {UNLABELED} for a sample without a label"
        )
