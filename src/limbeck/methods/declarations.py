"""What a method declares: what it reads, what it is bound to, its phases and its claims."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor, nn

from limbeck.data_facts import DataFacts
from limbeck.methods.terms import Term
from limbeck.outputs import Batch, Inputs, Outputs

if TYPE_CHECKING:  # the equations are imported without these
    from limbeck.features import FeaturePoints
    from limbeck.optimization import MakeOptimizer, Schedule
    from limbeck.sides import Side
    from limbeck.tasks import Rows, Task
    from limbeck.teachers import Teacher

LossTerms: TypeAlias = "Tensor | Mapping[str, Tensor | Term]"
"""What a loss function returns: one scalar, or named scalars; a bare tensor is of the method's own kind."""


@dataclass(frozen=True)
class Reads:
    """What a method needs; whatever it does not name, nobody computes for it.

    Attributes:
        student: fields of the student's Outputs.
        teacher: fields of the teacher's Outputs; empty for a method that needs no teacher.
        teachers: names of teachers, for a method that wants several and reads them as `teacher.named[name]`;
            empty for the one that it is given.
        makes: names of further views that the method makes itself, in `collect`; the outputs for them are in
            `outputs.views` as well.
        makes_for_each: those of them that it also makes of what a teacher with another preparation reads, in
            `Batch.teacher_views`.
        batch: of "targets", "index", "view" and "progress", those that must be in the batch.
        data: of "size" (positions in the training set), "targets" (by position) and "fingerprint", those that
            must be known when the method is bound.
        views: names of further views of the samples, drawn from the policy of the data; the outputs for them
            are in `outputs.views`.
    """

    student: tuple[str, ...] = ("logits",)
    teacher: tuple[str, ...] = ()
    batch: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    teachers: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    makes_for_each: tuple[str, ...] = ()

    @property
    def further(self) -> tuple[str, ...]:
        """The names of all further views, those that are drawn and those that methods make."""
        return (*self.views, *self.makes)

    @property
    def makes_for_student(self) -> tuple[str, ...]:
        """The views that are made of what the student reads alone."""
        return tuple(name for name in self.makes if name not in self.makes_for_each)

    def __or__(self, other: Reads) -> Reads:
        return Reads(
            **{
                each.name: tuple(dict.fromkeys([*getattr(self, each.name), *getattr(other, each.name)]))
                for each in fields(self)
            }
        )


NOTHING = Reads(student=())


@dataclass(frozen=True)
class TeacherContext:
    """What a context says of one of several teachers; see `Context`."""

    teacher: Outputs | None
    teacher_network: nn.Module | None = None
    teacher_points: FeaturePoints | None = None
    cached: tuple[str, ...] = ()
    schedule: str = ""
    teacher_example: Inputs | None = None


@dataclass(frozen=True)
class Context:
    """What a method is bound to, once, before training.

    The outputs are those of the example, a few inputs, detached and on the device where training happens; the
    networks are to be read, never changed. Logits and embeddings are rows, as in training; `rows` says how
    they were made. `teacher_example` is the same samples as the teacher reads them.
    `student_points` and `teacher_points` tell where the networks' features are, `cached`
    which fields of the teacher's outputs may come from a cache, rounded to float16. A teacher that is a
    schedule of checkpoints has a digest of them in `schedule`, and its network has the last one. What is said
    of "the teacher" is said of the one that the method is given, `teacher_name`; `teachers` has them all.
    """

    student: Outputs
    teacher: Outputs | None
    example: Inputs
    student_network: nn.Module
    task: Task
    rows: Rows
    student_points: FeaturePoints
    teacher_network: nn.Module | None = None
    teacher_points: FeaturePoints | None = None
    cached: tuple[str, ...] = ()
    schedule: str = ""
    data: DataFacts = field(default_factory=DataFacts)
    teachers: Mapping[str, TeacherContext] = field(default_factory=dict)
    teacher_name: str | None = None
    teacher_example: Inputs | None = None

    def of_teacher(self, name: str) -> Context:
        """The context with another of the teachers as the one that a method is given."""
        return replace(self, teacher_name=name, **vars(self.teachers[name]))

    @property
    def fingerprint(self) -> str | None:
        """A digest of live teacher, where its features are, and data, for what is trained once; or None."""
        if self.teacher_network is None or self.data.fingerprint is None:
            return None
        from limbeck.models import fingerprint

        further = f" rounded {', '.join(self.cached)}" if self.cached else ""
        further += f" schedule {self.schedule}" if self.schedule else ""
        return f"{fingerprint(self.teacher_network)} {self.teacher_points} {self.data.fingerprint}{further}"

    @property
    def width(self) -> int:
        """How many outputs the head of the student has: C in classification."""
        return self.task.width

    @property
    def columns(self) -> int:
        """C, how many scores a row has: 2 where the outputs are answered yes or no, each for itself."""
        return self.student.logits.shape[-1]


@dataclass(frozen=True)
class Networks:
    """The networks that `Method.collect` may ask as it makes a batch.

    Attributes:
        student: the student, in the mode it trains in.
        teachers: the teachers by name, to be asked as `teachers[name](batch)`; they answer with the fields
            that the objective reads of them.
    """

    student: nn.Module
    teachers: Mapping[str, Teacher]


@dataclass(frozen=True)
class Phase:
    """Something to train before the training itself.

    Attributes:
        name: name of the phase within its method, in lower case.
        trains: the modules that learn; all else is frozen meanwhile. The context's `student_network` may
            be among them.
        loss: (student outputs, teacher outputs, batch) -> what to minimize; the student's outputs are
            empty unless `reads` names some.
        reads: what `loss` needs.
        epochs: how long.
        optimizer: makes the optimizer over the parameters of `trains`.
        schedule: of its learning rate; None keeps it constant.
        batch_size: samples a step; None takes the training's.
        data: makes an iterable of batches for one epoch, given the epoch; None takes the training set.
        keeps: further modules that the phase fills, a bank say; stored with `trains`.
        finish: called once the training of the phase is over.
        seed: random seed of the data's order and of random numbers in the phase; None takes the run's.
        cache: everything that decides what the phase ends with. A phase that has it is trained once and
            reused by every run that says the same; it must not depend on the run's seed.
        freezes: whether the modules stay as they are once the phase is over: in eval mode, in no later
            optimizer.
        collect: a function that exchanges the batch before the networks see it, as `Method.collect` does.
        sides: what `loss` needs of fields of the teacher, as `Method.sides`.
    """

    name: str
    trains: Sequence[nn.Module]
    loss: Callable[[Outputs, Outputs, Batch], LossTerms]
    reads: Reads
    epochs: int
    optimizer: MakeOptimizer
    schedule: Schedule | None = None
    batch_size: int | None = None
    data: Callable[[int], Iterable[Batch]] | None = None
    keeps: Sequence[nn.Module] = ()
    finish: Callable[[], None] | None = None
    seed: int | None = None
    cache: str | None = None
    freezes: bool = False
    collect: Callable[[Batch, Networks], Batch] | None = None
    sides: tuple[Side, ...] = ()


@dataclass(frozen=True)
class Claim:
    """Parts of a method that learn by an optimizer of their own, whatever optimizer the user makes."""

    module: nn.Module
    optimizer: MakeOptimizer
