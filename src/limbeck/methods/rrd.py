"""Relational Representation Distillation. Giakoumoglou & Stathaki, 2024, arXiv:2407.12073.

As in the authors' code with a first-in-first-out memory, giakoumoglou/distillers.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.arguments import Count, Positive
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, gather, reduce, unit
from limbeck.methods.parts.memories import Queue
from limbeck.methods.parts.shapes import same_samples, vectors
from limbeck.outputs import Batch, Outputs


def rrd(
    student: Tensor,
    teacher: Tensor,
    keys: Tensor,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.02,
    valid: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy of two softmaxes over the same keys, the teacher's p and the student's q.

        p_i = softmax over k of cos(teacher_i, key_k) / T_t
        q_i = softmax over k of cos(student_i, key_k) / T_s
        L   = -mean_i sum_k p_ik log q_ik

    Args:
        student: (B, D) projected embeddings, normalized here.
        teacher: (B, D) the same of the teacher; gets no gradient.
        keys: (K, D) vectors of length 1, the teacher's of earlier samples and, as the paper has it, of these.
        student_temperature: T_s > 0.
        teacher_temperature: T_t > 0.
        valid: (K,) true where a key counts; all do without it.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: for different numbers of samples and for other shapes.
    """
    vectors("rrd", student=student, teacher=teacher, keys=keys)
    same_samples("rrd", student, teacher)
    keys = full_precision(keys)
    ours, theirs = (
        unit(full_precision(vectors)) @ keys.T / temperature
        for vectors, temperature in ((student, student_temperature), (teacher.detach(), teacher_temperature))
    )
    if valid is not None:
        ours, theirs = ours.masked_fill(~valid, -math.inf), theirs.masked_fill(~valid, -math.inf)
    log_q = F.log_softmax(ours, dim=1)
    if valid is not None:
        log_q = log_q.masked_fill(~valid, 0)  # where p is 0
    return reduce(-(theirs.softmax(1) * log_q).sum(1), reduction)


class RRD(Method):
    """Similarities of a sample to a queue of earlier ones match the teacher's.

    The earlier ones are the teacher's vectors in a queue. Those of the batch, of all processes, enter it
    first, so each sample's own is among its keys; until the queue is full, only what has entered counts. As
    in the authors' code the teacher's projector is a random one that is never trained; the student's is
    trained. With KD beside it: `ce + kd + rrd`.

    On the temperatures the sources disagree. The paper's abstract has the student sharper, and so had the
    authors' code at first, 0.04 against 0.1, with the batch entering last. Since it enters first, the code
    has 0.1 for the student and 0.02 for the teacher, on CIFAR-100 and on ImageNet; these are the defaults.
    With the student sharper, the loss is least where its similarities spread less than the teacher's.

    Args:
        student_temperature: T_s.
        teacher_temperature: T_t.
        size: size of the queue; at least the batch.
        dim: size of the space that embeddings are projected to.
    """

    reads = Reads(student=("embedding",), teacher=("embedding",))
    recipe = "ce + rrd"
    relates = True

    def __init__(
        self,
        student_temperature: Positive = 0.1,
        teacher_temperature: Positive = 0.02,
        size: Count = 16384,
        dim: Count = 128,
    ) -> None:
        super().__init__()
        self.student_temperature, self.teacher_temperature = student_temperature, teacher_temperature
        self.size, self.dim = size, dim

    def bind(self, context: Context) -> None:
        """Builds the projectors and the queue."""
        assert context.teacher is not None
        self.project_student = nn.Linear(context.student.embedding.shape[1], self.dim)
        self.project_teacher = nn.Linear(context.teacher.embedding.shape[1], self.dim).requires_grad_(False)
        self.queue = Queue(self.size, self.dim)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar; in training mode the queue takes the batch in.

        Raises:
            LimbeckError: for a batch that is larger than the queue.
        """
        theirs = unit(self.project_teacher(teacher.embedding))
        everyone = gather(theirs)
        if len(everyone) > self.size:
            raise LimbeckError(
                f"rrd: a batch of {len(everyone)} does not fit into a queue of {self.size}, where each "
                f"sample should find its own teacher vector; write rrd(size={len(everyone)}) or more"
            )
        keys, filled = self.queue.push(everyone, keep=self.training)
        return rrd(
            self.project_student(student.embedding),
            theirs,
            keys,
            self.student_temperature,
            self.teacher_temperature,
            filled,
        )
