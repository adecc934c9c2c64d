"""mixup: Beyond Empirical Risk Minimization. Zhang et al., ICLR 2018, arXiv:1710.09412."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from limbeck.arguments import Limits
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.parts.mixing import beta
from limbeck.methods.parts.mixtures import Mixtures


class Mixup(Mixtures):
    """Wraps the whole objective: both networks see weighted means of two samples, with the labels of both.

        x = s x_i + (1 - s) x_j,   y = s y_i + (1 - s) y_j,   s of Beta(alpha, alpha)

    With `kd` inside, the student follows its teacher on the mixtures (function matching, Beyer et al., CVPR
    2022, arXiv:2106.05237). Each batch has one share, as in the authors' code. The draws are a function of
    the run's seed and the step. A term that reads labels is s L(y_i) + (1 - s) L(y_j).

    Args:
        base: the objective.
        alpha: parameter of the Beta distribution, at most 1.
    """

    recipe = "mixup(0.1*ce + 0.9*kd)"

    def __init__(self, base: Method, *, alpha: Annotated[float, Limits(gt=0, le=1)] = 0.2) -> None:
        super().__init__(base, alpha)

    def check(self, example: object) -> None:
        """Refuses anything but one tensor of floats."""
        if not isinstance(example, Tensor) or not example.is_floating_point():
            raise LimbeckError(
                "mixup adds up inputs of floats, such as images and tables, and these are "
                f"{'integers' if isinstance(example, Tensor) else 'named tensors'}; of texts, mixkd mixes "
                "the embeddings"
            )

    def mixed(self, inputs: Tensor, others: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """(B, ...) weighted means, and () the share of the first ones."""
        share = beta(self.alpha, self.draws, step)
        return inputs.lerp(others, (1 - share).to(inputs)), share
