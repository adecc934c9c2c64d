"""Heterogeneous Knowledge Distillation using Information Flow Modeling.
Passalis, Tzelepi & Tefas, CVPR 2020, arXiv:2005.00727.

Equations, kernels, weights and the auxiliary's recipe as in the authors' code, passalis/pkth, but that an
optimizer lasts for a phase where theirs is made anew for each rate, and the student's for each epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import torch
from torch import Tensor, nn

from limbeck.arguments import Count, Limits, NonNegative, Positive, Share
from limbeck.errors import LimbeckError
from limbeck.features import undisturbed
from limbeck.methods.base import Method, related
from limbeck.methods.ce import cross_entropy
from limbeck.methods.declarations import Context, LossTerms, Phase, Reads
from limbeck.methods.parts.blocks import full_precision, gather, unit
from limbeck.methods.parts.companions import built, like_student, outputs_of
from limbeck.methods.parts.shapes import same_samples, sample_wise
from limbeck.methods.parts.stages import valid, without_padding
from limbeck.methods.terms import Term
from limbeck.outputs import Batch, Outputs

EPSILON = 1e-7
"""The least cosine kernel, which would be 0 for two samples in opposite directions."""

FIELDS = ("embedding", "stages")


def infoflow(student: Tensor, teacher: Tensor) -> Tensor:
    """Jeffreys divergence of the probabilities that samples are neighbors, for two kernels; of one layer.

        c_ij = (1 + cos(x_i, x_j)) / 2,   k_ij = 1 / (1 + ||x_i - x_j||),   each row divided by its sum
        loss = mean_ij (p_ij - q_ij) (log p_ij - log q_ij) with c, and the same with k

    p is the teacher's, q the student's. A sample is its own neighbor too. The mean is over B^2, and a row's
    probabilities sum to 1, so the value falls with the size of the batch. Where samples coincide, as each
    does with itself, the distance is 0 and has no gradient; the authors' code adds 1e-6 to its square and to
    the length of a vector instead.

    Args:
        student: (B, ...) features, flattened for each sample.
        teacher: (B, ...) the same; only B must agree.
    Returns: scalar.
    Raises:
        LimbeckError: for different numbers of samples.
    """
    sample_wise("infoflow", student=student, teacher=teacher)
    same_samples("infoflow", student, teacher)
    ours, theirs = (full_precision(features).flatten(1) for features in (student, teacher))
    return _jeffreys(_cosine(ours), _cosine(theirs)) + _jeffreys(_student_t(ours), _student_t(theirs))


def _cosine(features: Tensor) -> Tensor:
    """(B, B) logarithm of the cosine kernel."""
    vectors = unit(features)
    return ((1 + vectors @ vectors.T) / 2).clamp(min=EPSILON).log()


def _student_t(features: Tensor) -> Tensor:
    """(B, B) logarithm of Student's t kernel, of distances that are exactly 0 where samples coincide."""
    return -torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist").log1p()


def _jeffreys(student: Tensor, teacher: Tensor) -> Tensor:
    """Scalar, of the logarithms of two kernels."""
    q, p = student.log_softmax(1), teacher.log_softmax(1)
    return ((p.exp() - q.exp()) * (p - q)).mean()


class InfoFlow(Method):
    """The student relates the samples as an auxiliary teacher of its own depth does, stage by stage.

    Stages of networks of different depth are no counterparts. So in a phase an auxiliary network, like the
    student or wider, learns from the teacher at the last layer alone; then it is frozen and teaches the
    student, and the teacher itself has no part in the training:

        loss = last + initial * decay^epoch * sum over the stages of their losses

    Each is the loss of `limbeck.losses.infoflow`: "last" of the embedding, "stages" of the stages without
    it. The samples that are compared are those of the whole batch, of all processes; where gradients are
    accumulated, of one piece, and the loss of fewer samples is larger, about as one over their number. No
    labels are read but where `start` asks for them. The cross-entropy of the recipe was added here: the
    paper's student learns by `infoflow` alone, which trains no classifier, and is measured in retrieval.

    The auxiliary's weights and the order of its data follow `seed`, and a trained one is reused by every run
    with the same teacher, data and arguments.

    Args:
        auxiliary: the auxiliary, by its name in `limbeck models`, which must have as many stages as the
            student; a network like the student if None, where the paper's is twice as wide; "none" for the
            teacher itself, whose stages must then be as many.
        initial: weight of the stages in the first epoch.
        decay: what it is multiplied by after each epoch.
        epochs: number of epochs in which the auxiliary learns from the teacher, by Adam in batches of 128;
            the rate drops to a tenth after three quarters of them.
        lr: learning rate of the phases.
        start: epochs of cross-entropy that the auxiliary learns the labels for beforehand; the rate drops
            after five eighths of them. The paper's are 80.
        seed: of the phases; the run's own seed has no part in them, so that all runs may share an auxiliary.
    """

    reads = Reads(student=FIELDS, teacher=("embedding",), batch=("progress",))
    recipe = "ce + infoflow"
    relates = True
    min_samples = 2

    def __init__(
        self,
        auxiliary: str | None = None,
        initial: NonNegative = 100.0,
        decay: Share = 0.7,
        epochs: Count = 40,
        lr: Positive = 1e-3,
        start: Annotated[int, Limits(ge=0)] = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if auxiliary == "none":
            self.reads = replace(self.reads, teacher=FIELDS)
            for name in ("epochs", "lr", "start", "seed"):
                if name in self.given:
                    raise LimbeckError(
                        f'infoflow: with auxiliary="none" nothing is trained beforehand; leave {name} out'
                    )
        self.auxiliary, self.initial, self.decay = auxiliary, initial, decay
        self.epochs, self.lr, self.start, self.seed = epochs, lr, start, seed

    @property
    def reads_in_training(self) -> Reads:
        """Nothing of the teacher, where an auxiliary teaches."""
        return self.reads if self.auxiliary == "none" else replace(self.reads, teacher=())

    def bind(self, context: Context) -> None:
        """Builds the auxiliary, and settles which stages are compared.

        Raises:
            LimbeckError: for an auxiliary that cannot be built, for other numbers of stages than the
                student's, and for `start` in a task that does not choose among classes.
        """
        assert context.teacher is not None
        if self.start and context.task.scores != "classes":
            raise LimbeckError(
                "infoflow: start trains the auxiliary by cross-entropy, and the outputs of "
                f"{context.task.name} are {context.task.scores}; leave it out"
            )
        ours, theirs, who = context.student, context.teacher, "teacher"
        self.network: nn.Module | None = None
        if self.auxiliary != "none":
            who = "auxiliary"
            self._build(context)
            assert self.network is not None
            with undisturbed(self.network, context.example), torch.no_grad():
                theirs = self._taught(Batch(context.example))
        if len(ours.stages) != len(theirs.stages):
            remedy = (
                "name one of the student's depth"
                if self.network
                else "leave auxiliary out, and a network of the student's depth will stand between them"
            )
            raise LimbeckError(
                f"infoflow compares stage by stage, of which the student has {len(ours.stages)} and the "
                f"{who} {len(theirs.stages)}; {remedy}"
            )
        last = ours.stages[-1].flatten(1)
        is_embedding = last.shape == ours.embedding.shape and torch.equal(last, ours.embedding)
        self.count = len(ours.stages) - is_embedding

    def _build(self, context: Context) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network, self.points = (
                like_student(self.name, context, f'name one: {self.name}(auxiliary="my_models:make()")')
                if self.auxiliary is None
                else built(self.name, self.auxiliary, context, "network")
            )
        self.network = network.requires_grad_(True)
        self.dense = context.task.dense
        self._key: str | None = None
        if context.fingerprint is not None:
            from limbeck.models import fingerprint

            trained = f"lr {self.lr} start {self.start}"
            self._key = f"{trained} {fingerprint(network)} {self.points} of {context.fingerprint}"

    def _taught(self, batch: Batch, fields: Sequence[str] = FIELDS) -> Outputs:
        assert self.network is not None
        return outputs_of(self.network, self.points, batch, fields, positions=self.dense)

    def phases(self) -> Sequence[Phase]:
        """The auxiliary's training: "start", if it learns the labels first, and "auxiliary"."""
        if self.network is None:
            return []
        from limbeck.optimization import Adam, MultiStep

        following = Phase(
            name="auxiliary",
            trains=[self.network],
            loss=self._follow,
            reads=Reads(student=(), teacher=("embedding",)),
            epochs=self.epochs,
            optimizer=Adam(lr=self.lr),
            schedule=MultiStep(milestones=(self.epochs * 3 / 4,)),
            batch_size=128,
            seed=self.seed,
            cache=self._key and f"infoflow auxiliary epochs {self.epochs} {self._key}",
            freezes=True,
        )
        # A task that decides at positions tells their number by what the teacher gives.
        positions = ("embedding",) if self.dense else ()
        starting = replace(
            following,
            name="start",
            loss=self._start,
            reads=Reads(student=(), teacher=positions, batch=("targets",)),
            epochs=self.start,
            schedule=MultiStep(milestones=(self.start * 5 / 8,)),
            cache=self._key and f"infoflow start {self._key}",
            freezes=False,
        )
        return [starting, following] if self.start else [following]

    def _start(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        assert batch.targets is not None
        return cross_entropy(self._taught(batch, ()).logits, batch.targets)

    def _follow(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        from limbeck.methods.parts.draws import RELATED, draw_related

        auxiliary = self._taught(batch, ("embedding",))
        drawn = draw_related(batch, auxiliary, RELATED, self.seed)
        auxiliary, teacher, _ = related(auxiliary, teacher, drawn)
        return infoflow(gather(auxiliary.embedding), gather(teacher.embedding))

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """The terms; the auxiliary, if there is one, is in the teacher's place."""
        if self.network is not None:
            teacher = self._taught(batch)
        return super().terms(student, teacher, batch)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The two terms, over the batch of all processes; "last" alone where no stage is compared."""
        assert batch.progress is not None
        terms = {"last": Term(infoflow(gather(student.embedding), gather(teacher.embedding)))}
        layers = list(zip(student.stages, teacher.stages, strict=True))[: self.count]
        if layers:
            losses = [
                infoflow(
                    gather(without_padding(ours, valid(student, ours))),
                    gather(without_padding(theirs, valid(teacher, theirs))),
                )
                for ours, theirs in layers
            ]
            weight = self.initial * self.decay**batch.progress.epoch
            terms["stages"] = Term(torch.stack(losses).sum(), weight=weight, per="samples")
        return terms
