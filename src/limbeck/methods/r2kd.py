"""Robustness-Reinforced Knowledge Distillation. Kim, Ham, Cho & Kim, TKDE 2024, arXiv:2311.13934.

Equations and constants as in the authors' code, Seonghak35/R2KD, but for two things. There the ranks have no
gradient, so that the rank term moves nothing but the figure that is printed; here they are soft unless hard
ones are asked for, and the form of the soft ranks was chosen here. And there the pruned teacher is left in
training mode, where it sees the batch's statistics and its own drift; here it is always in eval mode.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, TypeAlias

import torch
from torch import Tensor, nn

from limbeck.arguments import Limits, NonNegative, Positive, Share
from limbeck.errors import LimbeckError
from limbeck.hashing import below
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, LossTerms, Networks, Reads
from limbeck.methods.dist import EPSILON, correlation
from limbeck.methods.parts.blocks import full_precision, gather
from limbeck.methods.parts.companions import copied_teacher, outputs_of
from limbeck.methods.parts.mixing import beta, cut, partners, rectangle
from limbeck.methods.parts.shapes import same_logits, word
from limbeck.methods.terms import Term
from limbeck.outputs import Batch, Outputs

Rank: TypeAlias = Literal["soft", "hard"]

ALPHAS = {"cutmix": 1.0, "mixup": 0.2}
"""The authors' parameter of the Beta distribution by augmentation."""


def correlation_distance(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 4.0) -> Tensor:
    """How far probabilities are from proportional to the teacher's, in each sample and in each class.

        T^2 [(1 - mean over samples of cos(p_s, p_t)) + (1 - mean over classes of cos(p_s, p_t))]
        cos(a, b) = <a, b> / (|a| |b| + 1e-8),   p = softmax(z / T)

    The cosine of a class is across the samples, so the value depends on which samples a batch has. The paper
    takes absolute values, which those of probabilities are. The 1e-8 is the released code's; it makes a class
    that no sample has a probability for count as one that differs.

    Args:
        student_logits: (B, C), C at least 2.
        teacher_logits: (B, C).
        temperature: T > 0, divides both logits.
    Returns: scalar.
    Raises:
        LimbeckError: if the shapes differ or are no rows of at least 2 classes.
    """
    same_logits("correlation_distance", student_logits, teacher_logits)
    student, teacher = (
        (full_precision(logits) / temperature).softmax(1) for logits in (student_logits, teacher_logits)
    )
    samples, classes = (cosines(*pair).mean() for pair in ((student, teacher), (student.T, teacher.T)))
    return temperature**2 * ((1 - samples) + (1 - classes))


def cosines(student: Tensor, teacher: Tensor) -> Tensor:
    """(R,) cosines of the rows of two (R, N) matrices."""
    norms: Tensor = student.norm(dim=1) * teacher.norm(dim=1)
    return (student * teacher).sum(1) / (norms + EPSILON)


def rank_distance(
    student_logits: Tensor, teacher_logits: Tensor, rank: Rank = "soft", softness: float = 1.0
) -> Tensor:
    """How far the order of a sample's classes is from the teacher's: one less their rank correlation.

        1 - mean over samples of r(rank of z_s, rank of z_t),   r: Pearson's correlation across the classes

    Classes of equal logits share the mean of their ranks. The teacher's ranks are always hard. The student's
    are hard as in the paper, which makes it Spearman's correlation and has no gradient at all, or soft: a
    class has, beside its own, half a rank for each class with the same logit, nearly one for each far below
    and nearly none for each far above. Soft ranks take memory for B C^2 numbers.

        soft rank of class c = 1/2 + sum over classes k of sigmoid((z_c - z_k) / softness)

    Args:
        student_logits: (B, C), C at least 3: two ranks have one correlation or its opposite.
        teacher_logits: (B, C).
        rank: "soft", or "hard", which has no gradient.
        softness: the difference of logits > 0 from which on classes are told apart; soft ranks become hard
            ones as it goes to 0.
    Returns: scalar.
    Raises:
        LimbeckError: if the shapes differ or are no rows of at least 3 classes.
    """
    word("rank_distance", "rank", rank, Rank)
    same_logits("rank_distance", student_logits, teacher_logits)
    if student_logits.shape[1] < 3:
        raise LimbeckError(
            "rank_distance correlates ranks, and those of two classes are in the same order or in the "
            "opposite one, with nothing between; it needs logits of at least 3 classes"
        )
    student, teacher = full_precision(student_logits), full_precision(teacher_logits)
    ours = hard_ranks(student) if rank == "hard" else soft_ranks(student, softness)
    return 1 - correlation(ours, hard_ranks(teacher)).mean()


def soft_ranks(logits: Tensor, softness: float) -> Tensor:
    """(B, C) ranks from 1 to C that change with the logits little by little."""
    differences = logits.unsqueeze(2) - logits.unsqueeze(1)
    return 0.5 + (differences / softness).sigmoid().sum(2)


def hard_ranks(logits: Tensor) -> Tensor:
    """(B, C) ranks from 1 to C, without gradient; equal logits share the mean of their ranks."""
    logits = logits.detach()
    ordered = logits.sort(1).values
    below_it, not_above = (torch.searchsorted(ordered, logits, right=right) for right in (False, True))
    return (below_it + not_above + 1).to(logits) / 2


def prune(network: nn.Module, amount: float) -> None:
    """Zeroes the smallest weights of each convolution and each linear layer, by absolute value.

    Args:
        network: what is pruned, in place.
        amount: share of a layer's weights.
    Raises:
        LimbeckError: for a network without such layers.
    """
    layers = [
        module.weight
        for module in network.modules()
        if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)) and "weight" in module._parameters
    ]
    if not layers:
        raise LimbeckError(
            f"r2kd prunes convolutions and linear layers, and the teacher {type(network).__name__} has none; "
            "leave the pruned copy out with r2kd(teacher_share=1)"
        )
    with torch.no_grad():
        for weight in layers:
            smallest = weight.flatten().abs().topk(round(amount * weight.numel()), largest=False).indices
            weight.copy_(weight.flatten().index_fill(0, smallest, 0).view_as(weight))


class R2KD(Method):
    """The student's probabilities and ranks of classes follow those of a teacher mixed with its pruned copy.

    The teacher's logits are mixed with those of a copy of it that is pruned once, as it is, without training.
    The terms "correlation" and "rank" are on the samples, "mixed_correlation" and "mixed_rank" on further
    views that are mixed from the samples of the whole batch: of all processes, and of one piece where
    gradients are accumulated. Which and how is drawn for each step, as a function of the run's seed and the
    step. No labels are read, and there is no cross-entropy on mixed images. The student and both teachers see
    each batch twice, in forwards of their own.

    The clean samples may have answers from a cache. The pruned copy, which has the size of the teacher and is
    saved with the method, always computes, and so does the teacher for mixed images.

    Args:
        temperature: divides the logits in the correlation terms.
        correlation_weight: weight of the correlation terms.
        rank_weight: weight of the rank terms; with 0, which two classes need, there are none.
        rank: "soft" ranks of the student, or the paper's "hard" ones, which have no gradient: the rank terms
            are then figures that nothing learns from.
        softness: difference of logits from which on soft ranks tell classes apart.
        pruned: share of the weights of each convolution and linear layer that are zero in the copy.
        teacher_share: the teacher's share of the mixed logits; with 1 no copy is made.
        augmentation: what the further views are: "cutmix", "mixup", "cutout", or "none" for no such views.
            The code's autoaugment and cutmixpick are not here.
        alpha: parameter of the Beta distribution of the shares that images have in a mixture, at most 1; the
            paper's 1 for cutmix and 0.2 for mixup unless given.
        hole: side of cutout's square for each of the image's. The square is zero or, where the student
            normalizes its inputs itself, their mean.
    """

    recipe = "ce + r2kd"
    rows = "classes"
    min_samples = 2

    def __init__(
        self,
        temperature: Positive = 4.0,
        *,
        correlation_weight: NonNegative = 2.0,
        rank_weight: NonNegative = 2.0,
        rank: Rank = "soft",
        softness: Positive = 1.0,
        pruned: Share = 0.1,
        teacher_share: Share = 0.7,
        augmentation: Literal["cutmix", "mixup", "cutout", "none"] = "cutmix",
        alpha: Annotated[float, Limits(gt=0, le=1)] | None = None,
        hole: Share = 0.25,
    ) -> None:
        super().__init__()
        if rank == "hard" and "softness" in self.given:
            raise LimbeckError('r2kd: hard ranks have no softness; leave it out with rank="hard"')
        if teacher_share == 1 and "pruned" in self.given:
            raise LimbeckError("r2kd: with teacher_share=1 there is no pruned copy; leave pruned out")
        if alpha is not None and augmentation not in ALPHAS:
            raise LimbeckError(f"r2kd: alpha is for cutmix and mixup; leave it out with {augmentation}")
        if augmentation != "cutout" and "hole" in self.given:
            raise LimbeckError(f"r2kd: hole is for cutout; leave it out with {augmentation}")
        makes = () if augmentation == "none" else ("mixed",)
        known = ("progress",) if makes else ()
        self.reads = Reads(student=("logits",), teacher=("logits",), batch=known, makes=makes)
        self.temperature, self.softness = temperature, softness
        self.correlation_weight, self.rank_weight, self.rank = correlation_weight, rank_weight, rank
        self.amount, self.teacher_share = pruned, teacher_share
        self.augmentation, self.alpha, self.hole = augmentation, alpha or ALPHAS.get(augmentation, 1.0), hole

    def bind(self, context: Context) -> None:
        """Copies and prunes the teacher.

        Raises:
            LimbeckError: for two classes, for inputs that are no images, and for a teacher without a network.
        """
        if self.rank_weight and context.columns < 3:
            raise LimbeckError(
                "r2kd correlates ranks, and those of two classes are in the same order or in the opposite "
                "one, with nothing between; leave them out with r2kd(rank_weight=0)"
            )
        self.draws: Tensor
        self.register_buffer("draws", torch.randint(2**62, ()))
        if self.reads.makes:
            self._bind_images(context)
        if self.teacher_share < 1:
            self.pruned, self.points = copied_teacher(self.name, context)
            prune(self.pruned.requires_grad_(False), self.amount)
            self._copied = context.teacher_name

    def _bind_images(self, context: Context) -> None:
        from limbeck.models import normalization_of

        images = context.example
        if not (isinstance(images, Tensor) and images.ndim == 4 and images.is_floating_point()):
            given = (
                f"{str(images.dtype).removeprefix('torch.')} of shape {tuple(images.shape)}"
                if isinstance(images, Tensor)
                else f"named tensors ({', '.join(images)})"
            )
            raise LimbeckError(
                f"r2kd mixes images (B, C, H, W) of floats, and the inputs are {given}; write "
                'r2kd(augmentation="none") to do without'
            )
        normalization = normalization_of(context.student_network)
        mean = normalization.mean if normalization else (0.0,) * images.shape[1]
        self.fill: Tensor
        self.register_buffer("fill", torch.tensor(mean).view(-1, 1, 1))

    def train(self, mode: bool = True) -> R2KD:
        """Sets the mode; that of the pruned copy is always eval."""
        super().train(mode)
        if self.teacher_share < 1:
            self.pruned.eval()
        return self

    def collect(self, batch: Batch, networks: Networks) -> Batch:
        """The batch with the mixed images as a further view."""
        if not self.reads.makes:
            return batch
        assert isinstance(batch.inputs, Tensor)
        return replace(batch, views={**batch.views, "mixed": self._mixed(batch.inputs, batch)})

    def _mixed(self, inputs: Tensor, batch: Batch) -> Tensor:
        """(B, C, H, W) images mixed with others of the batch of all processes."""
        assert batch.progress is not None
        step = batch.progress.step
        if self.augmentation == "cutout":
            height, width = inputs.shape[2:]
            row, column = below(height, self.draws, step, 1), below(width, self.draws, step, 2)
            hole = rectangle(inputs, row, column, round(height * self.hole), round(width * self.hole))
            return self.fill.to(inputs).where(hole, inputs)
        others, share = partners(inputs, self.draws, step), beta(self.alpha, self.draws, step)
        if self.augmentation == "mixup":
            return inputs.lerp(others, (1 - share).to(inputs))
        return others.where(cut(inputs, share, self.draws, step), inputs)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The terms on the samples, and those on the mixed views."""
        terms = self._compared(student, teacher, batch, "")
        for view in self.reads.makes:
            mixed = replace(batch, inputs=batch.views[view], teacher_inputs={})
            terms |= self._compared(student.views[view], teacher.views[view], mixed, f"{view}_")
        return terms

    def _compared(self, student: Outputs, teacher: Outputs, batch: Batch, prefix: str) -> dict[str, Term]:
        """The terms on what the networks say of the inputs of the batch."""
        ours, theirs = student.logits, teacher.logits
        if self.teacher_share < 1:
            with torch.no_grad():
                pruned = outputs_of(self.pruned, self.points, batch, teacher=self._copied).logits
            theirs = self.teacher_share * theirs + (1 - self.teacher_share) * pruned
        value = correlation_distance(gather(ours), gather(theirs), self.temperature)
        terms = {f"{prefix}correlation": Term(value, weight=self.correlation_weight)}
        if self.rank_weight:
            order = rank_distance(ours, theirs, self.rank, self.softness)
            terms[f"{prefix}rank"] = Term(order, weight=self.rank_weight)
        return terms
