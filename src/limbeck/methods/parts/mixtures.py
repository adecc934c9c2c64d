"""Wrappers that exchange the samples of a batch for mixtures of two, and their labels for those of both."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.methods.base import Method, Objective, inner_first
from limbeck.methods.declarations import Context, LossTerms, Networks, Reads
from limbeck.methods.parts.mixing import partners
from limbeck.outputs import Batch, Outputs


class Mixtures(Method):
    """What mixup and CutMix have in common.

    A batch has one share s, and each sample i a partner j, drawn from the batch of all processes, or of one
    piece where gradients are accumulated. The draws are a function of the run's seed and the step. Both
    networks see the mixtures in the place of the samples. A term that reads labels is
    s L(y_i) + (1 - s) L(y_j), which for cross-entropy is that with the soft target s y_i + (1 - s) y_j.
    A distiller in eval mode mixes nothing.
    """

    rows = "classes"
    one_row_per_sample = True
    exchanges = True
    reads = Reads(student=(), batch=("progress",))

    draws: Tensor

    def __init__(self, base: Method, alpha: float) -> None:
        super().__init__()
        self.base = base if isinstance(base, Objective) else Objective([(1.0, base)])
        self.alpha = alpha
        for method in inner_first(base):
            reads = method.reads_in_training
            if "index" in reads.batch or reads.further or type(method).collect is not Method.collect:
                raise LimbeckError(
                    f"{self.name} shows mixtures of samples, and {method.name} keeps something for each "
                    "sample or makes inputs of its own; use methods that compare outputs for what both "
                    "networks see, such as ce and kd"
                )
        self._labeled = [
            label
            for label, (_, method) in zip(self.base.labels, self.base.summands, strict=True)
            if any("targets" in part.reads_in_training.batch for part in inner_first(method))
        ]

    def bind(self, context: Context) -> None:
        """Draws a seed.

        Raises:
            LimbeckError: for inputs that cannot be mixed, and for a teacher with a cache.
        """
        self.register_buffer("draws", torch.randint(2**62, ()))
        self.check(context.example)
        for name, teacher in context.teachers.items():
            if teacher.cached:
                whose = "the teacher" if len(context.teachers) == 1 else f"the teacher {name!r}"
                raise LimbeckError(
                    f"{self.name} shows {whose} mixtures of samples, for which a cache has no answers; leave "
                    "out cache_teacher (--cache-teacher)"
                )

    @abstractmethod
    def check(self, example: object) -> None:
        """Refuses inputs that cannot be mixed."""

    @abstractmethod
    def mixed(self, inputs: Tensor, others: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """(B, ...) the mixtures at a step, and () the share of the first ones in them."""

    def collect(self, batch: Batch, networks: Networks) -> Batch:
        """The batch with mixtures in the place of its samples."""
        if not self.training:
            return batch
        if batch.teacher_inputs:
            raise LimbeckError(
                f"{self.name} mixes what the student reads, and {next(iter(batch.teacher_inputs))} reads "
                "another preparation of it; give both networks one size"
            )
        assert isinstance(batch.inputs, Tensor)
        step = self._step(batch)
        others = partners(batch.inputs, self.draws, step)
        return replace(batch, inputs=self.mixed(batch.inputs, others, step)[0], view=None)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The terms of what is wrapped."""
        terms = self.base.terms(student, teacher, batch)
        if not self.training or batch.targets is None or not self._labeled:
            return terms
        step = self._step(batch)
        assert isinstance(batch.inputs, Tensor)
        _, share = self.mixed(batch.inputs, batch.inputs, step)
        theirs = replace(
            batch,
            targets=partners(batch.targets, self.draws, step),
            weights=None if batch.weights is None else partners(batch.weights, self.draws, step),
        )
        for name, term in self.base.terms_of(self._labeled, student, teacher, theirs).items():
            ours, weight = terms[name].value, share.to(term.value)
            terms[name] = replace(term, value=weight * ours + (1 - weight) * term.value)
        return terms

    def _step(self, batch: Batch) -> int:
        assert batch.progress is not None
        return batch.progress.step
