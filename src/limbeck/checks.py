"""What a Distiller refuses: mistakes that would train the wrong thing, or fail far from their cause."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from limbeck import tasks
from limbeck.data_facts import DataFacts
from limbeck.errors import LimbeckError, unknown
from limbeck.features import FeaturePoints, Tap, probabilities, undisturbed
from limbeck.methods.base import Method, Objective, inner_first, taught, teachers_read
from limbeck.methods.declarations import Reads
from limbeck.methods.gradient_rules import GradientRule
from limbeck.methods.parts.writers import Writer
from limbeck.outputs import Batch, Inputs, Outputs
from limbeck.tasks import Task
from limbeck.teachers import Teacher


def networks(student: object, teachers: Mapping[str, Teacher], example: object) -> None:
    """Refuses what is no network, and networks that share memory: training one would change the other."""
    if not isinstance(student, nn.Module):
        raise LimbeckError(f"the student must be an nn.Module, not {student!r:.80}")
    callable_with("the example", example)
    live = [teacher.network for teacher in teachers.values()]
    theirs = {_memory(tensor) for network in live if network is not None for tensor in _tensors(network)}
    for name, tensor in chain(student.named_parameters(), student.named_buffers()):
        if not is_lazy(tensor) and _memory(tensor) in theirs:
            raise LimbeckError(
                f"the student's {name} is the teacher's too, so training would change the teacher; "
                "copy.deepcopy one of them"
            )


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    """The parameters and buffers of a network that have memory."""
    return (each for each in chain(network.parameters(), network.buffers()) if not is_lazy(each))


def _memory(tensor: Tensor) -> tuple[str, int]:
    """What two tensors have in common that are one, or parts of one."""
    try:
        address = tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):  # of a subclass that keeps its values elsewhere
        address = 0
    return ("memory", address) if address else ("object", id(tensor))


def trained(student: nn.Module, objective: Method) -> None:
    """Refuses a student of which nothing is trained, unless a method ships more than the student."""
    shipped_whole = all(type(method).deploy is Method.deploy for method in inner_first(objective))
    if shipped_whole and not any(parameter.requires_grad for parameter in student.parameters()):
        raise LimbeckError(
            f"nothing of the student {type(student).__name__} is trained: it has no parameter with "
            "requires_grad=True; call student.requires_grad_(True), or for those parts that are to learn"
        )


def callable_with(what: str, inputs: object) -> None:
    """Refuses what networks are not called with."""
    if not isinstance(inputs, (Tensor, Mapping)):
        raise LimbeckError(f"{what} must be a tensor or named tensors, not a {type(inputs).__name__}")


def possible(objective: Method, teachers: Collection[str], facts: DataFacts) -> None:
    """Refuses an objective that lacks its teacher, or something of the data it must know beforehand.

    Args:
        objective: what is to be minimized.
        teachers: names of the teachers there are.
        facts: what is known of the data.
    """
    for method, given in taught(objective):
        if method.reads.teacher and not teachers:
            raise LimbeckError(f"{method.name} learns from a teacher, and none was given")
        if len(method.reads.teachers) > len(teachers) == 1:
            names = method.reads.teachers
            flags = " ".join(f"--teacher {name}=..." for name in names)
            mapping = ", ".join(f'"{name}": ...' for name in names)
            raise LimbeckError(
                f"{method.name} learns from {len(names)} teachers, and one was given; give each by its name, "
                f"{flags}, in Python teacher={{{mapping}}}"
            )
        for name in (*method.reads.teachers, *([given] if given else [])):
            if name not in teachers:
                raise unknown(f"teacher of {method.name}", name, teachers)
        if method.reads.teacher and len(teachers) > 1 and not (given or method.reads.teachers):
            raise LimbeckError(
                f"there are {len(teachers)} teachers, and {method.name} does not say which it learns from; "
                f'write {method.name}(teacher="{next(iter(teachers))}"), or make one of all: ensemble(...)'
            )
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
    read = teachers_read(objective)
    idle = [name for name in teachers if name not in read] if read.keys() - {None} else []
    if teachers and not read:
        raise LimbeckError(
            f"the objective {str(objective)!r} has no use for a teacher; leave it out, or add kd"
        )
    if idle and None not in read:
        raise LimbeckError(
            f"the objective {str(objective)!r} does not read the teacher {idle[0]!r}; leave it out, or name "
            f'it in a method, for example kd(teacher="{idle[0]}")'
        )
    _trained_by_something(objective)
    _outermost(objective)
    writers = [method.name for method in inner_first(objective) if isinstance(method, Writer)]
    if len(writers) > 1:
        raise LimbeckError(
            f"{writers[0]} and {writers[1]} would each have its own text written in the place of a batch, "
            "and all methods learn from one; take one of the two, around all that learns from the text"
        )
    shipping = [method.name for method in inner_first(objective) if type(method).deploy is not Method.deploy]
    for name in shipping:
        if shipping.count(name) > 1:
            raise LimbeckError(f"{name} replaces part of the student, so an objective can have it only once")


def answers_suffice(objective: Method, teachers: Mapping[str, Teacher]) -> None:
    """Refuses a method to which a file of answers, or a cross-encoder, cannot give what it learns from."""
    written_down = any(teacher.gives is not None for teacher in teachers.values())
    exchanging = next((part.name for part in inner_first(objective) if part.exchanges), None)
    for method, given in taught(objective):
        if written_down and isinstance(method, Writer):
            raise LimbeckError(
                f"{method.name} has a network write text, and a teacher is a file of answers about the "
                "training samples, which says nothing of it; use kd, or have a run or a network teach"
            )
        reads = method.reads
        for name in (reads.teachers or (given or next(iter(teachers)),)) if reads.teacher else ():
            teacher = teachers[name]
            whose = "the teacher" if len(teachers) == 1 else f"the teacher {name!r}"
            if teacher.pairs and not method.from_pairs:
                raise LimbeckError(
                    f"{method.name} reads the {reads.teacher[0]} of its teacher, and {whose} is a "
                    "cross-encoder, which scores queries with documents and embeds no text alone; use "
                    "margin_mse, listwise or embeddistill"
                )
            if teacher.gives is None or teacher.pairs:
                continue
            if lacking := [field for field in reads.teacher if field not in teacher.gives]:
                raise LimbeckError(
                    f"{method.name} reads the {lacking[0]} of its teacher, and {whose} is a file of answers, "
                    "which has logits alone; use kd, or another method that reads nothing else"
                )
            if exchanging is not None:
                raise LimbeckError(
                    f"{exchanging} shows the teacher other samples than those of the data, and {whose} is a "
                    f"file of answers about the training samples; leave {exchanging} out"
                )
            if reads.makes:
                raise LimbeckError(
                    f"{method.name} asks its teacher about inputs that it makes, and {whose} is a file of "
                    "answers about the training samples; use kd"
                )
            if teacher.partial and not method.partial:
                raise LimbeckError(
                    f"{method.name} needs a logit for every class, and some answers of {whose} lack that, as "
                    "labels, votes and probabilities of some classes do; use kd, or a file of logits or of "
                    "probabilities above 0 of all classes"
                )
            if teacher.gaps and not method.row_wise:
                raise LimbeckError(
                    f"{method.name} cannot leave out samples, and {whose} has no answer for {teacher.gaps:,} "
                    "of the training samples; use kd or dkd, or a file with an answer for each"
                )


ALIGNED = "learn by uld or gold, which align different tokenizers"
"""What to do about a teacher with a tokenizer of its own, for messages."""


def tokens_alike(objective: Method, answers: Mapping[str, Outputs]) -> None:
    """Refuses a method that compares a teacher with the student token by token where their tokens differ."""
    for name in (name for name, answer in answers.items() if "retold" in answer):
        for method in read_by(objective, name, next(iter(answers))):
            if not method.retold:
                raise LimbeckError(
                    f"{method.name} compares student and teacher token by token, and {name} has a tokenizer "
                    f"of its own; give a teacher with the student's, or {ALIGNED}"
                )


def read_by(objective: Method, name: str, first: str) -> list[Method]:
    """The methods of an objective that read something of a teacher.

    Args:
        objective: a method or a sum of them.
        name: the teacher's.
        first: the name of the teacher that a method reads which names none.
    """
    return [
        method
        for method, given in taught(objective)
        if method.reads.teacher and name in (method.reads.teachers or (given or first,))
    ]


def told_apart(objective: Method, teachers: Mapping[str, Teacher]) -> None:
    """Refuses a method that needs a logit for every class of a teacher whose cache keeps the best ones."""
    for method, given in taught(objective):
        for name in method.reads.teachers or (given or next(iter(teachers), ""),):
            top = teachers[name].top if name in teachers and "logits" in method.reads.teacher else None
            if top is not None and not (method.partial or method.ranked):
                raise LimbeckError(
                    f"{method.name} needs a logit for every token, and a cache keeps the {top} most probable "
                    "ones of each position; use kd, or leave out cache_teacher (--cache-teacher)"
                )


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


def _outermost(objective: Method) -> None:
    """Refuses a method that exchanges the samples for all others, unless it wraps them all."""
    alone = isinstance(objective, Objective) and len(objective.summands) == 1
    whole = objective.summands[0][1] if isinstance(objective, Objective) and alone else objective
    for method in inner_first(objective):
        if method.exchanges and method is not whole:
            raise LimbeckError(
                f"{method.name} exchanges the samples that all methods learn from, so it wraps the whole "
                f"objective, such as {method.recipe}; here it is a part of {str(objective)!r}"
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


def plain_backward(objective: Method, loop: str) -> None:
    """Refuses a gradient rule where a loop computes the gradient of the total by itself.

    Args:
        objective: what is to be minimized.
        loop: whose it is, for the message.
    """
    if gradient_rule(objective) is not None:
        raise LimbeckError(
            f"the objective {str(objective)!r} has a gradient rule, which needs losses.backward(), and "
            f"{loop} calls backward() on the total; use limbeck.distill, or a loop of your own"
        )


def task_given(task: Task | str | None, data: object) -> Task | type[Task]:
    """The task that was given, or else that of the data; classification if neither says one."""
    given = getattr(data, "task", None) if task is None else task
    if isinstance(given, Task) or (isinstance(given, type) and issubclass(given, Task)):
        return given
    return tasks.named("classification" if given is None else str(given))


def task_of(given: Task | type[Task], student: nn.Module, example: Inputs, points: FeaturePoints) -> Task:
    """The task, made for the outputs that the student has where only its class is known.

    A task is never guessed from shapes: outputs that do not fit it are refused.

    Args:
        given: a task, or a class of tasks, whose outputs then have numbers for names.
        student: the network that makes the outputs.
        example: inputs for it.
        points: where its logits are.
    """
    with undisturbed(student, example), torch.no_grad():
        logits = Tap(student, points, ())(example).logits
    task = given if isinstance(given, Task) else given.of_width(given.width_of(logits))
    task.check_outputs(logits, "student")
    return task


def serves(objective: Method, task: Task) -> None:
    """Refuses a method that cannot serve the task, by name and with the reason."""
    for method in inner_first(objective):
        if reason := misfit(method, task):
            raise LimbeckError(reason)


def misfit(method: Method | type[Method], task: Task | type[Task]) -> str | None:
    """The reason why a method cannot serve a task, and what can instead; None if it serves it."""
    if method.tasks and task.name not in method.tasks:
        instead = "mse or imitation" if task.scores == "values" else "ce or kd"
        return f"{method.name} is for the task {method.tasks[0]}, and this is {task.name}; use {instead}"
    if method.rows != "any" and task.scores not in (method.rows, *method.also):
        does = {
            "classes": "chooses among classes",
            "values": "is about values",
            "vectors": "compares queries with documents, or pairs of texts",
        }[method.rows]
        instead = {
            "classes": "ce or kd",
            "values": "mse, huber or imitation",
            "vectors": "cosine, contrastive or listwise",
        }[task.scores]
        return (
            f"{method.name} {does}, and the outputs of {task.name} are {task.scores}; use {instead}, or "
            "a method that compares embeddings or stages"
        )
    if method.one_row_per_sample and not task.one_row_per_sample:
        return (
            f"{method.name} is for tasks with one decision for each sample, and {task.name} has several; "
            "use a method without that need, such as kd or icd"
        )
    return None


def same_width(student: Outputs, teacher: Outputs, task: Task) -> None:
    """Refuses outputs of different widths, where the task says how wide they are."""
    if task.embeds:
        return
    ours, theirs = task.width_of(student.logits), task.width_of(teacher.logits)
    if ours != theirs and not (task.fits(ours) and task.fits(theirs)):
        raise LimbeckError(f"the student has {ours} outputs and the teacher {theirs}; they must agree")


def places(
    objective: Method,
    teachers: Mapping[str, Teacher],
    student: Outputs,
    answers: Mapping[str, Outputs],
    task: Task,
) -> None:
    """Refuses a method that compares detectors place by place where their places are not the same."""
    if "places" not in task.fields:
        return
    for name, answer in answers.items():
        found = teachers[name].points
        if "logits" not in answer or found is None:
            continue
        ours, theirs = student.logits.shape[1], answer.logits.shape[1]
        for method in read_by(objective, name, next(iter(answers))):
            if method.of_objects or not {"logits", "boxes", "embedding"} & {*method.reads.teacher}:
                continue
            whose = "the teacher" if len(answers) == 1 else f"the teacher {name!r}"
            if not found.of("places"):
                raise LimbeckError(
                    f"{method.name} compares detectors at the same places of an image, and {whose}, "
                    f"{type(teachers[name].network).__name__}, answers with the objects that it finds, "
                    "wherever they are; use pseudo_boxes, which learns from these, or a teacher with the "
                    "student's places, such as fcos"
                )
            if ours != theirs:
                raise LimbeckError(
                    f"{method.name} compares detectors at the same places of an image, and the student has "
                    f"{ours} places and {whose} {theirs}; give both pyramids the same strides, or use "
                    "pseudo_boxes, which learns from the objects that the teacher finds"
                )


def logits(teacher: Outputs, task: Task) -> None:
    """Warns of a teacher that answers with probabilities, where methods take them for logits."""
    if task.scores != "classes":
        return
    within, summed = probabilities(teacher.logits)
    if summed or (within and teacher.logits.numel() >= 32):
        warnings.warn(
            "the outputs of the teacher are probabilities, all of them from 0 to 1"
            f"{' with the sum 1' if summed else ''}; methods take them for logits, which makes soft targets "
            'all but uniform; take the layer before them, teacher_features={"logits": ...}, or '
            "limbeck.features.as_logits(teacher, ...)",
            stacklevel=4,
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
    if reads.makes_for_student and batch.teacher_inputs:
        other, made = next(iter(batch.teacher_inputs)), ", ".join(reads.makes_for_student)
        raise LimbeckError(
            f"further views ({made}) are made of what the student reads, and {other} reads "
            "another preparation of the samples; give both networks one size"
        )
    for name in ("index", "view"):
        tensor: Tensor | None = getattr(batch, name)
        if tensor is not None and (tensor.dtype, tensor.shape) != (torch.int64, (len(batch),)):
            raise LimbeckError(
                f"the {name} of a batch of {len(batch)} must be int64 of shape ({len(batch)},), "
                f"not {str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
            )


def weights(given: object, size: int) -> None:
    """Refuses weights of a batch of `size` samples that are no (B,) of finite numbers from 0.

    On an accelerator their values are not looked at: it would be waited for.
    """
    if not isinstance(given, Tensor) or not given.is_floating_point() or given.shape != (size,):
        what = type(given).__name__
        if isinstance(given, Tensor):
            what = f"{str(given.dtype).removeprefix('torch.')} of shape {tuple(given.shape)}"
        raise LimbeckError(f"the weights of a batch of {size} must be floats of shape ({size},), not {what}")
    if given.device.type == "cpu" and not ((given >= 0) & given.isfinite()).all():
        place = int(((given >= 0) & given.isfinite()).logical_not().nonzero()[0])
        raise LimbeckError(
            f"the weight at position {place} of a batch is {given[place]:g}; a weight is a finite number of "
            "at least 0"
        )


def can_weigh(objective: Method, task: type[Task] | Task) -> None:
    """Refuses weights of samples for a method that fits labels without them, and for a task whose samples
    have different numbers of decisions."""
    for method in inner_first(objective):
        if (method.fits_labels or method.kind == "task") and not method.weighs:
            raise LimbeckError(
                f"the samples have weights, and what {method.name} learns from labels takes none; use ce, "
                "label_smoothing or focal for classes, mse, mae or huber for values, or leave the weights out"
            )
    if not task.even:
        raise LimbeckError(
            f"samples have weights where each has as many decisions, and in {task.name} they have different "
            "numbers of them; leave the weights out"
        )


def targets_given(targets: object) -> None:
    """Refuses targets that are no tensor."""
    if not isinstance(targets, Tensor | None):
        kind = type(targets).__name__
        raise LimbeckError(f"the targets should be a tensor, not {kind}; use torch.as_tensor(targets)")


def targets_in_range(targets: Tensor, task: Task) -> None:
    """Refuses targets that are none of the task's; costs a look at the values."""
    try:
        task.check(targets, "batch's")
    except LimbeckError as error:
        raise LimbeckError(f"{error}; the student has {task.width} outputs") from None
