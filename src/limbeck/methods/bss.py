"""Knowledge Distillation with Adversarial Samples Supporting Decision Boundary.
Heo, Lee, Yun & Choi, AAAI 2019, arXiv:1805.05532.

Attack, selection, draw and constants are those of the authors' code, bhheo/BSS_distillation; the class says
where it departs from that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from limbeck.arguments import Count, NonNegative, Positive, Share
from limbeck.errors import LimbeckError
from limbeck.features import Tap, call, logits_of, undisturbed, undone
from limbeck.hashing import mix
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, LossTerms, Networks, Reads
from limbeck.methods.kd import kd
from limbeck.methods.parts.blocks import full_precision, gather, unit
from limbeck.methods.parts.companions import check_no_schedule
from limbeck.methods.parts.shapes import same_logits, same_samples
from limbeck.methods.terms import Term
from limbeck.outputs import Batch, Outputs, Progress

if TYPE_CHECKING:  # the equations are imported without it
    from limbeck.teachers import Teacher

PIXELS = (0.0, 1.0)
"""The range of the pixels of images."""


def bss(
    student_logits: Tensor, teacher_logits: Tensor, counted: Tensor | None = None, temperature: float = 3.0
) -> Tensor:
    """Divergence at boundary samples, the mean of KL(p_t || p_s) over those that count.

    As in the authors' code there is no factor T^2, and the mean is over the samples that were chosen, so it
    depends on how a batch is split; it is zero where none was.

    Args:
        student_logits: (B, C), C at least 2.
        teacher_logits: (B, C).
        counted: (B,) bool, the rows that count; None for all.
        temperature: T > 0, divides both logits.
    Raises:
        LimbeckError: if the shapes differ or are no rows of at least 2 classes.
    """
    same_logits("bss", student_logits, teacher_logits)
    divergence = kd(student_logits, teacher_logits, temperature, reduction="none") / temperature**2
    if counted is None:
        return divergence.mean()
    same_samples("bss", divergence, counted)
    return divergence.where(counted, 0).sum() / counted.sum().clamp(min=1)


def boundary_samples(
    answer: Callable[[Tensor], Tensor],
    inputs: Tensor,
    base: Tensor,
    target: Tensor,
    step: float = 0.3,
    overshoot: float = 1e-4,
    steps: int = 10,
    scale: Tensor | float = 1.0,
    limits: Sequence[float] = (),
) -> tuple[Tensor, Tensor]:
    """Moves samples across a network's boundary between the class that they are in and another.

        u <- u - step (g + overshoot) dg/du / ||dg/du||,   g = z_base - z_target,   u = x / scale

    A sample moves as long as its base class has the largest logit, and at most `steps` times.

    Args:
        answer: a function from (B, ...) samples to their (B, C) logits that can be differentiated.
        inputs: (B, ...) samples, floats.
        base: (B,) int64 the class of each, as the network sees it.
        target: (B,) int64 the class to reach.
        step: factor of a step.
        overshoot: added to the difference of the logits, so that a sample passes the boundary.
        steps: the most steps.
        scale: of the coordinates that steps are taken in, broadcast with the inputs: of a network that
            divides its inputs by a standard deviation, that deviation.
        limits: least and greatest value that a step may lead to; empty for any.
    Returns: (B, ...) where the samples end, and (B,) bool whether that is in the target class.
    Raises:
        LimbeckError: for logits that do not depend on the inputs by a gradient.
    """
    samples = inputs.detach()
    for _ in range(steps):
        with torch.enable_grad():
            moving = samples.clone().requires_grad_()
            logits = full_precision(answer(moving))
            gap = (logits.gather(1, base[:, None]) - logits.gather(1, target[:, None])).squeeze(1)
            if not gap.requires_grad:
                raise LimbeckError(
                    "bss moves samples along the gradient of the teacher's logits, and this teacher's have "
                    "none, like those of a quantized network; give the network that it was made of"
                )
            (slope,) = torch.autograd.grad(gap.sum(), moving)
        staying = logits.detach().argmax(1) == base
        if not bool(staying.any()):
            break
        size = (step * (gap.detach() + overshoot)).where(staying, 0).to(slope)
        direction = scale * unit((scale * slope).flatten(1)).view_as(slope)
        moved = samples - size.view(-1, *[1] * (slope.ndim - 1)) * direction
        if limits:  # what is beyond them already may stay, and go no further
            moved = moved.clamp(inputs.clamp(max=limits[0]), inputs.clamp(min=limits[1]))
        samples = moved
    return samples, full_precision(answer(samples)).argmax(1) == target


class BSS(Method):
    """The student also learns where the teacher's decision boundaries run, from samples moved across them.

    Of the samples that both networks classify rightly, those `most` on which their probabilities of the other
    classes differ most are moved, by gradient steps on the teacher, towards another class, drawn by the
    teacher's probabilities, until they leave their own. There the student follows the teacher, with a weight
    that falls to zero in a line. The terms are "boundary" and, to look at, "share": how much of the batch
    counted. The batch is that of all processes.

    The student's batch norms see the moved samples in a forward of their own, as in the authors' code, though
    together with those that were not moved (there the moved ones alone). A moved sample that is not in its
    target class in the end counts for nothing (there it counts: `keep_failed=True`). Steps are taken in the
    coordinates that the teacher's normalization makes, as there, and images stay within `limits` (there
    within 2.5 standard deviations). The weight falls by the step (there by the epoch). Their weight of KD
    falls as well, from 4 to 1; the recipe has its mean, 2.5, over the T^2 = 9 that `kd` multiplies by.

    Args:
        temperature: divides both logits before the softmax; there is no factor T^2.
        step: factor of a step.
        overshoot: added to the difference of two logits that a step is to make up for.
        steps: the most steps of a sample.
        limits: least and greatest pixel of a moved image; [] for none, as for all other inputs.
        right: which of the networks must classify a sample rightly, "both" or "teacher".
        most: samples of a batch that are moved; more where they tie.
        target: the class to reach, "drawn" by the teacher's probabilities of the other classes, or "second",
            the most probable of them.
        keep_failed: whether samples count that have not reached that class after the last step.
        until: share of the training after which the weight is zero; 0 for a constant weight, which also frees
            it from knowing the progress.
    """

    reads = Reads(
        student=("logits",), teacher=("logits",), batch=("targets", "progress"), makes=("boundary",)
    )
    recipe = "ce + 0.28*kd(temperature=3) + 2*bss"
    rows = "classes"
    one_row_per_sample = True

    draws: Tensor
    scale: Tensor

    def __init__(
        self,
        temperature: Positive = 3.0,
        *,
        step: Positive = 0.3,
        overshoot: NonNegative = 1e-4,
        steps: Count = 10,
        limits: Sequence[float] = PIXELS,
        right: Literal["both", "teacher"] = "both",
        most: Count = 64,
        target: Literal["drawn", "second"] = "drawn",
        keep_failed: bool = False,
        until: Share = 0.75,
    ) -> None:
        super().__init__()
        self.temperature, self.until = temperature, until
        self.step, self.overshoot, self.steps, self.limits = step, overshoot, steps, limits
        self.right, self.most, self.target, self.keep_failed = right, most, target, keep_failed
        self.view = "boundary" if self.teacher_name is None else f"boundary_{self.teacher_name}"
        known = ("targets", "progress") if until else ("targets",)
        self.reads = replace(self.reads, batch=known, makes=(self.view,))
        if limits and not (len(limits) == 2 and limits[0] < limits[1]):
            raise LimbeckError(
                f"bss: limits are the least and the greatest pixel, or none at all, not {list(limits)}"
            )

    def bind(self, context: Context) -> None:
        """Notes which teacher it learns from, the scale of that one's inputs, and a seed for the draws.

        Raises:
            LimbeckError: for a teacher without a network, and for inputs that cannot be moved.
        """
        from limbeck.models import normalization_of

        network, example = context.teacher_network, context.example
        check_no_schedule("bss moves samples across the boundary of one teacher", context)
        if network is None:
            raise LimbeckError(
                "bss moves samples along the gradient of the teacher's network, and this teacher has none; "
                "give it a network"
            )
        if not (isinstance(example, Tensor) and example.is_floating_point()):
            kind = str(example.dtype) if isinstance(example, Tensor) else ", ".join(example)
            raise LimbeckError(
                "bss moves samples along a gradient, so its inputs must be one tensor of floats, such as "
                f"images, not {kind}; use a method without further views, such as kd"
            )
        assert context.teacher_name is not None
        self._teacher = context.teacher_name
        self._student_points = context.student_points
        normalization = normalization_of(network)
        scale = example.new_tensor([1.0] if normalization is None else normalization.std)
        self.register_buffer("scale", scale.view(-1, *[1] * (example.ndim - 2)), persistent=False)
        self.register_buffer("draws", torch.randint(2**62, ()))  # a seed that follows the run's

    def collect(self, batch: Batch, networks: Networks) -> Batch:
        """The batch with the boundary samples as a further view.

        A sample that is not chosen, or fails, is in it as it is, and that is how `forward` knows it.
        """
        return replace(batch, views={**batch.views, self.view: self._moved(batch, networks)})

    def _moved(self, batch: Batch, networks: Networks) -> Tensor:
        inputs, teacher = batch.inputs, networks.teachers[self._teacher]
        assert isinstance(inputs, Tensor)
        if batch.targets is None or not self._left(batch.progress):
            return inputs
        network = teacher.network
        assert network is not None
        with undone(networks.student, inputs):  # in its own mode, and without a trace
            ours = Tap(networks.student, self._student_points, ())(inputs).logits
        theirs = full_precision(teacher(batch).logits)
        chosen = self._chosen(full_precision(ours), theirs, batch.targets).nonzero().flatten()
        if not len(chosen):
            return inputs
        base = batch.targets[chosen]
        numbers = torch.arange(len(batch), device=base.device) if batch.index is None else batch.index
        target = self._targets(theirs[chosen], base, numbers[chosen], batch.progress)
        given = full_precision(inputs[chosen])
        with undisturbed(network, given), torch.autocast(given.device.type, enabled=False):
            moved, reached = boundary_samples(
                lambda samples: _logits(teacher, samples),
                given,
                base,
                target,
                self.step,
                self.overshoot,
                self.steps,
                self.scale.to(given),
                self.limits if inputs.ndim == 4 else (),
            )
        if not self.keep_failed:
            moved = moved.where(reached.view(-1, *[1] * (moved.ndim - 1)), given)
        return inputs.index_copy(0, chosen, moved.to(inputs))

    def _chosen(self, ours: Tensor, theirs: Tensor, targets: Tensor) -> Tensor:
        """(B,) bool, the samples to move; none without a label, which no class is equal to."""
        right = theirs.argmax(1) == targets
        if self.right == "both":
            right &= ours.argmax(1) == targets
        apart = (theirs.softmax(1) - ours.softmax(1)).square()
        others = apart.scatter(1, targets.where(right, 0)[:, None], 0).sum(1).where(right, -1)
        everyone = gather(others)
        least = everyone.topk(min(self.most, len(everyone))).values[-1]
        return right & (others >= least)

    def _targets(self, logits: Tensor, base: Tensor, numbers: Tensor, progress: Progress | None) -> Tensor:
        """(B,) a class other than the base: a draw, as the argmax of logits with Gumbel noise, or the second.

        The draw is a function of (seed, step, position in the training set), and of the position in the batch
        where that is not known.
        """
        others = logits.scatter(1, base[:, None], -torch.inf)
        if self.target == "drawn":
            step, classes = 0 if progress is None else progress.step, torch.arange(logits.shape[1])
            words = mix(self.draws, step, numbers[:, None], classes.to(base.device))
            uniform = ((words & 2**24 - 1) + 0.5) / 2**24
            others = others - (-uniform.log()).log()
        return others.argmax(1)

    def _left(self, progress: Progress | None) -> float:
        """Share of its weight that the method still has."""
        if not self.until or progress is None:
            return 1.0
        return max(0.0, 1 - progress.fraction / self.until)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The term, and the share of the batch that counted."""
        view = batch.views[self.view]
        assert isinstance(view, Tensor)
        assert isinstance(batch.inputs, Tensor)
        counted = gather((view != batch.inputs).flatten(1).any(1).to(student.logits)) > 0
        ours, theirs = (gather(outputs.views[self.view].logits) for outputs in (student, teacher))
        return {
            "boundary": Term(bss(ours, theirs, counted, self.temperature), weight=self._left(batch.progress)),
            "share": Term(counted.to(ours).mean(), "monitor"),
        }


def _logits(teacher: Teacher, samples: Tensor) -> Tensor:
    """What a teacher's network answers, with a graph."""
    network = teacher.network
    assert network is not None
    if teacher.points is None:  # of an ensemble
        return logits_of(call(network, samples))
    return Tap(network, teacher.points, ())(samples).logits
