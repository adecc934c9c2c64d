"""Balance Divergence Distillation. Qi, Wang, Zhang, Liu & Zhang, 2025, arXiv:2501.07804. A reconstruction.

No code was published. Built from the abstract, which adds a reverse divergence to KD's, for the classes of
tiny probability that a forward one passes over, and balances the two by different temperatures. The form,
with a factor T^2 for each part, is that of a third party's use of it between feature maps. Temperatures and
weights for classification are not known; those here were chosen.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from limbeck.arguments import NonNegative, Positive
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, LossTerms, Reads
from limbeck.methods.kd import kd
from limbeck.methods.parts.maps import logit_maps, over_positions, resized_alike
from limbeck.methods.parts.shapes import same_logits
from limbeck.methods.terms import Term
from limbeck.outputs import Batch, Outputs


def bdd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float,
    reverse_temperature: float,
    weight: float = 1.0,
    reverse_weight: float = 1.0,
) -> Tensor:
    """Divergence in both directions, each with its own temperature and weight.

        weight T^2 KL(p_t || p_s) + reverse_weight R^2 KL(q_s || q_t)
        p = softmax(z / T),   q = softmax(z / R)

    A class for which the teacher has next to no probability adds next to nothing to the forward divergence
    whatever the student says of it; in the reverse one it counts by the student's probability. With the
    weights 1 and 0 it is `kd`.

    Args:
        student_logits: (B, C), C at least 2.
        teacher_logits: (B, C).
        temperature: T > 0, of the forward divergence.
        reverse_temperature: R > 0, of the reverse divergence.
        weight: factor of the forward divergence.
        reverse_weight: factor of the reverse divergence.
    Returns: scalar, the batch mean.
    Raises:
        LimbeckError: if the shapes differ or are no rows of at least 2 classes.
    """
    forward, reverse = directions(student_logits, teacher_logits, temperature, reverse_temperature)
    return weight * forward + reverse_weight * reverse


def directions(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float, reverse_temperature: float
) -> tuple[Tensor, Tensor]:
    """The forward and the reverse divergence, scalars times the squares of their temperatures."""
    same_logits("bdd", student_logits, teacher_logits)
    forward = kd(student_logits, teacher_logits, temperature)
    return forward, kd(teacher_logits, student_logits, reverse_temperature)


class BDD(Method):
    """KD's divergence of the student from the teacher, and beside it that of the teacher from the student.

    Its terms are "forward" and "reverse". At high temperatures the two are alike and both of KD's size, so
    the recipe gives each half of the weight that KD's recipe has. The lower temperature of the reverse one
    sets it apart from the forward one. Both temperatures and weights were chosen here, not by the paper.

    Args:
        temperature: divides both logits in the forward divergence.
        reverse_temperature: divides both logits in the reverse divergence.
        weight: factor of the forward divergence.
        reverse_weight: factor of the reverse divergence; the use between feature maps has 7, at equal
            temperatures of 4.
        over: what a distribution is over: the "classes" of a row, or the "positions" of an image, one for
            each class, as in `cwd`; the student's maps are then resized to the teacher's, bilinearly.
    """

    reads = Reads(student=("logits",), teacher=("logits",))
    recipe = "0.1*ce + 0.45*bdd"
    rows = "classes"
    row_wise = True

    def __init__(
        self,
        temperature: Positive = 4.0,
        reverse_temperature: Positive = 2.0,
        weight: NonNegative = 1.0,
        reverse_weight: NonNegative = 1.0,
        over: Literal["classes", "positions"] = "classes",
    ) -> None:
        super().__init__()
        self.over = over
        self.temperature, self.reverse_temperature = temperature, reverse_temperature
        self.weight, self.reverse_weight = weight, reverse_weight

    def bind(self, context: Context) -> None:
        """Looks for maps, where it is over positions.

        Raises:
            LimbeckError: for logits that are no maps.
        """
        if self.over == "positions":
            logit_maps(self.name, context)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The two terms."""
        ours, theirs, per = student.logits, teacher.logits, self.per
        if self.over == "positions":
            maps = resized_alike(student.maps, teacher.maps), teacher.maps
            ours, theirs = (over_positions(self.name, each) for each in maps)
            per = "samples"
        forward, reverse = directions(ours, theirs, self.temperature, self.reverse_temperature)
        return {
            "forward": Term(forward, weight=self.weight, per=per),
            "reverse": Term(reverse, weight=self.reverse_weight, per=per),
        }
