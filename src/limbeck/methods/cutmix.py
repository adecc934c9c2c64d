"""CutMix: Regularization Strategy to Train Strong Classifiers. Yun et al., ICCV 2019, arXiv:1905.04899."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from limbeck.arguments import Limits
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.parts.mixing import beta, cut
from limbeck.methods.parts.mixtures import Mixtures


class CutMix(Mixtures):
    """Wraps the whole objective: both networks see images with a part of another, with the labels of both.

        x = x_j inside the rectangle, x_i outside of it
        L = s base(x, y_i) + (1 - s) base(x, y_j)   of the terms that read labels, base(x) of the others

    The rectangle is one for the batch. Its sides are H sqrt(1 - b) and W sqrt(1 - b), rounded down to even
    numbers, with b drawn from Beta(alpha, alpha); it is cut off at the borders, and s is the share of the
    area outside of it then (section 3.1). With `kd` inside, the student follows its teacher on the mixtures.
    The draws are a function of the run's seed and the step.

    Args:
        base: the objective.
        alpha: parameter of the Beta distribution of the share before the rectangle is cut off, at most 1.
    """

    recipe = "cutmix(0.1*ce + 0.9*kd)"

    def __init__(self, base: Method, *, alpha: Annotated[float, Limits(gt=0, le=1)] = 1.0) -> None:
        super().__init__(base, alpha)

    def check(self, example: object) -> None:
        """Refuses anything but images of floats."""
        if not isinstance(example, Tensor) or example.ndim != 4 or not example.is_floating_point():
            raise LimbeckError(
                "cutmix cuts rectangles out of images (B, C, H, W) of floats, and the inputs are others; use "
                "mixup for tables, mixkd for texts"
            )

    def mixed(self, inputs: Tensor, others: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) images, and () the share of the area that is the first ones'."""
        hole = cut(inputs, beta(self.alpha, self.draws, step), self.draws, step)
        return others.where(hole, inputs), 1 - hole.float().mean()
