"""Evolutionary KD. Zhang et al., IEEE TCSVT 2022, arXiv:2103.13811. A reconstruction: no code was published.

Built from the abstract. It states that a teacher learns online, together with the student, and that guided
modules between corresponding blocks of the two transfer what it has learned so far. That a guided module is a
convolution with a classifier, and what is compared between two of them, was chosen here, as were two things
that are arguments: every weight, and that neither the teacher nor its guided modules get gradient of the
student's loss.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from limbeck.arguments import Count, NonNegative, Positive
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.ce import cross_entropy
from limbeck.methods.declarations import Context, LossTerms, Reads
from limbeck.methods.fitnet import fitnet
from limbeck.methods.kd import kd
from limbeck.methods.parts.blocks import Reduction
from limbeck.methods.parts.companions import check_no_schedule, copied_teacher, draw_anew, outputs_of
from limbeck.methods.parts.regressors import projector
from limbeck.methods.parts.shapes import same_samples, stage_like
from limbeck.methods.parts.stages import Pairs, described, pooled_alike, stage_pairs
from limbeck.methods.terms import Term
from limbeck.outputs import Batch, Outputs


def guided(
    student_maps: Tensor,
    teacher_maps: Tensor,
    student_logits: Tensor,
    teacher_logits: Tensor,
    features: float = 1.0,
    predictions: float = 1.0,
    temperature: float = 1.0,
    reduction: Reduction = "mean",
    feedback: bool = False,
) -> Tensor:
    """What one pair of guided modules asks of the student.

        L = b D(G_s(F_s), G_t(F_t)) + c T^2 KL(softmax(c_t / T) || softmax(c_s / T))

    D is the mean squared difference.

    Args:
        student_maps: (B, C, H, W) map G_s(F_s) of the student's guided module.
        teacher_maps: the same of the teacher's; the larger of two is average-pooled to the smaller's size.
        student_logits: (B, K) logits c_s of the classifier in the student's guided module.
        teacher_logits: (B, K) logits c_t of the one in the teacher's.
        features: b.
        predictions: c.
        temperature: T > 0.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
        feedback: whether a gradient flows into the teacher's side too.
    Raises:
        LimbeckError: for what is no map, different channel counts or samples, and for logits of two shapes.
    """
    stage_like("guided", (4,), student_maps=student_maps, teacher_maps=teacher_maps)
    same_samples("guided", student_maps, teacher_maps, student_logits)
    if not feedback:
        teacher_maps, teacher_logits = teacher_maps.detach(), teacher_logits.detach()
    difference = fitnet(*pooled_alike(student_maps, teacher_maps), reduction=reduction)
    divergence = kd(student_logits, teacher_logits, temperature, reduction)
    return features * difference + predictions * divergence


class Guide(nn.Module):
    """A guided module: convolution 3x3, batch norm and ReLU on a stage, and a classifier of their averages.

    Args:
        channels: of the stage.
        width: number of channels that it makes of them.
        classes: number of logits.
    """

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.convolution = projector([channels, width], [3])
        self.classifier = nn.Linear(width, classes)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """(B, channels, H, W) to what is compared, (B, width, H, W), and to logits (B, classes)."""
        maps = self.convolution(maps)
        return maps, self.classifier(maps.mean((2, 3)))


class EKD(Method):
    """The student learns from a teacher that learns beside it, at its outputs and through guided modules.

    The teacher that learns is a copy of the one that is given, which stays as it is and is not run in
    training. The copy minimizes its cross-entropy, with the student's optimizer and in training mode. Each
    pair of stages has a guided module on either side; all guided classifiers learn the labels, which also
    trains the stages below them, and the student's side follows the copy's. The batch norms of the guided
    modules are over the batch of all processes, those of the copy over that of each process.

    Its terms are "kd", "guided" and "guided_ce" of the student, and "teacher.ce" and "teacher.guided_ce" of
    the copy, which the objective's weight leaves as they are. The student's own cross-entropy stands beside
    it: `ce + ekd`.

    Args:
        start: "teacher" has the copy start from the teacher's weights; "fresh" draws new ones, so that
            nothing but the architecture is the teacher's.
        kd: weight of the divergence from the copy's output.
        temperature: of that divergence.
        features: weight of the difference of the guided maps.
        predictions: weight of the divergence of the guided classifiers.
        guided_temperature: of that divergence.
        guided_ce: weight of the cross-entropy of the guided classifiers, on either side.
        width: channels of the guided maps; by default as many as the student's stage has.
        pairs: [student's, teacher's] stages, counted from 0; all in order unless given.
        feedback: whether copy and guided modules learn from the student's terms too, by their weights.
    """

    fits_labels = True
    reads = Reads(student=("logits", "stages"), teacher=("stages",), batch=("targets",))
    recipe = "ce + ekd"
    rows = "classes"
    one_row_per_sample = True

    def __init__(
        self,
        start: Literal["teacher", "fresh"] = "teacher",
        *,
        kd: NonNegative = 1.0,
        temperature: Positive = 4.0,
        features: NonNegative = 1.0,
        predictions: NonNegative = 1.0,
        guided_temperature: Positive = 1.0,
        guided_ce: NonNegative = 1.0,
        width: Count | None = None,
        pairs: Pairs | None = None,
        feedback: bool = False,
    ) -> None:
        super().__init__()
        self.start, self.width, self.pairs = start, width, pairs
        self.kd, self.temperature = kd, temperature
        self.features, self.predictions, self.feedback = features, predictions, feedback
        self.guided_temperature, self.guided_ce = guided_temperature, guided_ce

    @property
    def reads_in_training(self) -> Reads:
        """Nothing of the teacher, in whose place the copy runs."""
        return replace(self.reads, teacher=())

    def bind(self, context: Context) -> None:
        """Copies the teacher and builds the guided modules.

        Raises:
            LimbeckError: for a teacher without a network, or one whose weights cannot be drawn anew where
                they should; for a schedule of checkpoints; for stages that are no maps.
        """
        assert context.teacher is not None
        check_no_schedule("ekd has a copy of one teacher learn along", context)
        self.evolving, self.points = copied_teacher(self.name, context)
        if self.start == "fresh":
            draw_anew(self.evolving, "ekd cannot start from fresh weights", 'write ekd(start="teacher")')
        self.evolving.train()
        self.copied = context.teacher_name
        if not any(stage.ndim == 4 for stage in context.student.stages):
            raise LimbeckError(
                "ekd has guided modules on maps (channels, height, width), and the student's stages are no "
                "maps; take kd, or icd for the embeddings"
            )
        self.places = stage_pairs(self.name, context, self.pairs)
        self.student_guides, self.teacher_guides = nn.ModuleList(), nn.ModuleList()
        for pair in self.places:
            ours, theirs = context.student.stages[pair[0]], context.teacher.stages[pair[1]]
            if not ours.ndim == theirs.ndim == 4:
                raise LimbeckError(
                    "ekd has guided modules on maps (channels, height, width), not on "
                    f"{described(context, pair)}; name others with ekd(pairs=[[student's, teacher's], ...])"
                )
            width = self.width or ours.shape[1]
            self.student_guides.append(Guide(ours.shape[1], width, context.width))
            self.teacher_guides.append(Guide(theirs.shape[1], width, context.width))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The terms of the student and those of the copy."""
        targets = batch.targets
        assert targets is not None
        evolving = outputs_of(self.evolving, self.points, batch, ("stages",), self.copied)
        guides = zip(self.student_guides, self.teacher_guides, self.places, strict=True)
        pairs = [
            (ours(student.stages[place]), theirs(evolving.stages[other]))
            for ours, theirs, (place, other) in guides
        ]
        weights = self.features, self.predictions, self.guided_temperature
        followed = [
            guided(maps, seen, logits, known, *weights, feedback=self.feedback)
            for (maps, logits), (seen, known) in pairs
        ]
        labeled = [cross_entropy(logits, targets) for (_, logits), _ in pairs]
        taught = [cross_entropy(logits, targets) for _, (_, logits) in pairs]
        known = evolving.logits if self.feedback else evolving.logits.detach()
        divergence = kd(student.logits, known, self.temperature)
        return {
            "kd": Term(divergence, weight=self.kd),
            "guided": torch.stack(followed).sum(),
            "guided_ce": Term(torch.stack(labeled).sum(), "task", self.guided_ce),
            "teacher.ce": Term(cross_entropy(evolving.logits, targets), "own"),
            "teacher.guided_ce": Term(torch.stack(taught).sum(), "own", self.guided_ce),
        }
