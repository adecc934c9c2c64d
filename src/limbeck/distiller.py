"""Distiller: student, teacher, objective and task as one nn.Module that turns a batch into losses."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn

from limbeck import checks
from limbeck.chunked import LARGE, Chunked, dense, in_chunks
from limbeck.data_facts import DataFacts
from limbeck.distilling.binding import bind, check_answers, shown
from limbeck.distilling.forwards import in_rows, samples_as_rows, with_views
from limbeck.distilling.passes import Pass
from limbeck.distilling.phases import PhaseModule, of_teacher, only_learns
from limbeck.distilling.resting import rest, resting
from limbeck.errors import LimbeckError
from limbeck.features import FeaturePoints, Tap, find, find_head
from limbeck.methods.base import (
    Method,
    inner_first,
    named,
    sides_read,
    taught,
    teachers_read,
    training_reads,
    views_read,
)
from limbeck.methods.declarations import Claim, Networks, Phase, Reads
from limbeck.methods.gradient_rules import SplitOptimizer
from limbeck.methods.parts.blocks import full_precision
from limbeck.methods.parts.draws import RELATED, draw_related
from limbeck.methods.terms import Losses, Term
from limbeck.objective import parse
from limbeck.optimization import JointOptimizer, MakeOptimizer
from limbeck.outputs import Batch, Inputs, Outputs, Progress, apply, mean_one
from limbeck.tasks import Task
from limbeck.teachers import Teacher
from limbeck.teachers.group import Fields, Given, Sides, TeacherGroup, teachers_of
from limbeck.watch import UntrainedParts, sums_of_inputs, sums_of_teachers

Features = Mapping[str, "str | Sequence[str]"]


class Distiller(nn.Module):
    """Student, teacher and objective as one module; its parameters are all that training may change.

        distiller = Distiller(student, teacher, "0.1*ce + 0.9*kd(temperature=4)", example=x)
        optimizer = distiller.optimizer(partial(torch.optim.SGD, lr=0.05, momentum=0.9))
        for x, y in loader:
            losses = distiller(x, y)
            losses.backward(); optimizer.step(); optimizer.zero_grad()

    Args:
        student: the network to train; stays the caller's own object, as `distiller.student`. A part of it
            that is in eval mode while the student is in training mode, such as a frozen batch norm, stays so.
        teacher: a network (put in eval mode, otherwise never changed), a `Teacher`, several of either by
            name, or None for an objective that needs none.
        objective: text in the notation, or a method; it is copied, so one object serves many distillers.
        example: a few inputs as the student takes them, on any device; used once, to find shapes.
        teacher_example: the same samples as the teacher takes them, where it takes them otherwise; a mapping
            by name where several teachers do.
        data: the training set (anything with a length, or a loader of it) or its size, for methods that keep
            something for each sample.
        task: what the network is for, a `Task` or the name of one; that of `data` if it has one, and
            classification otherwise.
        related: the most rows of a batch that methods relate to each other, where samples have several rows.
        seed: a number that decides which rows those are.
        chunk: how many rows have their logits in memory at a time, where every loss that reads logits allows
            it (`limbeck.chunked`); 0 for all. If None, as many as make 16 MiB of logits (128 on a GPU) in a
            task with a decision at each position and a vocabulary of 4,096 or more, and all elsewhere.
        student_features: module paths that override what is found, by field ("logits", "embedding", "stages",
            "stem", "preactivations").
        teacher_features: the same for a teacher that is given as a network.

    Raises:
        LimbeckError: if the objective cannot work with these networks, or not for this task.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: Given | Mapping[str, Given] | None = None,
        objective: str | Method = "ce",
        *,
        example: Inputs,
        teacher_example: Mapping[str, Inputs] | Inputs | None = None,
        data: object = None,
        task: Task | str | None = None,
        related: int = RELATED,
        seed: int = 0,
        chunk: int | None = None,
        student_features: Features | None = None,
        teacher_features: Features | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        self._untrained = UntrainedParts()
        self.objective = copy.deepcopy(parse(objective))
        self.phases_done: Tensor
        self.register_buffer("phases_done", torch.zeros((), dtype=torch.int64))
        self._done = 0
        self.register_load_state_dict_post_hook(_read_phases_done)  # type: ignore[no-untyped-call]
        self._progress: Progress | None = None
        self.related, self.seed = related, seed
        teachers = teachers_of(teacher, teacher_features)
        checks.networks(student, teachers, example)
        theirs = {part for each in teachers.values() if each.network for part in each.network.modules()}
        self._resting = resting(student, theirs)
        place = _device(student)
        example = apply(lambda tensor: tensor.to(place), example)
        self.teachers = TeacherGroup(teachers, _examples(teachers, example, teacher_example))
        self.teachers.apply(lambda tensor: tensor.to(place))

        self.reads = training_reads(self.objective)
        self._collecting = [
            method.collect
            for method in inner_first(self.objective)
            if type(method).collect is not Method.collect
        ]
        self._views_together = any(method.views_together for method in inner_first(self.objective))
        facts = DataFacts.of(data)
        checks.possible(self.objective, self.teachers, facts)
        checks.answers_suffice(self.objective, self.teachers)
        self._rule = checks.gradient_rule(self.objective)
        self._split: SplitOptimizer | None = None
        self._fields = {
            of_training: self.teachers.by_name(teachers_read(self.objective, of_training=of_training))
            for of_training in (False, True)
        }
        self._views = self.teachers.by_name(views_read(self.objective))
        given = checks.task_given(task, data)
        self._points = find(
            student,
            example,
            overrides=student_features,
            width=given.width if isinstance(given, Task) else None,
            dense=given.dense,
            training=True,
        )
        self.task = checks.task_of(given, student, example, self._points)
        checks.serves(self.objective, self.task)
        self._tap = self._student_tap(self.reads)
        self._chunked: Chunked | None = None
        self._bind(example, facts)
        self._open_teachers()
        checks.told_apart(self.objective, self.teachers)
        self._in_chunks(chunk, example)
        self.teachers.take_shown()

    @property
    def teacher(self) -> Teacher | None:
        """The teacher, or the first of several."""
        return None if self.teachers.first is None else self.teachers[self.teachers.first]

    @property
    def student_points(self) -> FeaturePoints:
        """Where the student's features are."""
        return self._points

    @cached_property
    def phases(self) -> list[tuple[str, Phase]]:
        """All phases with their full names, in the order they run; each reads the teacher of its method."""
        return [
            (f"{method.name}.{phase.name}", of_teacher(phase, given))
            for method, given in taught(self.objective)
            for phase in method.phases()
        ]

    def forward(
        self,
        inputs: Inputs | Batch,
        targets: Tensor | None = None,
        index: Tensor | None = None,
        view: Tensor | None = None,
        views: Mapping[str, Inputs] | None = None,
        weights: Tensor | None = None,
    ) -> Losses:
        """The losses of one batch.

        Args:
            inputs: what both networks are called with: a tensor or named tensors; or a whole `Batch`, alone.
            targets: what the samples should be, as the task has it; (B,) class ids, `UNLABELED` where there
                is none.
            index: (B,) positions in the training set.
            view: (B,) numbers of the views.
            views: inputs of the further views that a method reads, by name.
            weights: (B,) how much each sample counts in the terms that fit the labels, which are then
                weighted means over this batch; those that fit the teacher stay as they are.
        Raises:
            LimbeckError: if something that a method reads is missing, or phases have not been run.
        """
        if self._done < len(self.phases):
            names = ", ".join(name for name, _ in self.phases[self._done :])
            raise LimbeckError(
                f"the objective has phases to run first ({names}); call limbeck.prepare(distiller, loader)"
            )
        batch = inputs if isinstance(inputs, Batch) else Batch(inputs, targets, index, view, views or {})
        if batch is inputs and any(part is not None for part in (targets, index, view, views, weights)):
            raise LimbeckError("a Batch holds targets, index, views and weights itself; give it alone")
        if weights is not None:
            checks.weights(weights, len(batch))
            batch = replace(batch, weights=mean_one(weights))
        if batch.progress is None and self._progress is not None:
            batch = replace(batch, progress=self._progress)
        batch = self.collected(batch)
        made = Pass(
            self.reads,
            self._fields[True],
            self._views,
            self._tap,
            self._chunked or self.objective.terms,
            self._backward if self._rule else None,
            of_training=self.training,
        )
        losses = self._losses(batch, made)
        if torch.is_grad_enabled():
            self._untrained.look(self.student, self.objective, losses)
        return losses

    def collected(self, batch: Batch) -> Batch:
        """The batch as the methods exchange it, such as for text of the student.

        A loop that counts rows over processes, or over the pieces of a batch, asks for it first; `forward`
        then takes the batch as it is.

        Args:
            batch: with `progress`, where a method reads it.
        """
        if batch.collected or not self._collecting:
            return batch
        return replace(self._collected(batch, self._collecting), collected=True)

    def _collected(self, batch: Batch, collects: Sequence[Callable[[Batch, Networks], Batch]]) -> Batch:
        """The batch as the methods have exchanged it, one after the other."""
        if not collects:
            return batch
        checks.targets_given(batch.targets)
        with torch.no_grad():
            for collect in collects:
                batch = collect(batch, Networks(self.student, self.teachers))
        return batch

    def _backward(self, losses: Losses, scale: float | Tensor) -> None:
        if self._split is None:
            raise LimbeckError(
                f"the objective {str(self.objective)!r} has a rule for the optimizer; make that with "
                "distiller.optimizer(...) before losses.backward()"
            )
        self._split.backward(losses, scale)

    def _losses(self, batch: Batch, made: Pass) -> Losses:
        """The losses of a batch."""
        self._check(batch, made)
        student, teacher = self._outputs(batch, made)
        device = _device(self.student)
        if device.type == "cpu" and batch.targets is not None and {"logits", "projection"} & student.keys():
            # An accelerator's targets are not looked at: it would be waited for.
            checks.targets_in_range(batch.targets, self.task)
        with torch.autocast(device.type, enabled=False):
            student, teacher = student.map(full_precision), teacher.map(full_precision)
            given = {**sums_of_inputs(batch.inputs), **sums_of_teachers(teacher)}
            told = student if made.tap else teacher
            rows = samples_as_rows(batch) if made.own_data else self.task.rows(batch, told)
            student, teacher = in_rows(student, rows), in_rows(teacher, rows)
            if not self._chunked or not made.of_training:
                teacher = dense(teacher)
            batch = rows.batch(batch)
            if rows.sample is not None:
                batch = draw_related(batch, student, self.related, self.seed)
            losses = Losses(made.loss(student, teacher, batch), made.rule, given)
            return losses if rows.count else losses.reweighed(0.0)

    def _check(self, batch: Batch, made: Pass) -> None:
        """Refuses a batch that lacks what is read, or does not fit the task."""
        checks.batch_complete(batch, made.reads, self.objective)
        checks.targets_given(batch.targets)
        if batch.weights is not None:
            checks.can_weigh(self.objective, self.task)
        if batch.targets is not None and not made.own_data:
            self.task.check_batch(batch.targets, len(batch))

    def _outputs(self, batch: Batch, made: Pass) -> tuple[Outputs, Outputs]:
        """What student and teachers give for a batch."""
        student = Outputs()
        if made.tap:
            made.tap.network = self.student  # which may have been compiled since
            student = with_views(made.tap, batch, made.reads.further, together=self._views_together)
        with torch.no_grad():
            # Of other data, index and view say nothing to a cache.
            asked = batch if made.of_training else replace(batch, view=None, view_numbers={})
            return student, self.teachers.ask(asked, made.fields, made.views)

    def progress(self, step: int, epoch: int, fraction: float) -> None:
        """Tells the methods how far training has come: steps and epochs done, the fraction of the whole."""
        self._progress = Progress(step, epoch, fraction)

    def optimizer(self, make: MakeOptimizer) -> torch.optim.Optimizer:
        """One optimizer over everything that is trained.

        Args:
            make: a callable that is given the parameters of the student and of the methods' parts; what
                methods claim for an optimizer of their own is added behind the same `step()`.
        """
        if self._done < len(self.phases):
            raise LimbeckError(
                "call limbeck.prepare(distiller, loader) first: the objective has phases to run"
            )
        checks.trained(self.student, self.objective)
        claims = [claim for method in inner_first(self.objective) for claim in method.claims()]
        claimed = {id(parameter) for claim in claims for parameter in claim.module.parameters()}
        main = make([p for p in self.parameters() if p.requires_grad and id(p) not in claimed])
        if self._rule is not None:
            main = self._split = self._rule(main)
        return JointOptimizer([main, *map(_claimed, claims)]) if claims else main

    @contextmanager
    def phase_open(self, name: str, phase: Phase) -> Iterator[tuple[nn.Module, torch.optim.Optimizer]]:
        """A context in which a phase is ready to be trained: a module that turns a batch into its losses, and
        an optimizer over what it trains."""
        with only_learns(self, phase) as optimizer:
            yield PhaseModule(self, phase, self._losses_of(name, phase), self._rest), optimizer

    def _losses_of(self, name: str, phase: Phase) -> Callable[[Batch], Losses]:
        """What turns a batch into the losses of a phase."""
        own = phase.data is not None
        fields = self._phase_fields(phase) if phase.reads.teacher else {}

        def terms(student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
            return named(name, phase.loss(student, teacher, batch), "own")

        made = Pass(
            phase.reads,
            fields,
            dict.fromkeys(fields, phase.reads.further),
            self._student_tap(phase.reads),
            terms,
            of_training=not own,
            own_data=own,
        )

        def losses(batch: Batch) -> Losses:
            if phase.collect is not None:
                batch = self._collected(batch, [phase.collect])
            return self._losses(batch, made)

        return losses

    def phase_finished(self) -> None:
        """Says that the next phase is over, trained or recalled."""
        self._done += 1
        self.phases_done.fill_(self._done)
        self._freeze()
        self._open_teachers()

    @property
    def phases_left(self) -> list[tuple[str, Phase]]:
        """The phases that are still to be run, in order."""
        return self.phases[self._done :]

    def _open_teachers(self) -> None:
        """Has the teachers give what comes next reads; what another reads costs that one, or its cache."""
        self.teachers.open(*self.asked[self._done], _device(self.student))
        self.teachers.release()

    @property
    def asked(self) -> list[tuple[Fields, Sides]]:
        """What each phase asks of the teachers, and then the training: fields, and what stands for some."""
        training = self._fields[True], sides_read(self.objective, self.teachers.first)
        return [
            *((self._phase_fields(phase), self._phase_sides(phase)) for _, phase in self.phases),
            training,
        ]

    def _phase_sides(self, phase: Phase) -> Sides:
        return dict.fromkeys(phase.reads.teachers or (self.teachers.first or "",), phase.sides)

    def _phase_fields(self, phase: Phase) -> dict[str, tuple[str, ...]]:
        return self.teachers.by_name(dict.fromkeys(phase.reads.teachers or (None,), phase.reads.teacher))

    def _freeze(self) -> None:
        """Freezes what the phases that are done have left finished."""
        for _, phase in self.phases[: self._done]:
            for module in phase.frozen:
                module.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Distiller:
        """Sets the mode of student and methods' parts.

        What a phase has finished stays in eval mode, and so do the student's parts that were in it, while the
        student itself was not, when the student was handed over.
        """
        super().train(mode)
        self._freeze()
        self._rest()
        return self

    def _rest(self) -> None:
        rest(self.student, self._resting)

    @contextmanager
    def compiled(self) -> Iterator[None]:
        """Runs student and teachers compiled inside, phases apart; all stay as they are for others."""
        with ExitStack() as stack:
            if self._tap is not None:
                stack.enter_context(self._tap.compiled())
            stack.enter_context(self.teachers.compiled(list(self._fields[True])))
            yield

    def deploy(self) -> nn.Module:
        """The network to ship: the student, or what a method that replaces part of it hands over."""
        return self.objective.deploy(self.student)

    def _student_tap(self, reads: Reads) -> Tap | None:
        if not reads.student:
            return None
        fields = [*reads.student, *self.task.fields]
        return Tap(self.student, self._points, fields, positions=self.task.dense, role="student")

    def _in_chunks(self, rows: int | None, example: Inputs) -> None:
        """Has logits computed a chunk of rows at a time, where that is wanted and can be."""
        if rows is not None and rows < 0:
            raise LimbeckError(f"chunk is a number of rows, 0 for all at once, not {rows}")
        if rows == 0 or not self.task.dense or (rows is None and self.task.width < LARGE):
            return
        labels = in_chunks(self.objective)
        if labels is None or self._rule or self.reads.further or "logits" not in self.reads.student:
            return
        head = find_head(self.student, self._points, example)
        if head is None:
            return
        others = [field for field in (*self.reads.student, *self.task.fields) if field != "logits"]
        self._tap = Tap(self.student, self._points, others, positions=True, head=head)
        self._fields[True] = {
            name: tuple(
                "projection" if field == "logits" and self.teachers[name].projects else field
                for field in fields
            )
            for name, fields in self._fields[True].items()
        }
        self._open_teachers()
        self._chunked = Chunked(self.objective, labels, rows)

    def _bind(self, example: Inputs, facts: DataFacts) -> None:
        """Binds every method to what the networks give for the example."""
        student = shown(self.student, self._points, self.objective, self.task, example)
        self.task = self.task.fitted_to(student)
        self.teachers.told(self.task.width, self.task.dense)
        self.teachers.open(self._fields[False], {}, _device(self.student))
        answers = self.teachers.answers(self._fields[False])
        check_answers(self.objective, self.teachers, student, answers, self.task)
        bind(
            self.objective,
            student,
            answers,
            example=example,
            network=self.student,
            points=self._points,
            teachers=self.teachers,
            task=self.task,
            data=facts,
        )
        self.objective.to(_device(self.student), student.logits.dtype)

    def __getstate__(self) -> dict[str, Any]:
        """Without the phases and a rule's optimizer: they work on this one's parts; a copy has its own."""
        state = {name: value for name, value in self.__dict__.items() if name != "phases"}
        return {**state, "_split": None}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Distiller:
        self.teachers.apply(fn)  # no submodules, but they go where the student goes
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


def _examples(
    teachers: Collection[str], example: Inputs, given: Mapping[str, Inputs] | Inputs | None
) -> dict[str, Inputs]:
    """The example as each teacher reads it: one of its own, the same for all, or the student's."""
    if isinstance(given, Mapping) and given.keys() <= set(teachers):
        return {name: given.get(name, example) for name in teachers}
    return dict.fromkeys(teachers, example if given is None else cast("Inputs", given))


def _device(module: nn.Module) -> torch.device:
    tensor = next(chain(module.parameters(), module.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device


def _claimed(claim: Claim) -> torch.optim.Optimizer:
    return claim.optimizer(claim.module.parameters())


def _read_phases_done(distiller: nn.Module, keys: object) -> None:
    assert isinstance(distiller, Distiller)
    distiller._done = int(distiller.phases_done)
    distiller._freeze()
    distiller._open_teachers()
