"""Interactive KD. Liu, Sun, Qiu & Huang, 2021, arXiv:2109.04641. A reconstruction: no code was published.

Built from the abstract of "Learning to Teach with Student Feedback". It states that a course step optimizes
the student with the teacher's soft targets, that an exam step optimizes the teacher with the student's
feedback, and that the two alternate. That the feedback is the gradient of the student's exam through its
course, the data of the exam, all constants and the teacher's optimizer were chosen here. The gradient in
closed form was derived here; MetaDistil (Zhou, Xu & McAuley, arXiv:2106.04570), which restores the student
after the exam and repeats the course with the better teacher, is not here: there is one backward in a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import torch
from torch import Tensor

from limbeck.arguments import Limits, Positive, Share
from limbeck.methods.base import Method
from limbeck.methods.ce import cross_entropy
from limbeck.methods.declarations import Claim, Context, LossTerms, Reads
from limbeck.methods.kd import kd
from limbeck.methods.parts.blocks import gather, places, processes
from limbeck.methods.parts.companions import check_no_schedule, copied_teacher, outputs_of
from limbeck.methods.parts.shapes import same_logits
from limbeck.methods.parts.virtual import Virtual, Weights, gradient, moved
from limbeck.methods.terms import Term
from limbeck.outputs import Batch, Outputs, apply


def exam_gradient(teacher_logits: Tensor, slopes: Tensor, scale: float, temperature: float) -> Tensor:
    """The gradient of an exam's loss by the logits that taught the student before it.

        dL/dz_t = p (v - <p, v>) / T,   v = scale r,   p = softmax(z_t / T)

    r is by how much log softmax(z_s / T) of the sample changes as the student's weights move along the
    gradient g that the exam has after the course, to first order. A course that is one step of SGD of size e
    on a mean over n samples, with the weight a of T^2 KL(p || softmax(z_s / T)), has scale = a e T^2 / n, and
    this is exact for it.

    Args:
        teacher_logits: (n, C) logits z_t of the samples of the course, C at least 2.
        slopes: (n, C) r.
        scale: a e T^2 / n.
        temperature: T > 0.
    Returns: (n, C), with the sum 0 over the classes of a sample.
    Raises:
        LimbeckError: if the shapes differ or are no rows of at least 2 classes.
    """
    same_logits("exam_gradient", slopes, teacher_logits)
    shares, values = (teacher_logits / temperature).softmax(1), scale * slopes
    return shares * (values - (shares * values).sum(1, keepdim=True)) / temperature


class IKD(Method):
    """The student learns from a copy of the teacher that learns, in turn, to teach this student.

    The copy belongs to the method; the teacher that is given stays as it is and is not run in training. Each
    step has both of the paper's steps. The course: the student follows the copy's soft targets, the term
    "kd". The exam: part of the batch is held out, one step of SGD is taken for a virtual student on the rest,
    and the cross-entropy of that student on the part that it has not seen, the term "exam", is what the copy
    learns from. Its gradient reaches the copy through the soft targets of the course alone.

        course:  w' = w - step dL/dw
                 L = alpha T^2 KL(p_copy || p_w) + (1 - alpha) CE(p_w, y)
        exam:    the copy descends on CE(p_w', y) of the samples held out

    No graph of second order is needed: how the student's answers change along the exam's gradient is a
    central difference. A step costs, beside `kd`, three forwards and a backward of the student on the course,
    a forward and a backward on the exam, and a backward of the teacher. The virtual student is in the
    student's own mode, and the copy in eval mode. Samples held out are spread evenly over the batch, that of
    all processes, or of one piece where gradients are accumulated.

    Args:
        temperature: T.
        alpha: weight of the divergence in the virtual course; what the real one has is the objective's.
        step: size of the virtual step. The copy's gradient is proportional to it.
        lr: learning rate of the copy, whose optimizer is Adam; MetaDistil's for a BERT unless given. Small
            networks bear ten times that.
        exam: share of a batch that is held out, at least one sample, and at most all but one.
        gradient: "exact" takes the exam's gradient after the virtual step; "first_order" takes it before, to
            first order in the size of the step, which spares a forward and a backward of the student.
    """

    reads = Reads(student=("logits",), teacher=("logits",), batch=("targets",))
    recipe = "0.5*ce + 0.5*ikd"
    rows = "classes"
    one_row_per_sample = True
    unlabeled = True
    min_samples = 2

    def __init__(
        self,
        temperature: Positive = 4.0,
        *,
        alpha: Share = 0.5,
        step: Positive = 0.05,
        lr: Positive = 1e-5,
        exam: Annotated[float, Limits(gt=0, lt=1)] = 0.5,
        gradient: Literal["exact", "first_order"] = "exact",
    ) -> None:
        super().__init__()
        self.temperature, self.alpha, self.step, self.lr = temperature, alpha, step, lr
        self.exam, self.exact = exam, gradient == "exact"

    @property
    def reads_in_training(self) -> Reads:
        """Nothing of the teacher, in whose place the copy runs."""
        return replace(self.reads, teacher=())

    def bind(self, context: Context) -> None:
        """Copies the teacher.

        Raises:
            LimbeckError: for a teacher without a network, and for a schedule of checkpoints.
        """
        check_no_schedule("ikd has a copy of one teacher learn along", context)
        self.tutor, self.points = copied_teacher(self.name, context)
        self._copied = context.teacher_name
        self._student = (
            context.student_network,
            context.student_points,
        )  # in a tuple: it is no part of this module

    def claims(self) -> Sequence[Claim]:
        """The copy."""
        from limbeck.optimization import Adam

        return [Claim(self.tutor, Adam(lr=self.lr))]

    def train(self, mode: bool = True) -> IKD:
        """Sets the mode; that of the copy is always eval."""
        super().train(mode)
        if hasattr(self, "tutor"):
            self.tutor.eval()
        return self

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The student's term and the copy's, whose value is the exam's and whose gradient the feedback."""
        taught = outputs_of(self.tutor, self.points, batch, teacher=self._copied).logits
        with torch.enable_grad():
            feedback, failed = self._examined(taught.detach(), batch)
        learned = (feedback * taught).sum()
        return {
            "kd": kd(student.logits, taught.detach(), self.temperature),
            "exam": Term(failed + learned - learned.detach(), "own"),
        }

    def _examined(self, taught: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, C) gradient of the exam by the logits that taught, and the cross-entropy in the exam."""
        assert batch.targets is not None
        targets, virtual = batch.targets, Virtual(*self._student)
        held, counts = self._held_out(len(batch), taught.device)
        course, exam = (places.nonzero().flatten() for places in (~held, held))

        def answers(chosen: Tensor, weights: Weights) -> Tensor:
            if not len(chosen):
                return torch.zeros_like(taught[:0])
            return virtual.logits(apply(lambda tensor: tensor[chosen], batch.inputs), weights)

        def mean(losses: Tensor, count: int) -> Tensor:
            """What has the mean over the samples of all processes for its mean over the processes."""
            return losses.sum() * (processes() / count)

        weights = own = virtual.weights()
        if self.exact:
            logits = answers(course, weights)
            divergence = kd(logits, taught[course], self.temperature, "none")
            entropy = cross_entropy(logits, targets[course], reduction="none")
            loss = mean(self.alpha * divergence + (1 - self.alpha) * entropy, counts[0])
            weights = moved(weights, gradient(loss, weights), -self.step)
        failed = mean(cross_entropy(answers(exam, weights), targets[exam], reduction="none"), counts[1])
        direction = gradient(failed, weights)
        length = torch.stack([each.norm() for each in direction.values()]).norm()
        tiny = torch.finfo(length.dtype)
        distance = tiny.eps ** (1 / 3) / length.clamp_min(tiny.tiny)
        with torch.no_grad():
            ahead, behind = (
                (answers(course, moved(own, direction, side * distance)) / self.temperature).log_softmax(1)
                for side in (1, -1)
            )
        scale = self.alpha * self.step * self.temperature**2 / counts[0] * processes()
        found = exam_gradient(taught[course], (ahead - behind) / (2 * distance), scale, self.temperature)
        return torch.zeros_like(taught).index_copy(0, course, found), failed.detach()

    def _held_out(self, own: int, device: torch.device) -> tuple[Tensor, tuple[int, int]]:
        """(B,) bool, the samples of this process in the exam; and how many all have in course and exam."""
        every = len(gather(torch.zeros(own, device=device)))
        count = min(max(round(self.exam * every), 1), every - 1)
        passed = torch.arange(every + 1, device=device) * count // every
        held = passed.diff() > 0
        mine = places(own, device)
        return held[mine.start : mine.stop], (every - count, count)
