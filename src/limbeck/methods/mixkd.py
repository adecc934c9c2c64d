"""MixKD. Liang et al., ICLR 2021, arXiv:2011.00593. Partly a reconstruction: no code was published.

The paper states the three terms, of which the first is `ce`: the student learns the labels, the mixed labels
of mixed texts, and what the teacher says of these; texts are mixed in their word embeddings. That one text
goes on alone where the other has ended, that a pair is drawn for each sample, and with a share of its own,
were chosen here. The constants are recalled and not verified.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, TypeAlias

import torch
from torch import Tensor

from limbeck.arguments import Limits, NonNegative, Positive
from limbeck.errors import LimbeckError
from limbeck.features import call, undisturbed
from limbeck.hashing import mix
from limbeck.methods.base import Method
from limbeck.methods.ce import cross_entropy
from limbeck.methods.declarations import Context, LossTerms, Networks, Reads
from limbeck.methods.kd import kd
from limbeck.methods.parts.blocks import Reduction, full_precision, gather, places, reduce
from limbeck.methods.parts.mixing import beta, mixed, partners_of
from limbeck.methods.parts.shapes import same_logits, word
from limbeck.methods.terms import Term
from limbeck.outputs import Batch, Inputs, Outputs, apply, size_of

Distance: TypeAlias = Literal["mse", "kd"]


def mixkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    distance: Distance = "mse",
    temperature: float = 1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """How far the student's answers to mixed samples are from the teacher's (the teacher mixup loss).

    Args:
        student_logits: (B, C) answers to the mixtures, C at least 2.
        teacher_logits: (B, C).
        distance: "mse", the mean squared difference of the logits over samples and classes; or "kd",
            T^2 KL(softmax(z_t / T) || softmax(z_s / T)).
        temperature: T > 0 of the latter.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: if the shapes differ or are no rows of at least 2 classes.
    """
    word("mixkd", "distance", distance, Distance)
    same_logits("mixkd", student_logits, teacher_logits)
    if distance == "kd":
        return kd(student_logits, teacher_logits, temperature, reduction)
    difference = full_precision(student_logits) - full_precision(teacher_logits)
    return reduce(difference.square().mean(1), reduction)


class MixKD(Method):
    """The student also learns mixtures of two samples: from their two labels, and from the teacher.

    Of texts the word embeddings are mixed, each network's own, with the same pair and the same shares; so a
    teacher may have another tokenizer. Positions, types of tokens and the rest of the network are as ever.
    Networks that read floats, such as images, are shown mixtures of these. A text that is longer than the
    other goes on with its share of the embedding, and the mask of a mixture is the union of both.

        teacher_mixup:  d(z_t(mixture), z_s(mixture))
        student_mixup:  s CE(z_s(mixture), y_i) + (1 - s) CE(z_s(mixture), y_j)

    Each sample i has a partner j, drawn from the batch of all processes, or of one piece where gradients are
    accumulated, and a share s, which is of Beta(alpha, alpha). The draws are a function of the run's seed and
    the step. The terms are "teacher_mixup" and "student_mixup"; a missing label counts for nothing. Both
    networks see each batch twice, the student in forwards of their own. A cache answers for the samples as
    they are; of mixtures the teacher is asked live.

    Args:
        alpha: parameter of the Beta distribution, at most 1.
        teacher_mixup: weight of the distance from the teacher; with 0 no teacher is asked.
        student_mixup: weight of the cross-entropy with both labels; with 0 no labels are read.
        distance: "mse" of the logits, or "kd", the divergence of the softened probabilities.
        temperature: of the divergence, with distance="kd" alone.
        share: whether each "sample" has a share of its own, or all of a "batch" have one.
    """

    fits_labels = True
    reads = Reads(teacher=("logits",), batch=("targets", "progress"))
    recipe = "ce + mixkd"
    rows = "classes"
    one_row_per_sample = True

    def __init__(
        self,
        alpha: Annotated[float, Limits(gt=0, le=1)] = 0.4,
        *,
        teacher_mixup: NonNegative = 1.0,
        student_mixup: NonNegative = 1.0,
        distance: Distance = "mse",
        temperature: Positive = 1.0,
        share: Literal["sample", "batch"] = "sample",
    ) -> None:
        super().__init__()
        if distance == "mse" and "temperature" in self.given:
            raise LimbeckError(
                'mixkd: the distance "mse" has no temperature; leave it out, or write distance="kd"'
            )
        if not teacher_mixup and not student_mixup:
            raise LimbeckError(
                "mixkd: with teacher_mixup=0 and student_mixup=0 nothing is left; give one a weight"
            )
        self.alpha, self.share = alpha, share
        self.teacher_mixup, self.student_mixup = teacher_mixup, student_mixup
        self.measure = distance, temperature
        self.view = "mixture" if self.teacher_name is None else f"mixture_{self.teacher_name}"
        self.reads = replace(
            self.reads,
            teacher=("logits",) if teacher_mixup else (),
            batch=("targets", "progress") if student_mixup else ("progress",),
            makes=(self.view,),
            makes_for_each=(self.view,),
        )
        self.unlabeled = bool(teacher_mixup)

    def bind(self, context: Context) -> None:
        """Tries whether the networks can be shown mixtures, and draws a seed.

        Raises:
            LimbeckError: for inputs that cannot be mixed, and for a network without an embedding of tokens.
        """
        self.draws: Tensor
        self.register_buffer("draws", torch.randint(2**62, ()))
        asked = [(context.student_network, context.example)]
        if self.teacher_mixup and context.teacher_network is not None and context.teacher_example is not None:
            asked.append((context.teacher_network, context.teacher_example))
        for network, example in asked:
            shares = torch.full((size_of(example),), 0.75, device=context.student.logits.device)
            made = mixed(example, apply(lambda tensor: tensor.flip(0), example), shares)
            with undisturbed(network, example), torch.no_grad():
                call(network, made)

    def collect(self, batch: Batch, networks: Networks) -> Batch:
        """The batch with the mixtures as a further view, made for each network of what it reads."""
        partners, shares = self._pairs(batch)

        def mixture(inputs: Inputs) -> Inputs:
            return mixed(inputs, partners_of(inputs, partners), shares)

        theirs = {
            name: {**batch.teacher_views.get(name, {}), self.view: mixture(inputs)}
            for name, inputs in batch.teacher_inputs.items()
        }
        return replace(
            batch,
            views={**batch.views, self.view: mixture(batch.inputs)},
            teacher_views={**batch.teacher_views, **theirs},
        )

    def _pairs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B,) the partner of each sample in the batch of all processes, and (B,) the sample's own share."""
        assert batch.progress is not None
        step, device = batch.progress.step, self.draws.device
        everyone = torch.arange(len(gather(torch.zeros(len(batch), device=device))), device=device)
        own = places(len(batch), device)
        numbers = everyone[own.start : own.stop]
        partners = mix(self.draws, step, -1, everyone).argsort()[numbers]
        return partners, beta(
            self.alpha, self.draws, step, numbers if self.share == "sample" else 0 * numbers
        )

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The terms that have a weight."""
        ours = student.views[self.view].logits
        terms = {}
        if self.teacher_mixup:
            value = mixkd(ours, teacher.views[self.view].logits, *self.measure)
            terms["teacher_mixup"] = Term(value, weight=self.teacher_mixup)
        if self.student_mixup:
            assert batch.targets is not None
            partners, shares = self._pairs(batch)
            labels = torch.stack([batch.targets, gather(batch.targets)[partners]])
            each = torch.stack([cross_entropy(ours, some, reduction="none") for some in labels])
            both = shares * each[0] + (1 - shares) * each[1]
            terms["student_mixup"] = Term(both.mean(), "task", self.student_mixup)
        return terms
