"""Student-Friendly Teacher Networks. A reconstruction: no code was published.

Park, Cha, Jeong, Kim & Han, NeurIPS 2021, arXiv:2102.07650. The paper's are branches of student blocks on the
blocks of the teacher, trained with it by the labels and a divergence. Recalled and not verified are the
direction and the temperature of the divergence and the weights 3 and 1, all arguments here. The adapters are
those of `fitnet` by choice, and so are the stages paired by their share of the depth, another argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from limbeck.arguments import NonNegative, Positive
from limbeck.errors import LimbeckError
from limbeck.features import Entered, Tap, undisturbed
from limbeck.methods.base import Method
from limbeck.methods.ce import cross_entropy
from limbeck.methods.declarations import Context, LossTerms, Reads
from limbeck.methods.kd import kd
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.companions import built
from limbeck.methods.parts.regressors import regressor
from limbeck.methods.parts.shapes import same_logits, word
from limbeck.methods.parts.stages import Pairs, at_same_depth, described, stage_pairs
from limbeck.methods.terms import Term
from limbeck.notation import show
from limbeck.outputs import Batch, Outputs, apply

Direction: TypeAlias = Literal["branch", "teacher"]


def student_friendly(
    branches: Sequence[Tensor],
    teacher_logits: Tensor,
    targets: Tensor,
    kl: float = 3.0,
    ce: float = 1.0,
    temperature: float = 1.0,
    direction: Direction = "branch",
    reduction: Reduction = "mean",
) -> Tensor:
    """What the branches of student blocks add to the teacher's own loss, a mean over the branches i.

        kl T^2 KL(softmax(q_i / T) || softmax(z / T)) + ce CE(q_i, y)

    The gradient flows into both arguments of the divergence: the teacher learns to be followed.

    Args:
        branches: (B, C) logits q_i of each branch, C at least 2.
        teacher_logits: (B, C) logits z of the teacher that is trained.
        targets: (B,) int64 class ids; a sample without a label (`UNLABELED`) counts for the divergence alone.
        kl: weight of the divergence.
        ce: weight of the cross-entropy.
        temperature: T > 0, divides the logits in the divergence; T^2 keeps the gradient's scale.
        direction: whose distribution comes first in the divergence, the "branch"'s or the "teacher"'s.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: without a branch, if the logits differ in shape or are no rows of at least 2 classes,
            and for targets of another number or dtype.
    """
    word("student_friendly", "direction", direction, Direction)
    divergence = branch_divergence(branches, teacher_logits, temperature, direction)
    return reduce(kl * divergence + ce * branch_entropy(branches, targets), reduction)


def branch_divergence(
    branches: Sequence[Tensor], teacher_logits: Tensor, temperature: float, direction: Direction
) -> Tensor:
    """(B,) mean divergence between the branches and the teacher."""
    if not branches:
        raise LimbeckError("student_friendly needs the logits of at least one branch")
    divergences = []
    for logits in branches:
        same_logits("student_friendly", logits, teacher_logits)
        pair = (teacher_logits, logits) if direction == "branch" else (logits, teacher_logits)
        divergences.append(kd(*pair, temperature, reduction="none"))
    return torch.stack(divergences).mean(0)


def branch_entropy(branches: Sequence[Tensor], targets: Tensor) -> Tensor:
    """(B,) mean cross-entropy of the branches with the labels."""
    return torch.stack([cross_entropy(logits, targets, reduction="none") for logits in branches]).mean(0)


class Branch(nn.Module):
    """An adapter from a stage of the teacher to be, and the student's blocks behind one of its own."""

    def __init__(self, adapter: nn.Module, rest: Entered) -> None:
        super().__init__()
        self.adapter, self.rest = adapter, rest

    def forward(self, stage: Tensor, batch: Batch) -> Tensor:
        """The branch's logits as rows."""
        from limbeck.tasks.rows import rows_of

        logits = self.rest(self.adapter(stage), apply(full_precision, batch.inputs))
        return rows_of(batch).logits(full_precision(logits))


class SFTN(Method):
    """Trains a teacher that a given student will follow easily; any method then distills from it.

    The network that is trained is the teacher to be. Each of its stages feeds a branch: an adapter, a
    convolution with batch norm (over the batch of all processes), then a copy of the student's blocks behind
    the stage at the same share of its depth, and its head; behind the last stage there is the head alone. The
    branches learn the labels, and they and the teacher are drawn to each other's output. The teacher ships
    without them. Of the student only the architecture counts: all branches start from the same fresh weights.

    Args:
        student: name of the student to come, in `limbeck models`, with its arguments if it has any; or
            module:factory(...).
        kl: weight of the divergence.
        ce: weight of the branches' cross-entropy.
        temperature: divides the logits in the divergence; T^2 is its factor.
        direction: whose distribution comes first in the divergence, the "branch"'s or the "teacher"'s.
        pairs: [student's, teacher's] stages, counted from 0, one pair for each branch; unless given, every
            stage of the teacher with the student's at the same share of the depth.
    """

    fits_labels = True
    reads = Reads(student=("logits", "stages"), batch=("targets",))
    recipe = 'ce + sftn(student="resnet8")'
    rows = "classes"

    def __init__(
        self,
        student: str,
        kl: NonNegative = 3.0,
        ce: NonNegative = 1.0,
        temperature: Positive = 1.0,
        direction: Direction = "branch",
        pairs: Pairs | None = None,
    ) -> None:
        super().__init__()
        self.student, self.pairs = student, pairs
        self.kl, self.ce = kl, ce
        self.temperature, self.direction = temperature, direction

    def bind(self, context: Context) -> None:
        """Builds the branches; the student's weights are drawn from torch's global generator.

        Raises:
            LimbeckError: for a student that cannot be built or has other outputs, whose blocks cannot be
                entered, or whose stages an adapter does not reach.
        """
        student, points = built(self.name, self.student, context, "student")
        whose = f"{self.name}: the student {self.student!r}"
        if not points.stages:
            raise LimbeckError(
                f"{whose} has no stages whose blocks a branch could copy; name them in feature_points() of "
                "its class"
            )
        with undisturbed(student, context.example), torch.no_grad():
            stages = Tap(student, points, ["stages"])(context.example).stages
        to_come = replace(context, student=Outputs(stages=stages), teacher=context.student)
        count = len(context.student.stages)
        by_depth = [(ours, place) for place, ours in enumerate(at_same_depth(count, len(stages)))]
        self.places = stage_pairs(self.name, to_come, self.pairs or by_depth)
        self.branches = nn.ModuleList()
        for pair in self.places:
            wanted, given = full_precision(stages[pair[0]]), context.student.stages[pair[1]]
            adapter = regressor(given, wanted, relu=bool((wanted >= 0).all()))
            if adapter is None:
                raise LimbeckError(
                    f"sftn has no adapter between {described(to_come, pair)}: it brings a map to one that is "
                    "smaller or twice as large, a vector to a vector, and a sequence to one as long; name "
                    "others with sftn(..., pairs=[[student's, teacher's], ...])"
                )
            self.branches.append(Branch(adapter, Entered(student, points, pair[0], context.example, whose)))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The two terms: "kl" between the branches and the teacher to be, "ce" of the branches."""
        assert batch.targets is not None
        branches = [
            branch(student.stages[theirs], batch)
            for branch, (_, theirs) in zip(self.branches, self.places, strict=True)
        ]
        divergence = branch_divergence(branches, student.logits, self.temperature, self.direction)
        return {
            "kl": Term(divergence.mean(), weight=self.kl),
            "ce": Term(branch_entropy(branches, batch.targets).mean(), "task", weight=self.ce),
        }


def friendly_to(student: str) -> str:
    """The objective that trains a teacher for a student."""
    return f"ce + sftn(student={show(student)})"
