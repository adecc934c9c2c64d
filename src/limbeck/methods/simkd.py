"""Knowledge Distillation with the Reused Teacher Classifier. Chen et al., CVPR 2022, arXiv:2203.14001."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from torch import Tensor, nn

from limbeck.arguments import Count
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.fitnet import fitnet
from limbeck.methods.parts.blocks import Reduction
from limbeck.methods.parts.classifiers import classifier_of_teacher, grid_of_teacher
from limbeck.methods.parts.grafts import Graft, GraftedStudent, resized
from limbeck.methods.parts.shapes import stage_like
from limbeck.methods.parts.sides import pooled_side
from limbeck.methods.parts.stages import described, pooled_alike
from limbeck.outputs import Batch, Outputs


def simkd(student: Tensor, teacher: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Mean squared difference of the projected features and the teacher's (section 3).

        L = mean_i ||s_i - t_i||^2 / n,   n numbers in the features of a sample

    Args:
        student: (B, C, H, W) map or (B, C) embedding, as the projector gives it.
        teacher: the same, but for H and W; the larger of two maps is average-pooled to the smaller's size.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: for other shapes, and for different ones but for H and W.
    """
    stage_like("simkd", (2, 4), student=student, teacher=teacher)
    if student.ndim == teacher.ndim == 4:
        student, teacher = pooled_alike(student, teacher)
    return fitnet(student, teacher, reduction=reduction)


class SimKD(Method):
    """The student's last map follows the teacher's through a projector, and the teacher's classifier answers.

    There is no other loss. What is shipped, and measured while it trains, is the student with the projector
    and a frozen copy of the teacher's pooling and classifier. The student's own classifier is not trained and
    has no part in the answer, but is still there, and counted among the parameters.

    As in the authors' code the projector is three convolutions, 1x1, 3x3 and 1x1, each with batch norm (over
    the batch of all processes) and ReLU; the last ReLU is left out where the teacher's map is negative
    somewhere. At the embeddings, which is for networks without maps and for a teacher that does not average
    its last one for its classifier, it is one linear layer. A cache keeps the teacher's map at the smaller of
    the two sizes, where it is compared.

    Args:
        at: what is projected, "map" or "embedding".
        factor: how many times fewer channels the projector has inside than the teacher's map.
    """

    reads = Reads(student=("stages",), teacher=("stages", "embedding", "logits"))
    recipe = "simkd"
    rows = "classes"
    one_row_per_sample = True
    per = "samples"

    def __init__(self, at: Literal["map", "embedding"] = "map", factor: Count = 2) -> None:
        super().__init__()
        if at == "embedding":
            if "factor" in self.given:
                raise LimbeckError("simkd: factor is of the projector of maps; leave it out at embeddings")
            self.reads = Reads(student=("embedding",), teacher=("embedding", "logits"))
        self.at, self.factor = at, factor

    def bind(self, context: Context) -> None:
        """Copies the teacher's classifier and builds the projector.

        Raises:
            LimbeckError: for a teacher without a linear classifier of its embedding or, for maps, whose
                embedding is not its last stage averaged; for a student that is grafted already.
        """
        if isinstance(context.student_network, GraftedStudent):
            raise LimbeckError(
                "simkd: the student answers by another network's classifier already; give the network inside "
                "it, student.student, or train it with another objective"
            )
        assert context.teacher is not None
        self.classifier = classifier_of_teacher(self.name, context)
        size = grid = None
        relu = False
        if self.at == "embedding":
            point = context.student_points.embedding
            channels: tuple[int, ...] = context.student.embedding.shape[1], context.teacher.embedding.shape[1]
        else:
            point = context.student_points.stages[-1]
            ours, theirs = context.student.stages[-1], context.teacher.stages[-1]
            size, grid = self._sizes(context)
            self.sides = (pooled_side(context, (-1, -1)),)
            inside = max(theirs.shape[1] // self.factor, 1)
            channels = ours.shape[1], inside, inside, theirs.shape[1]
            relu = bool((theirs >= 0).all())
        assert point is not None
        self.graft = Graft(
            point=point,
            channels=channels,
            size=size,
            grid=grid,
            relu=relu,
            classes=self.classifier.out_features,
            bias=self.classifier.bias is not None,
        )
        self.projector = self.graft.projector()

    @staticmethod
    def _sizes(context: Context) -> tuple[tuple[int, int], tuple[int, int]]:
        """Of the maps that are compared, and of what the teacher averages its map to."""
        assert context.teacher is not None
        ours, theirs = context.student.stages[-1], context.teacher.stages[-1]
        stages = described(context, (-1, -1))
        if not ours.ndim == theirs.ndim == 4:
            raise LimbeckError(
                f"simkd projects maps (channels, height, width), not {stages}; write simkd(at='embedding')"
            )
        size = min(ours.shape[2], theirs.shape[2]), min(ours.shape[3], theirs.shape[3])
        grid = grid_of_teacher(context)
        if grid is None or grid[0] > size[0] or grid[1] > size[1]:
            raise LimbeckError(
                "simkd puts the student's last map in the place of the one that the teacher averages to its "
                f"embedding, of {context.teacher.embedding.shape[1]} numbers, and cannot with {stages}; name "
                "the right map as the teacher's last stage with teacher_features={'stages': [...]}, or write "
                "simkd(at='embedding')"
            )
        return size, grid

    @property
    def reads_in_training(self) -> Reads:
        """What is compared; the teacher's classifier is copied before."""
        field = "stages" if self.at == "map" else "embedding"
        return replace(self.reads, teacher=(field,))

    def deploy(self, student: nn.Module) -> nn.Module:
        """The student with the projector and the teacher's classifier; nothing is copied."""
        return GraftedStudent(student, self.graft, self.projector, self.classifier)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        if self.at == "embedding":
            return simkd(self.projector(student.embedding), teacher.embedding)
        ours = resized(student.stages[-1], self.graft.size)
        return simkd(self.projector(ours), self.sides[0].of(teacher, ours.shape[2:]))
