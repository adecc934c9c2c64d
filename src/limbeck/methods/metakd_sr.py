"""MetaKD for super-resolution. Zhu, Chen & Liu, 2022, arXiv:2207.08356. A reconstruction: no code is known.

Built from the abstract of "Learning Knowledge Representation with Meta Knowledge Distillation for Single
Image Super-Resolution". It states that networks (KRNets) turn features into what is compared, from those of
the student and their correlation with the teacher's; that they give dynamic kernels by which textures are
taken out of both; and that they are trained by meta-learning, so that what they make the student imitate
helps its reconstruction. The form of the KRNets and of the correlation, all constants, the data of the meta
step and its optimizer were chosen here, and its gradient in closed form was derived here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.arguments import Count, Limits, NonNegative, Positive
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Claim, Context, LossTerms, Reads
from limbeck.methods.parts.blocks import averaged, full_precision, unit
from limbeck.methods.parts.maps import resized_alike
from limbeck.methods.parts.shapes import stage_like
from limbeck.methods.parts.sides import stage_side
from limbeck.methods.parts.stages import Pairs, described, stage_pairs
from limbeck.methods.parts.values import difference, distance
from limbeck.methods.terms import Term
from limbeck.outputs import Batch, Outputs, apply

if TYPE_CHECKING:
    from limbeck.methods.parts.virtual import Virtual

_EPSILON = 1e-4


def metakd_sr(student: Tensor, teacher: Tensor, kernels: Tensor) -> Tensor:
    """Mean absolute difference of two maps, each filtered by the same kernels.

        mean | k * (F_s) - k * (F_t) |,   both F with mean 0 and standard deviation 1 in each channel

    Args:
        student: (B, C, H, W), aligned to the teacher's channels and size.
        teacher: the same shape.
        kernels: (B, K, n * n, H, W) K kernels of n x n for each position, n odd, which all channels share.
    Raises:
        LimbeckError: for other shapes.
    """
    stage_like("metakd_sr", (4,), student=student, teacher=teacher)
    count = kernels.shape[2] if kernels.ndim == 5 else 0
    side = round(count**0.5)
    around = (len(kernels), *kernels.shape[3:])
    fitting = student.shape == teacher.shape and around == (len(student), *student.shape[2:])
    if not fitting or side * side != count or side % 2 == 0:
        raise LimbeckError(
            "metakd_sr compares maps (B, C, H, W) of one shape by kernels (B, K, n * n, H, W), n odd, not "
            f"{tuple(student.shape)} and {tuple(teacher.shape)} by {tuple(kernels.shape)}"
        )
    # Filters are linear: the difference of what comes out is what comes out of the difference.
    left = _standardized(student) - _standardized(teacher)
    shape = (len(left), left.shape[1], count, *left.shape[2:])
    windows = F.unfold(left, side, padding=side // 2).view(shape)
    return torch.einsum("bcnhw,bknhw->bkchw", windows, full_precision(kernels)).abs().mean()


def _standardized(maps: Tensor) -> Tensor:
    return F.instance_norm(full_precision(maps), eps=_EPSILON)


class KRNet(nn.Module):
    """Gives kernels for each position, from a student's features and their correlation with the teacher's.

    Args:
        channels: C of the maps.
        kernels: K.
        side: n, pixels of a kernel along a side.
        hidden: channels between its two convolutions.
    """

    def __init__(self, channels: int, kernels: int, side: int, hidden: int) -> None:
        super().__init__()
        self.kernels, self.side = kernels, side
        self.layers = nn.Sequential(
            nn.Conv2d(channels + 1, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, kernels * side * side, 3, padding=1),
        )

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Maps (B, C, H, W) to kernels (B, K, n * n, H, W), each with the sum 1."""
        ours, theirs = _standardized(student), _standardized(teacher)
        alike = (unit(ours) * unit(theirs)).sum(1, keepdim=True)
        scores = self.layers(torch.cat((ours, alike), 1))
        return scores.unflatten(1, (self.kernels, self.side * self.side)).softmax(2)  # type: ignore[no-any-return]


class MetaKDSR(Method):
    """Stages of both networks match after they are filtered by learned kernels.

    Each pair of stages has a KRNet, and a 1x1 convolution that brings the student's channels to the
    teacher's and learns with the student. The term "features" trains both of these, with kernels that are
    fixed. In every `every`-th step the KRNets learn: part of the batch is held out, one step of SGD is taken
    for a virtual student on the rest, by the mean absolute error to the targets and `strength` times the
    features' term, and the error of that student on the part held out, the term "meta", is what the KRNets
    descend on. Of several processes, or pieces of a batch, each holds out a part of its own.

        w' = w - step d/dw (|S_w(x) - y| + strength L(w; k)),   k descends on |S_w'(x') - y'|

    The gradient is exact: -step strength d/dk <g, dL/dw>, with g the gradient of the error at w'.

    Args:
        pairs: which stages are compared, [student's, teacher's] each; all in order unless given.
        kernels: number of kernels at each position.
        side: pixels of a kernel along a side, odd.
        hidden: channels inside a KRNet.
        strength: weight of the features' term in the virtual step; what the real one has is the objective's.
        step: size of the virtual step. The gradient of the KRNets is proportional to it.
        every: steps from one meta step to the next.
        lr: learning rate of the KRNets, whose optimizer is Adam.
        exam: share of a batch that is held out in a meta step, at least one sample, and at most all but one.
    """

    name = "metakd_sr"
    reads = Reads(student=("logits", "stages"), teacher=("stages",), batch=("targets", "progress"))
    recipe = "mae + 0.1*metakd_sr"
    rows = "values"
    tasks = ("restoration",)
    min_samples = 2

    def __init__(
        self,
        pairs: Pairs | None = None,
        *,
        kernels: Count = 3,
        side: Count = 3,
        hidden: Count = 16,
        strength: NonNegative = 0.1,
        step: Positive = 0.01,
        every: Count = 10,
        lr: Positive = 1e-4,
        exam: Annotated[float, Limits(gt=0, lt=1)] = 0.5,
    ) -> None:
        super().__init__()
        if side % 2 == 0:
            raise LimbeckError(f"metakd_sr: the side of a kernel should be odd, not {side}")
        self.pairs, self.kernels, self.side, self.hidden = pairs, kernels, side, hidden
        self.strength, self.step, self.every, self.lr, self.exam = strength, step, every, lr, exam

    def bind(self, context: Context) -> None:
        """Builds the KRNets and the convolutions.

        Raises:
            LimbeckError: for stages that are no maps, and other numbers of stages without `pairs`.
        """
        assert context.teacher is not None
        self.chosen = stage_pairs(self.name, context, self.pairs)
        self.aligned, self.krnets = nn.ModuleList(), nn.ModuleList()
        for pair in self.chosen:
            ours, theirs = context.student.stages[pair[0]], context.teacher.stages[pair[1]]
            if ours.ndim != 4 or theirs.ndim != 4:
                raise LimbeckError(
                    f"metakd_sr compares maps (channels, height, width), not {described(context, pair)}"
                )
            self.aligned.append(nn.Conv2d(ours.shape[1], theirs.shape[1], 1))
            self.krnets.append(KRNet(theirs.shape[1], self.kernels, self.side, self.hidden))
        self.sides = tuple(stage_side(context, theirs) for _, theirs in self.chosen)
        # in a tuple: it is no part of this module
        self._student = (context.student_network, context.student_points)

    def claims(self) -> Sequence[Claim]:
        """The KRNets."""
        from limbeck.optimization import Adam

        return [Claim(self.krnets, Adam(lr=self.lr))]

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The features' term, which the student learns, and "meta", the KRNets' own."""
        assert batch.progress is not None
        theirs = [side.of(teacher) for side in self.sides]
        terms: dict[str, Term] = {
            "features": Term(self._features(student.stages, theirs, self.krnets_fixed), per="samples"),
            "meta": Term(student.logits.new_zeros(()), "own", per="samples"),
        }
        if torch.is_grad_enabled() and batch.progress.step % self.every == 0:
            terms["meta"] = Term(self._examined(theirs, batch), "own", per="samples")
        return terms

    @property
    def krnets_fixed(self) -> list[Mapping[str, Tensor]]:
        """The weights of the KRNets as they are, which no gradient reaches."""
        return [{name: weight.detach() for name, weight in krnet.named_parameters()} for krnet in self.krnets]

    def _features(
        self,
        student: Sequence[Tensor],
        teacher: Sequence[Tensor],
        krnets: Sequence[Mapping[str, Tensor]],
        *,
        aligning: bool = True,
    ) -> Tensor:
        """The mean over the pairs of stages.

        Args:
            student: all stages of the student.
            teacher: the teacher's of each pair, for the same samples.
            krnets: the weights of each KRNet.
            aligning: whether the convolutions learn.
        """
        losses = []
        for (place, _), whole, align, krnet, weights in zip(
            self.chosen, teacher, self.aligned, self.krnets, krnets, strict=True
        ):
            own = {name: each if aligning else each.detach() for name, each in align.named_parameters()}
            theirs = full_precision(whole.detach())
            stage = full_precision(student[place])
            ours = resized_alike(torch.func.functional_call(align, own, (stage,)), theirs)
            losses.append(
                metakd_sr(
                    ours, theirs, torch.func.functional_call(krnet, dict(weights), (ours.detach(), theirs))
                )
            )
        return torch.stack(losses).mean()

    def _examined(self, teacher: Sequence[Tensor], batch: Batch) -> Tensor:
        """The error in the exam as value, with the gradient that it has by the KRNets' weights."""
        from limbeck.methods.parts.virtual import Virtual, gradient, moved  # not for the equation alone

        size = len(batch)
        held = torch.arange(size + 1) * min(max(round(self.exam * size), 1), size - 1) // size
        exam, course = (held.diff() == number for number in (1, 0))
        virtual = Virtual(*self._student, fields=("stages",))
        own = virtual.weights()
        learning = [dict(krnet.named_parameters()) for krnet in self.krnets]
        error, stages = self._asked(virtual, own, course, batch)
        chosen = course.nonzero().flatten().to(error.device)
        features = self._features(stages, [each[chosen] for each in teacher], learning, aligning=False)
        features = features * _share(len(chosen), features)
        slopes = torch.autograd.grad(
            features, list(own.values()), create_graph=True, allow_unused=True, materialize_grads=True
        )
        errors = torch.autograd.grad(
            error, list(own.values()), retain_graph=True, allow_unused=True, materialize_grads=True
        )
        descents = [each + self.strength * slope.detach() for each, slope in zip(errors, slopes, strict=True)]
        after = moved(own, dict(zip(own, averaged(descents), strict=True)), -self.step)
        failed, _ = self._asked(virtual, after, exam, batch)
        blame = gradient(failed, after)
        products = [(blame[name] * slope).sum() for name, slope in zip(own, slopes, strict=True)]
        weights = [each for krnet in learning for each in krnet.values()]
        found = torch.autograd.grad(-self.step * self.strength * torch.stack(products).sum(), weights)
        learned = torch.stack(
            [(each * slope).sum() for each, slope in zip(weights, found, strict=True)]
        ).sum()
        return (failed.detach() + learned - learned.detach()) / _share(size, learned)

    def _asked(
        self, virtual: Virtual, weights: Mapping[str, Tensor], which: Tensor, batch: Batch
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """The mean absolute error on some samples (B,) bool with other weights, and the stages there.

        The sum is divided by the mean of the processes' numbers of pixels, so that the mean over processes is
        that over all pixels.
        """
        assert batch.targets is not None
        assert batch.rows is not None
        assert batch.rows.sample is not None
        device = batch.targets.device
        places = which.nonzero().flatten().to(device)
        outputs = virtual.outputs(apply(lambda tensor: tensor[places], batch.inputs), weights)
        answers = full_precision(outputs.logits)
        whole = answers.new_zeros(len(batch), *answers.shape[1:]).index_copy(0, places, answers)
        here = which.to(device)[batch.rows.sample]
        errors = distance(difference(batch.rows.logits(whole), batch.targets), "l1")
        (number,) = averaged([here.sum().to(errors)])
        return (errors * here).sum() / number.where(number > 0, 1), outputs.stages


def _share(number: int, like: Tensor) -> Tensor:
    """() what a number is of its mean over all processes."""
    own = like.new_tensor(float(number))
    return own / averaged([own])[0]
