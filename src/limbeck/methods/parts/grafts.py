"""Grafts: a student that answers through the teacher's classifier, and what is needed to build it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from math import prod
from typing import ClassVar

from torch import Tensor, nn

from limbeck.features import FeaturePoints, Point, Tap
from limbeck.features.calling import uncompiled
from limbeck.methods.parts.regressors import projector
from limbeck.methods.parts.stages import pooled


@dataclass(frozen=True)
class Graft:
    """All of a graft but its weights.

    Attributes:
        point: where the student's features are.
        channels: before, between and after the projector's layers, from the student's to the teacher's.
        size: height and width that larger maps of the student are pooled to; None for embeddings.
        grid: height and width that the teacher pools its map to for its classifier; None for embeddings.
        relu: whether the projector ends in ReLU.
        classes: number of logits.
        bias: whether the classifier has one.
    """

    # where it is read back as part of a network's record
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    point: Point
    channels: tuple[int, ...]
    _: KW_ONLY
    size: tuple[int, int] | None = None
    grid: tuple[int, int] | None = None
    relu: bool = False
    classes: int
    bias: bool

    def onto(self, student: nn.Module) -> GraftedStudent:
        """The student with the graft in place, its weights fresh."""
        return GraftedStudent(student, self, self.projector(), self.classifier())

    def projector(self) -> nn.Module:
        """A fresh one: linear for embeddings, convolutions 1x1, 3x3 and 1x1 for maps."""
        if self.size is None:
            return nn.Linear(self.channels[0], self.channels[-1])
        return projector(self.channels, [1, 3, 1], self.relu)

    def classifier(self) -> nn.Linear:
        """A fresh one."""
        return nn.Linear(self.channels[-1] * prod(self.grid or ()), self.classes, self.bias)


class GraftedStudent(nn.Module):
    """A student whose features go through a projector into another network's classifier.

    It takes what the student takes, normalization included. The student runs as a whole, so its own
    classifier is still among the parameters, but no longer has a part in the answer.

    Args:
        student: the network; it is not copied.
        graft: what is grafted onto it.
        projector: as the graft's, with its weights.
        classifier: as the graft's, with its weights.
    """

    def __init__(self, student: nn.Module, graft: Graft, projector: nn.Module, classifier: nn.Linear) -> None:
        super().__init__()
        self.student = uncompiled(student)  # which can be tapped
        self.graft, self.projector, self.classifier = graft, projector, classifier
        point = graft.point
        places = FeaturePoints(logits=point, embedding=point, stages=(point,))  # its own logits are not read
        self._tap = Tap(self.student, places, ["stages" if graft.size else "embedding"])

    def forward(self, inputs: Tensor | None = None, **named: Tensor) -> Tensor:
        """(B, C) logits for what the student takes, a tensor or named tensors."""
        outputs = self._tap(named if inputs is None else inputs)
        features = outputs.stages[0] if self.graft.size else outputs.embedding
        features = self.projector(resized(features, self.graft.size).to(self.classifier.weight.dtype))
        return self.classifier(resized(features, self.graft.grid).flatten(1))  # type: ignore[no-any-return]


def resized(features: Tensor, size: Sequence[int] | None) -> Tensor:
    """Maps pooled to a height and a width; embeddings, for which there is no size, as they are."""
    return features if size is None else pooled(features, *size)
