"""Knowledge Distillation via Softmax Regression Representation Learning. Yang et al., ICLR 2021."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, LossTerms, Reads
from limbeck.methods.fitnet import fitnet
from limbeck.methods.parts.blocks import Reduction
from limbeck.methods.parts.classifiers import classifier_of_teacher
from limbeck.methods.parts.regressors import projector
from limbeck.methods.parts.shapes import vectors
from limbeck.outputs import Batch, Outputs


def srrl(
    student: Tensor,
    teacher: Tensor,
    student_logits: Tensor,
    teacher_logits: Tensor,
    reduction: Reduction = "mean",
) -> Tensor:
    """Mean squared differences of embeddings and of what the teacher's classifier makes of them (section 3).

        L = mean_i ||s_i - t_i||^2 / D + mean_i ||z_s,i - z_t,i||^2 / C

    Both are means, as in the authors' code; that over the logits shrinks with classes that both networks give
    the same logits.

    Args:
        student: (B, D) embedding, as the connector gives it.
        teacher: (B, D) embedding.
        student_logits: (B, C) of the teacher's classifier for the connected embedding.
        teacher_logits: (B, C).
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: for different or other shapes.
    """
    vectors("srrl", student=student, teacher=teacher)
    vectors("srrl", student_logits=student_logits, teacher_logits=teacher_logits)
    matching = fitnet(student, teacher, reduction=reduction)
    return matching + fitnet(student_logits, teacher_logits, reduction=reduction)


class SRRL(Method):
    """The student's features match the teacher's embedding by a connector, and the logits made of it.

    The connector is a 1x1 convolution with batch norm (over the batch of all processes) and ReLU, which is
    left out where the teacher's embedding is negative somewhere. As in the authors' code it takes the
    student's last map and is followed by the mean over positions; later implementations connect the
    embedding, which also fits networks without maps. The classifier is a frozen copy. The terms are
    "embedding" and "logits".

    Args:
        at: what is connected, the student's last "map" or its "embedding".
    """

    reads = Reads(student=("stages",), teacher=("embedding", "logits"))
    recipe = "ce + srrl"
    rows = "classes"
    one_row_per_sample = True
    per = "samples"
    min_samples = 2

    def __init__(self, at: Literal["map", "embedding"] = "map") -> None:
        super().__init__()
        self.at = at
        if at == "embedding":
            self.reads = Reads(student=("embedding",), teacher=("embedding", "logits"))

    def bind(self, context: Context) -> None:
        """Builds the connector and copies the teacher's classifier.

        Raises:
            LimbeckError: for a student whose last stage is no map, and a teacher that is not a network with a
                linear classifier of its embedding.
        """
        assert context.teacher is not None
        features, embedding = self._features(context.student), context.teacher.embedding
        if features.ndim != 4:
            raise LimbeckError(
                "srrl connects the student's last map (channels, height, width), and its last stage is "
                f"{tuple(features.shape[1:])}; write srrl(at='embedding')"
            )
        channels = [features.shape[1], embedding.shape[1]]
        self.connector = projector(channels, [1], relu=bool((embedding >= 0).all()))
        nn.init.kaiming_normal_(self.connector.get_parameter("0.weight"), mode="fan_out")
        self.classifier = classifier_of_teacher(self.name, context)

    def _features(self, student: Outputs) -> Tensor:
        return student.stages[-1] if self.at == "map" else student.embedding[:, :, None, None]

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The two terms."""
        connected = self.connector(self._features(student)).mean((2, 3))
        return {
            "embedding": fitnet(connected, teacher.embedding),
            "logits": fitnet(self.classifier(connected), teacher.logits),
        }
