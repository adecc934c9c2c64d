"""Distiller: student, teacher and objective as one nn.Module that turns a batch into losses."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from limbeck import checks, phase_cache
from limbeck.data import Loader, Source, Split
from limbeck.errors import LimbeckError
from limbeck.features import Tap, find, undisturbed
from limbeck.methods import Claim, Context, DataFacts, Losses, Method, Phase, Reads, Term
from limbeck.methods.base import inner_first, named, training_reads
from limbeck.methods.gradient_rules import SplitOptimizer
from limbeck.methods.parts.blocks import full_precision
from limbeck.objective import parse
from limbeck.optimization import JointOptimizer, MakeOptimizer
from limbeck.outputs import Batch, Inputs, Outputs, Progress, apply
from limbeck.teachers import LiveTeacher, Teacher
from limbeck.training import Stage, Trainer

Features = Mapping[str, "str | Sequence[str]"]


class Distiller(nn.Module):
    """Student, teacher and objective as one module; its parameters are all that training may change.

        distiller = Distiller(student, teacher, "0.1*ce + 0.9*kd(temperature=4)", example=x)
        optimizer = distiller.optimizer(partial(torch.optim.SGD, lr=0.05, momentum=0.9))
        for x, y in loader:
            losses = distiller(x, y)
            losses.backward(); optimizer.step(); optimizer.zero_grad()

    Args:
        student: the network to train; stays the caller's own object, as `distiller.student`.
        teacher: a network (put in eval mode, otherwise never changed), a `Teacher`, or None for an objective
            that needs none.
        objective: text in the notation, or a method; it is copied, so one object serves many distillers.
        example: a few inputs as the networks take them, on any device; used once, to find shapes.
        data: the training set (anything with a length, or a loader of it) or its size, for methods that keep
            something for each sample.
        student_features, teacher_features: module paths that override what is found, by field ("embedding",
            "stages", "stem", "preactivations").

    Raises:
        LimbeckError: if the objective cannot work with these networks.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | Teacher | None = None,
        objective: str | Method = "ce",
        *,
        example: Inputs,
        data: object = None,
        student_features: Features | None = None,
        teacher_features: Features | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        self.objective = copy.deepcopy(parse(objective))
        self.phases_done: Tensor
        self.register_buffer("phases_done", torch.zeros((), dtype=torch.int64))
        self._done = 0
        self.register_load_state_dict_post_hook(_read_phases_done)  # type: ignore[no-untyped-call]
        self._progress: Progress | None = None
        checks.networks(student, teacher, example)
        if isinstance(teacher, nn.Module):
            teacher = LiveTeacher(teacher, teacher_features)
        elif teacher_features:
            raise LimbeckError("teacher_features are for a teacher that is given as a network")
        self.teacher = teacher

        self.reads = training_reads(self.objective)
        facts = data_facts(data)
        checks.possible(self.objective, teacher, facts)
        self._rule = checks.gradient_rule(self.objective)
        self._split: SplitOptimizer | None = None
        example = apply(lambda tensor: tensor.to(_device(student)), example)
        if teacher is not None:
            teacher.apply(lambda tensor: tensor.to(_device(student)))
        self._points = find(student, example, overrides=student_features)
        self._tap = self._student_tap(self.reads)
        student_outputs, teacher_outputs = self._example_outputs(example)
        checks.same_classes(student_outputs, teacher_outputs)
        context = Context(
            student=student_outputs,
            teacher=teacher_outputs,
            example=example,
            student_network=student,
            student_points=self._points,
            teacher_network=teacher.network if teacher else None,
            teacher_points=teacher.points if teacher else None,
            cached=teacher.keeps if teacher else (),
            data=facts,
        )
        for method in inner_first(self.objective):
            method.bind(context)
        self.objective.to(_device(student), student_outputs.logits.dtype)
        self._example, self._opened = example, self.objective.all_reads.teacher
        self._open_teacher()

    @cached_property
    def phases(self) -> list[tuple[str, Phase]]:
        """All phases with their full names, in the order they run."""
        return [
            (f"{m.name}.{phase.name}", phase) for m in inner_first(self.objective) for phase in m.phases()
        ]

    def forward(
        self,
        inputs: Inputs | Batch,
        targets: Tensor | None = None,
        index: Tensor | None = None,
        view: Tensor | None = None,
        views: Mapping[str, Inputs] | None = None,
    ) -> Losses:
        """The losses of one batch.

        Args:
            inputs: what both networks are called with: a tensor or named tensors; or a whole `Batch`, alone.
            targets: (B,) class ids, `UNLABELED` where there is none.
            index: (B,) positions in the training set.
            view: (B,) numbers of the views.
            views: inputs of the further views that a method reads, by name.
        Raises:
            LimbeckError: if something that a method reads is missing, or phases have not been run.
        """
        if self._done < len(self.phases):
            names = ", ".join(name for name, _ in self.phases[self._done :])
            raise LimbeckError(
                f"the objective has phases to run first ({names}); call distiller.prepare(loader)"
            )
        batch = inputs if isinstance(inputs, Batch) else Batch(inputs, targets, index, view, views or {})
        if batch is inputs and any(part is not None for part in (targets, index, view, views)):
            raise LimbeckError("a Batch holds targets, index and views itself; give it alone")
        if batch.progress is None and self._progress is not None:
            batch = replace(batch, progress=self._progress)
        rule = self._backward if self._rule else None
        return self._losses(
            batch, self.reads, self._tap, self.objective.terms, rule, of_training=self.training
        )

    def _backward(self, losses: Losses, scale: float) -> None:
        if self._split is None:
            raise LimbeckError(
                f"the objective {str(self.objective)!r} has a rule for the optimizer; make that with "
                "distiller.optimizer(...) before losses.backward()"
            )
        self._split.backward(losses, scale)

    def _losses(
        self,
        batch: Batch,
        reads: Reads,
        tap: Tap | None,
        loss: Callable[[Outputs, Outputs, Batch], Any],
        rule: Callable[[Losses, float], None] | None = None,
        *,
        of_training: bool,
    ) -> Losses:
        checks.batch_complete(batch, reads, self.objective)
        if tap:
            tap.network = self.student  # which may have been compiled since
        student = _with_views(tap, batch, reads) if tap else Outputs()
        with torch.no_grad():
            # Of other data, index and view say nothing to a cache.
            asked = batch if of_training else replace(batch, view=None, view_numbers={})
            teacher = self._ask(asked, reads) if reads.teacher else Outputs()
        device = _device(self.student)
        if device.type == "cpu" and batch.targets is not None and "logits" in student:
            # An accelerator's targets are not looked at: it would be waited for.
            checks.targets_in_range(batch.targets, student.logits.shape[-1])
        with torch.autocast(device.type, enabled=False):
            return Losses(loss(student.map(full_precision), teacher.map(full_precision), batch), rule)

    def _ask(self, batch: Batch, reads: Reads) -> Outputs:
        assert self.teacher is not None
        outputs = self.teacher(batch)
        if not reads.views:
            return outputs
        further = {
            name: replace(batch, inputs=batch.views[name], view=batch.view_numbers.get(name))
            for name in reads.views
        }
        return outputs.replace(views={name: self.teacher(seen) for name, seen in further.items()})

    def progress(self, step: int, epoch: int, fraction: float) -> None:
        """Tells the methods how far training has come: steps and epochs done, the fraction of the whole."""
        self._progress = Progress(step, epoch, fraction)

    def optimizer(self, make: MakeOptimizer) -> torch.optim.Optimizer:
        """One optimizer over everything that is trained.

        Args:
            make: called with the parameters of the student and of the methods' parts; what methods claim for
                an optimizer of their own is added behind the same `step()`.
        """
        if self._done < len(self.phases):
            raise LimbeckError("call distiller.prepare(loader) first: the objective has phases to run")
        claims = [claim for method in inner_first(self.objective) for claim in method.claims()]
        claimed = {id(parameter) for claim in claims for parameter in claim.module.parameters()}
        main = make([p for p in self.parameters() if p.requires_grad and id(p) not in claimed])
        if self._rule is not None:
            main = self._split = self._rule(main)
        return JointOptimizer([main, *map(_claimed, claims)]) if claims else main

    def prepare(self, loader: Iterable[object], **settings: Any) -> None:
        """Runs the phases that the methods declare, for a loop of your own; does nothing if there are none.

        Args:
            loader: batches of the training set, with a length: (inputs, targets), mappings, or `Batch`es.
            settings: of the `Trainer` that runs them.
        """
        stages = self.phase_stages(lambda phase: lambda epoch: at_epoch(loader, epoch))
        if stages:
            Trainer(**settings).fit(self, stages)

    def phase_stages(self, batches: Callable[[Phase], Callable[[int], Iterable[object]]]) -> list[Stage]:
        """What `Trainer.fit` runs for the phases that are still to be run, in order.

        Args:
            batches: gives a phase its batches of the training set, by epoch.
        """
        return [
            Stage(
                name=name,
                open=partial(self._open, name, phase),
                batches=phase.data or batches(phase),
                epochs=phase.epochs,
                schedule=phase.schedule,
                recall=partial(phase_cache.recall, phase),
                trained=partial(_phase_trained, phase),
                finish=self._finish_phase,
                seed=phase.seed,
            )
            for name, phase in self.phases[self._done :]
        ]

    @contextmanager
    def _open(self, name: str, phase: Phase) -> Iterator[tuple[nn.Module, torch.optim.Optimizer]]:
        flags = [(parameter, parameter.requires_grad) for parameter in self.parameters()]
        modes = [(module, module.training) for module in self.modules()]
        learning = {id(parameter) for module in phase.trains for parameter in module.parameters()}
        for parameter, flag in flags:
            parameter.requires_grad_(flag and id(parameter) in learning)
        try:
            yield (
                _PhaseModule(self, name, phase),
                phase.optimizer([parameter for parameter, _ in flags if parameter.requires_grad]),
            )
        finally:
            for parameter, flag in flags:
                parameter.requires_grad_(flag)
            for module, mode in modes:
                module.training = mode

    def _finish_phase(self) -> None:
        self._done += 1
        self.phases_done.fill_(self._done)
        self._freeze()
        self._open_teacher()

    def _open_teacher(self) -> None:
        """Has the teacher give what the next stage reads; what another reads costs that one, or its cache."""
        if self.teacher is None:
            return
        stages = [*(phase.reads for _, phase in self.phases), self.reads]
        needed = stages[self._done].teacher
        if needed and needed != self._opened:
            device = _device(self.student)
            self.teacher.open(apply(lambda tensor: tensor.to(device), self._example), needed)
            self._opened = needed
        self.teacher.release()

    def _freeze(self) -> None:
        """Freezes what the phases that are done have left finished."""
        for _, phase in self.phases[: self._done]:
            for module in phase.trains if phase.freezes else ():
                module.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Distiller:
        """Sets the mode of student and methods' parts; what a phase has finished stays in eval mode."""
        super().train(mode)
        self._freeze()
        return self

    @contextmanager
    def compiled(self) -> Iterator[None]:
        """Runs student and teacher compiled inside, phases apart; both stay as they are for all others."""
        with ExitStack() as stack:
            for part in (self._tap, self.teacher if self.reads.teacher else None):
                if part is not None:
                    stack.enter_context(part.compiled())
            yield

    def deploy(self) -> nn.Module:
        """The network to ship: the student, or what a method that replaces part of it hands over."""
        return self.objective.deploy(self.student)

    def _student_tap(self, reads: Reads) -> Tap | None:
        return Tap(self.student, self._points, reads.student) if reads.student else None

    def _example_outputs(self, example: Inputs) -> tuple[Outputs, Outputs | None]:
        """What both networks give for the example: the student in eval mode and left as it was."""
        reads = self.objective.all_reads
        with undisturbed(self.student, example), torch.no_grad():
            student = Tap(self.student, self._points, reads.student)(example)
        if self.teacher is None:
            return student, None
        self.teacher.open(example, reads.teacher)
        return student, self.teacher(Batch(example))

    def __getstate__(self) -> dict[str, Any]:
        """Without the phases and a rule's optimizer: they work on this one's parts; a copy has its own."""
        state = {name: value for name, value in self.__dict__.items() if name != "phases"}
        return {**state, "_split": None}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Distiller:
        if self.teacher is not None:  # it is no submodule, but goes where the student goes
            self.teacher.apply(fn)
        self._example = apply(fn, self._example)  # by which a phase's teacher is opened
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


class _PhaseModule(nn.Module):
    """One phase as a module that turns a batch into losses; only the phase's modules are in training mode."""

    def __init__(self, distiller: Distiller, name: str, phase: Phase) -> None:
        super().__init__()
        self.distiller, self.name, self.phase = distiller, name, phase
        self._tap = distiller._student_tap(phase.reads)

    def forward(self, batch: Batch) -> Losses:
        return self.distiller._losses(
            batch, self.phase.reads, self._tap, self._terms, of_training=self.phase.data is None
        )

    def _terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        return named(self.name, self.phase.loss(student, teacher, batch), "own")

    def train(self, mode: bool = True) -> _PhaseModule:
        self.distiller.eval()
        for module in self.phase.trains:
            module.train(mode)
        return self


def _phase_trained(phase: Phase, setting: str, line: Mapping[str, Any]) -> None:
    if phase.finish is not None:
        with torch.no_grad():
            phase.finish()
    phase_cache.store(phase, setting, line)


def data_facts(data: object) -> DataFacts:
    """What a method may know of the training set, from the set, a loader of it, or its size."""
    if isinstance(data, (DataLoader, Loader)):  # whose own length is in batches
        data = data.dataset if isinstance(data, DataLoader) else data.split
    if isinstance(data, Source):
        counts = data.task.counts(data.train.targets)
        return DataFacts(data.train.positions, data.fingerprint(), counts, data.train.targets_by_position)
    if isinstance(data, Split):
        return DataFacts(data.positions, targets=data.targets_by_position)
    if data is None or isinstance(data, DataFacts):
        return data or DataFacts()
    if isinstance(data, Sized) and not isinstance(data, (str, Mapping)):
        data = len(data)
    if type(data) is not int or data < 1:
        what = repr(data) if isinstance(data, (int, str)) else type(data).__name__
        raise LimbeckError(f"data must be the training set or its size, not {what}")
    return DataFacts(data)


def at_epoch(loader: Iterable[object], epoch: int) -> Iterable[object]:
    """The loader, told the epoch if it, or its sampler, wants to know."""
    for shuffled in (loader, getattr(loader, "sampler", loader)):
        if hasattr(shuffled, "set_epoch"):
            shuffled.set_epoch(epoch)
    return loader


def _with_views(network: Callable[[Inputs], Outputs], batch: Batch, reads: Reads) -> Outputs:
    outputs = network(batch.inputs)
    if not reads.views:
        return outputs
    return outputs.replace(views={name: network(batch.views[name]) for name in reads.views})


def _device(module: nn.Module) -> torch.device:
    tensor = next(chain(module.parameters(), module.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device


def _claimed(claim: Claim) -> torch.optim.Optimizer:
    return claim.optimizer(claim.module.parameters())


def _read_phases_done(distiller: nn.Module, keys: object) -> None:
    assert isinstance(distiller, Distiller)
    distiller._done = int(distiller.phases_done)
    distiller._freeze()
    distiller._open_teacher()
