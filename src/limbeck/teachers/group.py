"""The teachers of a distiller, by name: what each is asked for, and what they answer together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.outputs import Batch, Inputs, Outputs, apply
from limbeck.retold import Retold
from limbeck.sides import Side
from limbeck.teachers.base import Teacher
from limbeck.teachers.live import LiveTeacher

Given = Teacher | nn.Module
Fields = Mapping[str, Sequence[str]]
"""Fields of the Outputs by the name of the teacher that is asked for them."""
Sides = Mapping[str, tuple[Side, ...]]
"""What stands for some of them, by the name of the teacher."""


class TeacherGroup(Mapping[str, Teacher]):
    """Teachers by name, each opened for what it is asked for next.

    Args:
        teachers: the teachers; one without a name is called "teacher".
        examples: a few inputs as each of them reads them.
    """

    def __init__(self, teachers: Mapping[str, Teacher], examples: Mapping[str, Inputs]) -> None:
        self._teachers = dict(teachers)
        self._examples = dict(examples)
        self._opened: dict[str, tuple[Sequence[str], tuple[Side, ...]]] = {}
        self._shown = 0
        for name, teacher in self._teachers.items():
            teacher.name = name

    def __getitem__(self, name: str) -> Teacher:
        return self._teachers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._teachers)

    def __len__(self) -> int:
        return len(self._teachers)

    @property
    def first(self) -> str | None:
        """The name of the only teacher, or of the first of several; None without any."""
        return next(iter(self._teachers), None)

    def example(self, name: str) -> Inputs:
        """A few inputs as this teacher reads them."""
        return self._examples[name]

    def by_name(self, fields: Mapping[str | None, Sequence[str]]) -> dict[str, tuple[str, ...]]:
        """Fields by the names of teachers, in their order; None stands for the first."""
        found: dict[str, tuple[str, ...]] = {}
        for name, some in fields.items():
            key = (self.first or "") if name is None else name
            found[key] = tuple(dict.fromkeys([*found.get(key, ()), *some]))
        return {name: found[name] for name in self._teachers if found.get(name)}

    def told(self, width: int, dense: bool) -> None:
        """Says what the outputs of the task are, before a teacher is opened."""
        for name, teacher in self._teachers.items():
            example = self._examples[name]
            own = example.vocabulary.task.width if isinstance(example, Retold) else width
            teacher.width, teacher.dense = own, dense

    def open(self, fields: Fields, sides: Sides, device: torch.device) -> None:
        """Has the teachers give these fields, or the sides that stand for some of them.

        Those that give them already are left as they are.
        """
        for name, needed in fields.items():
            given = sides.get(name, ()) if self._teachers[name].keeps else ()
            if (needed, given) != self._opened.get(name):
                self._teachers[name].sides = given
                self._teachers[name].open(_to(device, self._examples[name]), needed)
                self._opened[name] = needed, given

    def answers(self, fields: Fields) -> dict[str, Outputs]:
        """What each teacher gives for its example."""
        return {name: self._teachers[name].sample(self._examples[name]) for name in fields}

    def answered(self, batch: Batch) -> dict[str, Tensor]:
        """() how many samples of a batch each of the teachers answers that have gaps, by name."""
        found = {name: teacher.answered(batch) for name, teacher in self._teachers.items()}
        return {name: there.sum(dtype=torch.float64) for name, there in found.items() if there is not None}

    def ask(self, batch: Batch, fields: Fields, views: Fields) -> Outputs:
        """The outputs of the first of the teachers that are asked, with those of all under `named`.

        Args:
            batch: a batch of the student's.
            fields: what each is asked for; the others are not asked.
            views: names of further views of the samples that each is asked about too.
        """
        answers = {name: self._answer(self._teachers[name], batch, views.get(name, ())) for name in fields}
        if not answers:
            return Outputs()
        given = next(iter(answers.values()))
        return given if list(self._teachers) == ["teacher"] else given.replace(named=answers)

    @staticmethod
    def _answer(teacher: Teacher, batch: Batch, views: Sequence[str]) -> Outputs:
        outputs = teacher(batch)
        if not views:
            return outputs
        seen = {**batch.views, **batch.teacher_views.get(teacher.name, {})}
        further = {
            name: replace(batch, inputs=seen[name], view=batch.view_numbers.get(name), teacher_inputs={})
            for name in views
        }
        return outputs.replace(views={name: teacher(each) for name, each in further.items()})

    def take_shown(self) -> int:
        """How many samples the teachers' networks were shown since this was last asked."""
        shown = sum(teacher.shown + teacher.lent for teacher in self._teachers.values())
        since, self._shown = shown - self._shown, shown
        return since

    def release(self) -> None:
        """Unloads what can be loaded again."""
        for teacher in self._teachers.values():
            teacher.release()

    def apply(self, function: Callable[[Tensor], Tensor]) -> None:
        """Moves the teachers and their examples."""
        for teacher in self._teachers.values():
            teacher.apply(function)
        self._examples = {name: apply(function, inputs) for name, inputs in self._examples.items()}

    @contextmanager
    def compiled(self, names: Sequence[str]) -> Iterator[None]:
        """A context in which some of the teachers run compiled."""
        with ExitStack() as stack:
            for name in names:
                stack.enter_context(self._teachers[name].compiled())
            yield


def teachers_of(
    given: Given | Mapping[str, Given] | None, features: Mapping[str, str | Sequence[str]] | None = None
) -> dict[str, Teacher]:
    """Teachers by name, of what a caller gives for them.

    Args:
        given: a network, a teacher, several of either by name, or None.
        features: module paths that override what is found in the one network that is given.
    Raises:
        LimbeckError: for anything else, and for features of what is not one network.
    """
    by_name = {} if given is None else given if isinstance(given, Mapping) else {"teacher": given}
    if features and not (len(by_name) == 1 and isinstance(next(iter(by_name.values())), nn.Module)):
        raise LimbeckError("teacher_features are for one teacher that is given as a network")
    made: dict[str, Teacher] = {}
    for name, each in by_name.items():
        if not isinstance(each, (nn.Module, Teacher)):
            raise LimbeckError(f"the teacher must be an nn.Module, a Teacher or None, not {each!r:.80}")
        made[name] = LiveTeacher(each, features) if isinstance(each, nn.Module) else each
    return made


def _to(device: torch.device, inputs: Inputs) -> Inputs:
    return apply(lambda tensor: tensor.to(device), inputs)
