"""Multi-Teacher Progressive Distillation. Cao et al., ICML 2023, arXiv:2308.09105.

The rule for the order of the teachers is a reconstruction from the paper's description, see `adaptation_cost`
and `chain`. The authors also start the student's neck and heads with the first teacher's; that is left out.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from limbeck.arguments import Count, NonNegative, Positive
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method, inner_first
from limbeck.methods.declarations import NOTHING, Context, LossTerms, Phase, Reads
from limbeck.methods.parts.experts import expert_names
from limbeck.methods.parts.maps import resized_alike
from limbeck.optimization import Cosine
from limbeck.outputs import Batch, Outputs

RIDGE = 1e-3
"""Share of the mean variance that is added to all variances, so that few positions tell a map."""


def adaptation_cost(source: Sequence[Tensor], target: Sequence[Tensor]) -> float:
    """How badly a linear map of one network's stages tells another's, a reconstruction of the paper's cost.

    For each pair of stages a 1x1 convolution is fitted on every second image, by ridge regression, and
    measured on the others: its squared error over that of the mean. The cost is the mean over the stages.

    Args:
        source: (B, C, H, W) stages of one network for some images, at least 2.
        target: those of the other, as many; maps of another size are compared at the size of these.
    Returns: 0 for stages that can be told exactly; about 1 for those that cannot be told at all.
    Raises:
        LimbeckError: for different numbers of stages, other shapes, and fewer than 2 images.
    """
    if len(source) != len(target) or not source:
        raise LimbeckError(f"adaptation_cost compares as many stages, not {len(source)} and {len(target)}")
    costs = []
    for ours, theirs in zip(source, target, strict=True):
        if ours.ndim != 4 or theirs.ndim != 4 or len(ours) != len(theirs) or len(ours) < 2:
            raise LimbeckError(
                "adaptation_cost compares maps (B, C, H, W) of the same images, 2 or more, not "
                f"{tuple(ours.shape)} and {tuple(theirs.shape)}"
            )
        maps = resized_alike(ours, theirs)
        (x, y), (x_new, y_new) = (
            [each[half::2].movedim(1, -1).flatten(0, -2).cpu().double() for each in (maps, theirs)]
            for half in (0, 1)
        )
        x_mean, y_mean = x.mean(0), y.mean(0)
        x = x - x_mean
        variance = x.T @ x
        ridge = RIDGE * variance.diagonal().mean() * torch.eye(len(variance), dtype=variance.dtype)
        weights = torch.linalg.lstsq(variance + ridge, x.T @ (y - y_mean), driver="gelsd").solution
        error = (y_new - y_mean - (x_new - x_mean) @ weights).square().sum()
        costs.append(float(error / (y_new - y_new.mean(0)).square().sum().clamp(min=1e-12)))
    return sum(costs) / len(costs)


def chain(costs: Mapping[tuple[str, str], float], names: Sequence[str]) -> list[str]:
    """The order of teachers, found backwards from the last one, a reconstruction of the paper's rule.

    Before a teacher comes the one of those left that adapts to it at the least cost; of equal ones the first.

    Args:
        costs: adaptation cost of a teacher (first) to another one (second).
        names: of the teachers; the last of them stays last.
    """
    *left, last = names
    found = [last]
    while left:
        nearest = min(left, key=lambda name: costs[name, found[0]])
        left.remove(nearest)
        found.insert(0, nearest)
    return found


class MTPD(Method):
    """The student learns from one teacher after the other, from near ones to the strongest.

        L = objective(s, t_1) in the first phase, ..., objective(s, t_n) in training

    Each teacher but the last is a phase before training, with a schedule and an optimizer of its own; the
    training itself is that with the last one. The student goes on with its weights; optimizer and the
    objective's own parts, such as adapters, begin anew with each teacher. With one teacher there is nothing
    to do one after the other: write the objective alone.

    Args:
        objective: what the student learns from each teacher by, such as `fcos + masked_generative`.
        teachers: their names, in this order; the last is the one of training.
        epochs: how long each phase is. Training with the last teacher is as long as the run says.
        lr: learning rate at the beginning of each phase; it falls to 0 as a cosine.
        optimizer: of the phases; SGD has a momentum of 0.9.
        weight_decay: of the phases.
        order: "given", or "cost" to order the teachers before the last one by how well the stages of each
            adapt to the next one's. It is measured on the example that the networks were looked at with, in a
            run 2 images; `limbeck.methods.mtpd.adaptation_cost` takes as many as you like.
    """

    name = "mtpd"
    recipe = 'mtpd(fcos + masked_generative, teachers=["near", "strong"])'

    def __init__(
        self,
        objective: Method,
        *,
        teachers: Sequence[str],
        epochs: Count = 12,
        lr: Positive = 0.01,
        optimizer: Literal["sgd", "adamw"] = "sgd",
        weight_decay: NonNegative = 1e-4,
        order: Literal["given", "cost"] = "given",
    ) -> None:
        super().__init__()
        self.teachers = expert_names(self.name, teachers, self.teacher_name)
        self.epochs, self.lr, self.by, self.weight_decay = epochs, lr, optimizer, weight_decay
        self.order = order
        _check(objective)
        self.last = _taught_by(objective, self.teachers[-1])
        self.earlier = nn.ModuleDict({name: _taught_by(objective, name) for name in self.teachers[:-1]})
        reads = objective.all_reads
        if order == "cost" and "stages" not in reads.teacher:
            reads = reads | Reads(student=(), teacher=("stages",))
        self.reads = replace(reads, teachers=self.teachers)

    @property
    def reads_in_training(self) -> Reads:
        """Nothing but what the objective reads of the last teacher: the others are of the phases."""
        return NOTHING

    def bind(self, context: Context) -> None:
        """Binds the objective once more for each of the other teachers, and orders these."""
        self.student = [context.student_network]  # in a list, so that it is no part of this module
        for name in self.earlier:
            for part in inner_first(self._of(name)):
                part.bind(context.of_teacher(name))
        self.sequence = [*self.teachers]
        if self.order == "cost":
            stages = {name: _stages(context.teachers[name].teacher) for name in self.teachers}
            pairs = [(a, b) for a in self.teachers[:-1] for b in self.teachers if a != b]
            costs = {(a, b): adaptation_cost(stages[a], stages[b]) for a, b in pairs}
            self.sequence = chain(costs, self.teachers)

    def phases(self) -> Sequence[Phase]:
        """One for each teacher but the last."""
        make = (
            partial(torch.optim.SGD, lr=self.lr, momentum=0.9, weight_decay=self.weight_decay)
            if self.by == "sgd"
            else partial(torch.optim.AdamW, lr=self.lr, weight_decay=self.weight_decay)
        )
        return [
            Phase(
                name=name.lower(),
                trains=[*self.student, self.earlier[name]],
                loss=partial(self._loss, name),
                reads=replace(self.reads, teachers=(name,)),
                epochs=self.epochs,
                optimizer=make,
                schedule=Cosine(),
                freezes=[self.earlier[name]],
            )
            for name in self.sequence[:-1]
        ]

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The terms of the objective, with the last teacher."""
        return self.last.terms(student, teacher, batch)

    def _of(self, name: str) -> Method:
        method = self.earlier[name]
        assert isinstance(method, Method)
        return method

    def _loss(self, name: str, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        return self._of(name).terms(student, teacher, batch)


def _stages(outputs: Outputs | None) -> Sequence[Tensor]:
    assert outputs is not None
    return outputs.stages


def _taught_by(objective: Method, name: str) -> Method:
    """A copy of an objective whose methods learn from one of several teachers."""
    made = copy.deepcopy(objective)
    for method in inner_first(made):
        if method.reads.teacher:
            method.teacher_name = name
    return made


def _check(objective: Method) -> None:
    """Refuses methods that cannot begin anew with another teacher."""
    taught = False
    for method in inner_first(objective):
        kind = type(method)
        if method.teacher_name is not None or method.reads.teachers:
            raise LimbeckError(
                f"mtpd says itself which teacher is asked, so leave out the one of {method.name} inside it"
            )
        own = kind.phases, kind.claims, kind.collect, kind.deploy, kind.gradient_rule
        plain = Method.phases, Method.claims, Method.collect, Method.deploy, Method.gradient_rule
        if own != plain:
            raise LimbeckError(
                f"{method.name} has a training, an optimizer or a batch of its own, and mtpd begins anew "
                "with each teacher; take methods that are a loss alone, such as kd, giou or masked_generative"
            )
        taught |= bool(method.reads.teacher)
    if not taught:
        raise LimbeckError(
            f"mtpd goes from teacher to teacher, and {objective} learns from none; add a method that does, "
            "such as masked_generative"
        )
