"""What is found out about a network that finds objects: the records."""

from __future__ import annotations

from typing import TypeAlias

from pydantic import BaseModel, ConfigDict

from limbeck.tasks.measuring import Agreement, Example, Findings

Box: TypeAlias = tuple[float, float, float, float, int]
"""x1, y1, x2, y2 in pixels, and a class id."""


class ClassFigures(BaseModel):
    """The figures of one class; None where no image has a box of it.

    Attributes:
        boxes: how many boxes the labels have of it.
        ap: average precision, the mean over IoUs of 0.5 to 0.95.
        ap50: that at an IoU of 0.5.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    boxes: int
    ap: float | None
    ap50: float | None


class BoxFindings(Findings):
    """What is found out about a network that finds objects.

    Attributes:
        classes: figures of each class.
        metrics: the task's metrics by name.
        sizes: average precision of boxes below 32 x 32 pixels ("small"), up to 96 x 96 ("medium") and larger
            ones ("large"); None where there are none.
        images: how many images have labels.
    """

    classes: tuple[ClassFigures, ...]
    metrics: dict[str, float]
    sizes: dict[str, float | None]
    images: int

    @property
    def boxes(self) -> int:
        """How many boxes the labels have."""
        return sum(each.boxes for each in self.classes)


class BoxExample(Example):
    """A sample on which student and teacher differ, with the boxes to look at.

    Attributes:
        size: height and width of the image.
        boxes: those of the label, the student and the teacher.
    """

    size: tuple[int, int]
    boxes: tuple[tuple[Box, ...], tuple[Box, ...], tuple[Box, ...]]


class BoxAgreement(Agreement):
    """How close a student's answers are to its teacher's.

    Attributes:
        agreement: share of both networks' objects that the other has too: of one class, with an IoU of 0.5.
        distance: of the classes at each place; NaN for networks with other places.
        examples: the samples on which the student misses most boxes that the teacher finds.
    """

    examples: tuple[BoxExample, ...] = ()
