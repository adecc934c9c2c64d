"""Knowledge-consistent distillation, arXiv:2103.16844. A reconstruction: no code was published.

Fixing the Teacher-Student Knowledge Discrepancy in Distillation. Han et al., 2021.

Built from the abstract, because neither the full text nor any code was available. The abstract states that
the channels of two networks answer to different things, that the teacher's knowledge is therefore made
consistent with the student before it is distilled, and that this combines with other methods. That a fixed
transform of the teacher's channels does it, a matching or a linear map, which a warm student decides, is
reconstruction too. What is matched, how, the loss and every figure were chosen here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from torch import Tensor, nn

from limbeck.arguments import Limits, NonNegative, Positive
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.ce import cross_entropy
from limbeck.methods.declarations import Context, LossTerms, Phase, Reads
from limbeck.methods.fitnet import fitnet
from limbeck.methods.mse import mse
from limbeck.methods.parts.blocks import Reduction, full_precision
from limbeck.methods.parts.channels import RIDGE, Match, Sums
from limbeck.methods.parts.shapes import same_samples, stage_like
from limbeck.methods.parts.stages import (
    check_same_tokens,
    described,
    mean_of_positions,
    pooled_alike,
    stage_pair,
    valid,
)
from limbeck.methods.terms import Term
from limbeck.notation import show
from limbeck.outputs import Batch, Outputs

Response = Literal["pooled", "positions"]


def kcd(
    student: Tensor,
    teacher: Tensor,
    transform: Tensor,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Mean squared difference of the student's features and the teacher's in the student's channels.

        mean of (F_s - W F_t)^2,   W applied at each position

    Args:
        student: (B, C_s, H, W) map, (B, L, C_s) hidden states or (B, C_s) vectors.
        teacher: the same kind with C_t channels; the larger of two maps is average-pooled to the smaller's
            size.
        transform: W, (C_s, C_t).
        mask: (B, L) true where a token is valid; all are without it.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: for other shapes.
    """
    stage_like("kcd", (2, 3, 4), student=student, teacher=teacher)
    same_samples("kcd", student, teacher)
    axis = -1 if student.ndim == 3 else 1
    if student.ndim != teacher.ndim or transform.shape != (student.shape[axis], teacher.shape[axis]):
        raise LimbeckError(
            "kcd takes features of one kind and a transform (C_s, C_t) from the teacher's channels to the "
            f"student's, not {tuple(student.shape)}, {tuple(teacher.shape)} and {tuple(transform.shape)}"
        )
    ours, theirs = full_precision(student), full_precision(teacher)
    if ours.ndim == 4:
        ours, theirs = pooled_alike(ours, theirs)
    moved = (theirs.movedim(axis, -1) @ full_precision(transform).T).movedim(-1, axis)
    return fitnet(ours, moved, mask, reduction)


class KCD(Method):
    """The student's channels follow the teacher's, which are first matched with them, or mapped to them.

    Two phases come first. In "warmup" the student learns the labels alone, and it goes on from there. Then
    one pass over the training set, "correspondence", compares how the channels of the student, which stands
    still, and of the teacher respond, and settles a transform from the teacher's channels to the student's.
    It is fixed from then on, and the student's features follow the transformed ones of the teacher. The pass
    sums over all processes.

    It goes with others: `ce + kd + kcd`.

    Args:
        stage: the one compared, counted from 0, or from the end; or [student's, teacher's]; or "embedding".
        match: "assignment" gives each of the student's channels one of the teacher's, none twice, by the
            largest sum of correlations, so the teacher must have as many or more and some may go unused;
            "regression" is a linear map by ridge regression, for any two numbers of channels.
        responses: what of a stage is compared to settle it: "pooled" for the mean over its positions, which
            is an assignment's default, or "positions" for all of them, as the loss compares them, which is a
            regression's.
        warmup: epochs of the warmup, by cross-entropy (mean squared error for values) and the CRD
            benchmark's SGD; 0 for a student that has been trained already.
        lr: learning rate of the warmup.
        ridge: penalty of the regression, for the mean square of a channel of the teacher's.
    """

    reads = Reads(student=("stages",), teacher=("stages",))
    recipe = "ce + kcd"

    def __init__(
        self,
        stage: int | Sequence[int] | str = -1,
        match: Match = "assignment",
        responses: Response | None = None,
        warmup: Annotated[int, Limits(ge=0)] = 30,
        lr: Positive = 0.05,
        ridge: NonNegative = RIDGE,
    ) -> None:
        super().__init__()
        if isinstance(stage, str) and stage != "embedding":
            raise LimbeckError(
                f"kcd: stage is a number, [student's, teacher's] or \"embedding\", not {show(stage)}"
            )
        unused = {
            "ridge": match == "assignment" and 'with match="assignment" nothing is regressed',
            "responses": stage == "embedding" and "an embedding has no positions",
            "lr": not warmup and "with warmup=0 the student is not trained beforehand",
        }
        for name, reason in unused.items():
            if reason and name in self.given:
                raise LimbeckError(f"kcd: {reason}; leave {name} out")
        self.field = "embedding" if stage == "embedding" else "stages"
        self.reads = Reads(student=(self.field,), teacher=(self.field,))
        self.stage, self.warmup = stage, warmup
        self.match: Match = match
        self.responses: Response = responses or ("positions" if match == "regression" else "pooled")
        self.lr, self.ridge = lr, ridge

    def bind(self, context: Context) -> None:
        """Builds the transform, which the phases then settle.

        Raises:
            LimbeckError: for features of two kinds, and for an assignment of fewer channels than the
                student's.
        """
        assert context.teacher is not None
        self._student = (context.student_network,)  # in a tuple: it is no part of this module
        self.values = context.task.scores == "values"
        self.pair: tuple[int, int] | None = None
        what = "the embeddings"
        if not isinstance(self.stage, str):
            self.pair = stage_pair(self.name, context, self.stage)
            what = described(context, self.pair)
        ours, theirs = self._features(context.student, context.teacher)
        sequences = ours.ndim == 3
        check_same_tokens(self.name, context, ours)
        if ours.ndim != theirs.ndim or (sequences and ours.shape[1] != theirs.shape[1]):
            raise LimbeckError(
                "kcd compares maps (channels, height, width), sequences of one length, or vectors, but not "
                f"{what}; name two of a kind with kcd(stage=[student's, teacher's]), or write "
                'kcd(stage="embedding")'
            )
        own, other = (features.shape[-1 if sequences else 1] for features in (ours, theirs))
        if self.match == "assignment" and other < own:
            raise LimbeckError(
                f"kcd gives each of the student's {own} channels one of the teacher's, none twice, and the "
                f'teacher has {other} ({what}); write kcd(match="regression"), which maps any number'
            )
        self.transform = nn.Linear(other, own, bias=False)
        nn.init.zeros_(self.transform.weight)
        self.sums = Sums(own, other, self.match)

    def _features(self, student: Outputs, teacher: Outputs) -> tuple[Tensor, Tensor]:
        if self.pair is None:
            return student.embedding, teacher.embedding
        return student.stages[self.pair[0]], teacher.stages[self.pair[1]]

    def phases(self) -> Sequence[Phase]:
        """The student's "warmup", and the pass that settles the transform, "correspondence"."""
        from limbeck.optimization import SGD

        warming = Phase(
            name="warmup",
            trains=self._student,
            loss=self._warm,
            reads=Reads(student=("logits",), batch=("targets",)),
            epochs=self.warmup,
            optimizer=SGD(lr=self.lr),
        )
        settling = Phase(
            name="correspondence",
            trains=[self.transform],
            loss=self._compare,
            reads=Reads(self.reads.student, self.reads.teacher, batch=("progress",)),
            epochs=1,
            optimizer=SGD(lr=1.0, momentum=0.0, weight_decay=0.0),
            keeps=[self.sums],
            finish=self._settle,
            freezes=True,
        )
        return [warming, settling] if self.warmup else [settling]

    def _warm(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        assert batch.targets is not None
        return (mse if self.values else cross_entropy)(student.logits, batch.targets)

    def _compare(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Adds to the sums; the loss is zero, for `_settle` finds the transform, and no step."""
        assert batch.progress is not None
        ours, theirs = self._features(student, teacher)
        mask = valid(student, ours)
        if self.responses == "positions" and ours.ndim == 4:
            ours, theirs = pooled_alike(ours, theirs)
        responses = [responses_of(stage, mask, self.responses) for stage in (ours, theirs)]
        self.sums.add(responses[0], responses[1], batch.progress.step)
        return 0 * self.transform.weight.sum()

    def _settle(self) -> None:
        self.transform.weight.copy_(self.sums.solved(self.ridge))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """One term, "features"; a mean over the rows where embeddings are compared, else over the samples."""
        ours, theirs = self._features(student, teacher)
        loss = kcd(ours, theirs, self.transform.weight, valid(student, ours))
        return {"features": Term(loss, per="rows" if self.pair is None else "samples")}


def responses_of(stage: Tensor, mask: Tensor | None, responses: Response) -> Tensor:
    """(N, C) responses of the channels: one for each sample if "pooled", or one for each valid position."""
    if stage.ndim == 2:
        return stage
    positions = stage.flatten(2).mT if stage.ndim == 4 else stage
    if responses == "positions":
        return positions.flatten(0, 1) if mask is None else positions[mask]
    return mean_of_positions(stage, mask)
