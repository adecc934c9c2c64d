"""Logit Standardization in Knowledge Distillation. Sun, Ren, Li, Wang & Cao, CVPR 2024, arXiv:2403.01427."""

from __future__ import annotations

from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.methods.base import Method, Objective, inner_first
from limbeck.methods.declarations import LossTerms, Reads
from limbeck.methods.parts.blocks import centered, full_precision
from limbeck.methods.parts.shapes import class_logits
from limbeck.methods.r2kd import R2KD
from limbeck.outputs import Batch, Outputs

EPSILON = 1e-7
"""Added to the standard deviation, as in the released code."""


def standardize(logits: Tensor) -> Tensor:
    """Each sample's logits less their mean, over their standard deviation (Algorithm 1).

        Z(z_i) = (z_i - mean_c z_ic) / (std_c z_ic + 1e-7)

    The deviation is the unbiased one, and the 1e-7 the released code's; the temperature of the paper's
    z-score is the one that the loss divides by afterwards. Logits that are all equal, as those of a head that
    starts at zero, become zero and get no gradient: divided by 1e-7, it would ruin the head.

    Args:
        logits: (B, C), C at least 2.
    Returns: (B, C).
    Raises:
        LimbeckError: for other shapes.
    """
    class_logits("logit_standardization", logits=logits)
    logits = centered(full_precision(logits))
    return logits / (logits.std(dim=-1, keepdim=True) + EPSILON)


class LogitStandardization(Method):
    """Wraps methods that compare logits: they see those of both networks standardized.

        L = base(Z(z_s), Z(z_t)),   Z = standardize

    The student then follows the order and the proportions of the teacher's logits, not their size. What is
    wrapped keeps its temperature. Cross-entropy stands outside, where it sees the logits as they are:
    `0.1*ce + 9*logit_standardization(kd(temperature=2))`.

    Args:
        base: the methods, each of which reads the logits of student and teacher.
    """

    name = "logit_standardization"
    reads = Reads(student=("logits",), teacher=("logits",))
    recipe = "0.1*ce + 9*logit_standardization(kd(temperature=2))"
    rows = "classes"

    def __init__(self, base: Method) -> None:
        super().__init__()
        self.base = base
        for method in inner_first(base):
            compares = "logits" in method.reads.student and "logits" in method.reads.teacher
            if not compares and not isinstance(method, Objective):
                raise self._misplaced(f"{method.name} does not compare the logits of student and teacher")
            if isinstance(method, R2KD) and method.teacher_share < 1:
                raise LimbeckError(
                    f"{self.name} does not see the logits of the pruned copy that r2kd mixes in; leave the "
                    "copy out inside it, r2kd(teacher_share=1)"
                )

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The wrapped methods' terms.

        Raises:
            LimbeckError: if one of them is of the task.
        """
        terms = self.base.terms(_standardized(student), _standardized(teacher), batch)
        for name, term in terms.items():
            if term.kind == "task":
                raise self._misplaced(f"the term {name} is of the task")
        return terms

    def _misplaced(self, reason: str) -> LimbeckError:
        return LimbeckError(
            f"{self.name} is for methods that compare logits, and {reason}; write it outside, "
            f"as ce in {self.recipe}"
        )


def _standardized(outputs: Outputs) -> Outputs:
    """The outputs with standardized logits, those for further views and of other teachers too."""
    for field in ("views", "named"):
        if field in outputs:
            inside = {name: _standardized(each) for name, each in outputs[field].items()}
            outputs = outputs.replace(**{field: inside})
    return outputs.replace(logits=standardize(outputs.logits)) if "logits" in outputs else outputs
