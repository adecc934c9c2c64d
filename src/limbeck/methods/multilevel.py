"""Self-distillation by exits at several depths. A reconstruction: the equations of its paper are not known.

"multilevel" names self-distillation from features of several levels of abstraction (arXiv:2112.13642), of
which only the abstract could be read. What is built is its nearest documented relative, "Be Your Own
Teacher" (Zhang, Song, Gao, Chen, Bao & Ma, ICCV 2019, arXiv:1905.08094): exits behind the shallow stages,
which the deepest one teaches by its output and its features. Temperature, the weights 0.9 and 0.1 and the
features as averages over the positions are those of a public implementation of it
(luanyunteng/pytorch-be-your-own-teacher), and so is the hint's weight, 1e-6 of a sum, which is 0.066 of the
mean of 128 samples with 512 features. The form of the exits was chosen here.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from limbeck.arguments import NonNegative, Positive
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.ce import cross_entropy
from limbeck.methods.declarations import Context, LossTerms, Reads
from limbeck.methods.kd import kd
from limbeck.methods.parts.blocks import full_precision
from limbeck.methods.parts.regressors import projector
from limbeck.methods.parts.shapes import same_samples
from limbeck.methods.parts.stages import mean_of_positions, pooled_alike, valid
from limbeck.methods.terms import Term
from limbeck.outputs import Batch, Outputs


def exit_hint(features: Tensor, deepest: Tensor) -> Tensor:
    """Mean squared difference of an exit's features from the deepest, which do not learn from it.

    Args:
        features: (B, C, H, W) or (B, C).
        deepest: the same of the deepest stage; the larger of two maps is average-pooled to the smaller's
            size.
    Returns: scalar, the mean over the batch and all values.
    Raises:
        LimbeckError: for different numbers of samples, channels or dimensions.
    """
    same_samples("exit_hint", features, deepest)
    if not (features.ndim == deepest.ndim in (2, 4) and features.shape[1] == deepest.shape[1]):
        raise LimbeckError(
            "exit_hint compares two maps (B, C, H, W) or two vectors (B, C) of as many channels, "
            f"not {tuple(features.shape)} and {tuple(deepest.shape)}"
        )
    deepest = full_precision(deepest.detach())
    ours, theirs = pooled_alike(features, deepest) if features.ndim == 4 else (features, deepest)
    return (ours - theirs).square().mean()


class Exit(nn.Module):
    """What an exit makes of a stage: features of the deepest stage's width, and logits of their average.

    Maps go through a convolution with batch norm (over the batch of all processes); where the stage or the
    deepest one is no map, their averages over the valid positions go through a linear layer. Either ends in
    ReLU where the deepest features do.

    Args:
        stage: of the example, as the next.
        deepest: the deepest stage.
        classes: number of logits.
    """

    def __init__(self, stage: Tensor, deepest: Tensor, classes: int) -> None:
        super().__init__()
        self.maps = stage.ndim == deepest.ndim == 4
        before, width = (each.shape[1 if each.ndim == 4 else -1] for each in (stage, deepest))
        relu = bool((deepest >= 0).all())
        if self.maps:
            self.adapter = projector([before, width], [3], relu)
        else:
            self.adapter = nn.Sequential(nn.Linear(before, width), nn.ReLU() if relu else nn.Identity())
        self.classifier = nn.Linear(width, classes)

    def seen(self, stage: Tensor, mask: Tensor | None) -> Tensor:
        """A stage as it is compared: a map as it is, anything else mean_of_positions over its positions."""
        return full_precision(stage) if self.maps else mean_of_positions(full_precision(stage), mask)

    def forward(self, stage: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, C, H, W), (B, L, C) or (B, C) to the exit's features and its logits (B, classes)."""
        features = self.adapter(self.seen(stage, mask))
        return features, self.classifier(features.mean((2, 3)) if self.maps else features)


class Multilevel(Method):
    """The student's shallow stages have exits, which its own output and deepest stage teach; no teacher.

        sum over exits i of  ce CE(z_i, y) + kl T^2 KL(softmax(z / T) || softmax(z_i / T)) + hint D(F_i, F)

    z is the student's output and F its deepest stage; neither learns from the terms, which train the exits
    and the stages below them. What ships is the student without exits. The terms are "ce", "kl" and "hint".
    The weights go with 0.9*ce beside them, which is the output's own cross-entropy.

    Args:
        ce: weight of the cross-entropy of the exits.
        kl: weight of their divergence from the student's output.
        hint: weight of the mean squared difference D of their features from the deepest.
        temperature: T > 0, divides the logits in the divergence.
        features: what of maps is compared, "pooled" for their averages over the positions, or "maps".
    """

    fits_labels = True
    reads = Reads(student=("logits", "stages"), batch=("targets",))
    recipe = "0.9*ce + multilevel"
    rows = "classes"
    one_row_per_sample = True

    def __init__(
        self,
        ce: NonNegative = 0.9,
        kl: NonNegative = 0.1,
        hint: NonNegative = 0.066,
        temperature: Positive = 3.0,
        features: Literal["pooled", "maps"] = "pooled",
    ) -> None:
        super().__init__()
        self.pooled = features == "pooled"
        self.ce, self.kl, self.hint, self.temperature = ce, kl, hint, temperature

    def bind(self, context: Context) -> None:
        """Builds the exits.

        Raises:
            LimbeckError: for a student with one stage.
        """
        *shallow, deepest = context.student.stages
        if not shallow:
            raise LimbeckError(
                "multilevel has exits behind all stages but the deepest, and the student has one stage; name "
                "more with student_features, or take a method without stages, such as tfkd"
            )
        self.exits = nn.ModuleList(Exit(stage, deepest, context.width) for stage in shallow)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The three terms, each a sum over the exits."""
        assert batch.targets is not None
        *shallow, deepest = student.stages
        output, terms = student.logits.detach(), []
        for exit, stage in zip(self.exits, shallow, strict=True):
            assert isinstance(exit, Exit)
            features, logits = exit(stage, valid(student, stage))
            aims = exit.seen(deepest, valid(student, deepest))
            if self.pooled and exit.maps:
                features, aims = features.mean((2, 3)), aims.mean((2, 3))
            terms.append(
                torch.stack(
                    [
                        cross_entropy(logits, batch.targets),
                        kd(logits, output, self.temperature),
                        exit_hint(features, aims),
                    ]
                )
            )
        ce, kl, far = torch.stack(terms).sum(0)
        return {
            "ce": Term(ce, "task", weight=self.ce),
            "kl": Term(kl, weight=self.kl),
            "hint": Term(far, weight=self.hint),
        }
