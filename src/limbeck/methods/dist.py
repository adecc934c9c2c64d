"""Knowledge Distillation from A Stronger Teacher. Huang et al., NeurIPS 2022, arXiv:2205.10536."""

from __future__ import annotations

from torch import Tensor

from limbeck.arguments import NonNegative, Positive
from limbeck.methods.base import Method
from limbeck.methods.declarations import LossTerms, Reads
from limbeck.methods.parts.blocks import centered, full_precision, gather
from limbeck.methods.parts.shapes import same_logits
from limbeck.methods.terms import Term
from limbeck.outputs import Batch, Outputs

EPSILON = 1e-8
"""Added to the product of the norms, as in the released code."""


def dist(
    student_logits: Tensor,
    teacher_logits: Tensor,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float = 1.0,
) -> Tensor:
    """Correlation with the teacher in place of a match, T^2 (beta inter + gamma intra) (section 4).

        inter = 1 - mean over samples of r(p_s, p_t) across the classes
        intra = 1 - mean over classes of r(p_s, p_t) across the samples
        r(a, b) = <a - mean a, b - mean b> / (|a - mean a| |b - mean b| + 1e-8),   p = softmax(z / T)

    The 1e-8 is the released code's. It makes a class that no sample has a probability for correlate with
    nothing, so that `intra` is above zero even between equal networks. Rows and columns that are constant, up
    to rounding, correlate with nothing and get no gradient.

    Args:
        student_logits: (B, C), C at least 2.
        teacher_logits: (B, C).
        beta: weight of the relation between the classes of a sample.
        gamma: weight of the relation between the samples of the batch within a class.
        temperature: T > 0, divides both logits.
    Returns: scalar.
    Raises:
        LimbeckError: if the shapes differ or are no rows of at least 2 classes.
    """
    inter, intra = relations(student_logits, teacher_logits, temperature)
    return beta * inter + gamma * intra


def relations(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The relation between classes and the one within them, scalars times T^2."""
    same_logits("dist", student_logits, teacher_logits)
    student = (full_precision(student_logits) / temperature).softmax(1)
    teacher = (full_precision(teacher_logits) / temperature).softmax(1)
    inter, intra = 1 - correlation(student, teacher).mean(), 1 - correlation(student.T, teacher.T).mean()
    return temperature**2 * inter, temperature**2 * intra


def correlation(student: Tensor, teacher: Tensor) -> Tensor:
    """(R,) correlations of the rows of two (R, N) matrices."""
    student, teacher = centered(student), centered(teacher)
    norms: Tensor = student.norm(dim=1) * teacher.norm(dim=1)
    return (student * teacher).sum(1) / (norms + EPSILON)


class DIST(Method):
    """The student's probabilities follow the teacher's in order and proportion, whatever their size.

    Its terms are "inter", between the classes of a sample, and "intra", between the samples within a class.
    The samples are those of the whole batch, of all processes. The recipe is the one for CIFAR-100; for
    ImageNet the temperature is 1.

    Args:
        beta: weight of the relation between classes.
        gamma: weight of the relation within them.
        temperature: divides both logits before the softmax.
    """

    reads = Reads(student=("logits",), teacher=("logits",))
    recipe = "ce + dist(beta=2, gamma=2, temperature=4)"
    rows = "classes"
    min_samples = 2

    def __init__(
        self, beta: NonNegative = 1.0, gamma: NonNegative = 1.0, temperature: Positive = 1.0
    ) -> None:
        super().__init__()
        self.beta, self.gamma, self.temperature = beta, gamma, temperature

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The two terms over the batch of all processes."""
        inter, intra = relations(gather(student.logits), gather(teacher.logits), self.temperature)
        return {"inter": Term(inter, weight=self.beta), "intra": Term(intra, weight=self.gamma)}
