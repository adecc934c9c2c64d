"""What a Distiller refuses of teachers: those that do not tell what a method learns from."""

from __future__ import annotations

from collections.abc import Mapping

from limbeck.errors import LimbeckError
from limbeck.methods.base import Method, inner_first, taught
from limbeck.methods.parts.writers import Writer, foreign
from limbeck.outputs import Outputs
from limbeck.teachers import Teacher


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
    writers = [method.name for method in inner_first(objective) if isinstance(method, Writer)]
    for name in (name for name, answer in answers.items() if "retold" in answer):
        if writers:
            raise LimbeckError(foreign(writers[0], name))
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
