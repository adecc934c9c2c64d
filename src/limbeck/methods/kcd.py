"""Knowledge-consistent distillation, arXiv:2103.16844. A reconstruction: no code was published.

Fixing the Teacher-Student Knowledge Discrepancy in Distillation. Han et al., 2021.

Built from the abstract, because neither the full text nor any code was available. The abstract states that
the channels of two networks answer to different things, that the teacher's knowledge is therefore made
consistent with the student before it is distilled, and that this combines with other methods. That a fixed
transform of the teacher's channels does it, a matching or a linear map, which a warm student decides, is
reconstruction too. What is matched, how, the loss and every figure were chosen here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from limbeck.arguments import Limits, NonNegative, Positive
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.ce import cross_entropy
from limbeck.methods.declarations import Context, LossTerms, Phase, Reads
from limbeck.methods.fitnet import fitnet
from limbeck.methods.mse import mse
from limbeck.methods.parts.blocks import Reduction, full_precision, gather
from limbeck.methods.parts.shapes import same_samples, stage_like, vectors
from limbeck.methods.parts.stages import described, mean_of_positions, pooled_alike, stage_pair, valid
from limbeck.methods.terms import Term
from limbeck.notation import show
from limbeck.outputs import Batch, Outputs

RIDGE = 1e-8
"""Keeps a regression definite where channels repeat each other, and an exact map right to seven digits."""

Match = Literal["assignment", "regression"]
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


def channel_assignment(student: Tensor, teacher: Tensor) -> Tensor:
    """The teacher's channel for each of the student's: the matching whose correlations have the largest sum.

    No channel is taken twice. Where the teacher has more channels, the rest goes unused. A channel that is
    the same for all samples correlates with none.

    Args:
        student: (N, C_s) responses of its channels.
        teacher: (N, C_t) those of the teacher's to the same samples, C_t at least C_s.
    Returns: (C_s,) int64.
    Raises:
        LimbeckError: for other shapes, and for fewer channels than the student has.
    """
    _responses("channel_assignment", student, teacher)
    if teacher.shape[1] < student.shape[1]:
        raise LimbeckError(
            f"channel_assignment takes no channel twice, and the teacher has {teacher.shape[1]} for the "
            f"student's {student.shape[1]}; channel_regression maps any number"
        )
    return _assigned(_sums(student, teacher, "assignment"))


def channel_regression(student: Tensor, teacher: Tensor, ridge: float = RIDGE) -> Tensor:
    """The linear map W of the teacher's channels that is nearest to the student's, by ridge regression.

        W minimizes sum_n |s_n - W t_n|^2 + lambda |W|^2,   lambda = ridge * mean_c sum_n t_nc^2

    It has no intercept. The normal equations are solved in float64; where they leave W open it is the
    smallest.

    Args:
        student: (N, C_s) responses of its channels.
        teacher: (N, C_t) those of the teacher's to the same samples.
        ridge: the penalty for the mean square of a channel of the teacher's, at least 0.
    Returns: (C_s, C_t) float64.
    Raises:
        LimbeckError: for other shapes.
    """
    _responses("channel_regression", student, teacher)
    return _regressed(_sums(student, teacher, "regression"), ridge)


def _responses(name: str, student: Tensor, teacher: Tensor) -> None:
    vectors(name, student=student, teacher=teacher)
    same_samples(name, student, teacher)


def _sums(student: Tensor, teacher: Tensor, match: Match) -> dict[str, Tensor]:
    """What a match is solved from, in float64: sums over the samples, which add up over batches."""
    ours, theirs = student.double(), teacher.double()
    cross = ours.T @ theirs
    if match == "regression":
        return {"cross": cross, "gram": theirs.T @ theirs}
    return {
        "cross": cross,
        "count": cross.new_tensor(len(ours)),
        "student": ours.sum(0),
        "teacher": theirs.sum(0),
        "student_squares": ours.square().sum(0),
        "teacher_squares": theirs.square().sum(0),
    }


def _assigned(sums: Mapping[str, Tensor]) -> Tensor:
    """(C_s,) from the sums."""
    from scipy.optimize import linear_sum_assignment  # here: 0.2 s to import

    ours, theirs = _deviations(sums, "student"), _deviations(sums, "teacher")
    means = sums["student"][:, None] * sums["teacher"] / sums["count"] ** 2
    covariance = sums["cross"] / sums["count"] - means
    correlation = covariance / (ours[:, None] * theirs)  # a channel without deviation has an infinite one
    _, channels = linear_sum_assignment(correlation.cpu().numpy(), maximize=True)
    return torch.from_numpy(channels).to(correlation.device, torch.int64)


def _deviations(sums: Mapping[str, Tensor], network: str) -> Tensor:
    """(C,) standard deviations of a network's channels; infinite where rounding is all that is left."""
    mean = sums[network] / sums["count"]
    square = sums[f"{network}_squares"] / sums["count"]
    variance = square - mean.square()
    return variance.where(variance > 1e-12 * square, torch.inf).sqrt()


def _regressed(sums: Mapping[str, Tensor], ridge: float) -> Tensor:
    """(C_s, C_t) from the sums."""
    gram = sums["gram"]
    penalty = ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    solved: Tensor = sums["cross"] @ torch.linalg.pinv(gram + penalty, hermitian=True)
    return solved


class Sums(nn.Module):
    """The sums over a pass of the training set, of all processes; they stay in float64.

    Args:
        student: C_s.
        teacher: C_t.
        match: what they are for.
    """

    step: Tensor

    def __init__(self, student: int, teacher: int, match: Match) -> None:
        super().__init__()
        self.match: Match = match
        for name, sums in _sums(torch.zeros(0, student), torch.zeros(0, teacher), match).items():
            self.register_buffer(name, sums)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def add(self, student: Tensor, teacher: Tensor, step: int) -> None:
        """Adds the responses (N, C_s) and (N, C_t) of one process's share of a batch.

        Args:
            step: number of the step in the pass; one that is less than the last begins another pass.
        """
        same_pass = self.step <= step
        for name, sums in _sums(student, teacher, self.match).items():
            buffer = self.get_buffer(name)
            buffer.copy_(torch.where(same_pass, buffer, 0) + gather(sums[None]).sum(0))
        self.step.fill_(step)

    def solved(self, ridge: float) -> Tensor:
        """(C_s, C_t) the transform."""
        sums = dict(self.named_buffers())
        if self.match == "regression":
            return _regressed(sums, ridge)
        return torch.eye(len(sums["teacher"]), device=sums["teacher"].device)[_assigned(sums)]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Sums:
        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(fn(tensor).device)

        super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        return self


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
