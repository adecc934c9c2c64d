"""What a method needs of its teacher's outputs, sample by sample, and so what a cache keeps of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from limbeck.outputs import Outputs, full_precision

Size = tuple[int, ...]
"""Height and width of the student's map; empty where a student has none to compare."""


@dataclass(frozen=True)
class Side:
    """What a method needs of one field of its teacher's outputs: a function of each sample by itself.

    A live teacher gives the field, and the method calls `of`, which computes the function. A cache keeps what
    the function gives, and `of` hands that over, rounded to float16.

    Attributes:
        name: text that says what the function computes, with every argument that decides it. Sides of one
            name are the same, and files of a cache are known by it.
        field: the field of the Outputs that it stands for, "stages" for example. The method reads nothing
            else of this field.
        function: a function of the teacher's outputs, in float32 at least, and of the size of the student's
            map, that gives (B, ...) numbers, of a shape that does not depend on the batch.
        place: which stage it is, where the field holds several, counted from 0.
        size: that size for the samples of the cache.
    """

    name: str
    field: str
    function: Callable[[Outputs, Size], Tensor] = dataclasses.field(compare=False)
    place: int | None = dataclasses.field(default=None, compare=False)
    size: Size = dataclasses.field(default=(), compare=False)

    def of(self, teacher: Outputs, size: Size | None = None) -> Tensor:
        """(B, ...) what the method needs: as a cache kept it, or computed from what a live teacher gave.

        Args:
            teacher: outputs of the teacher.
            size: height and width of the student's map in this batch; as in the example if None.
        """
        if "sides" in teacher and self.name in teacher["sides"]:
            kept: Tensor = teacher["sides"][self.name]
            return kept
        return self.function(teacher, self.size if size is None else size)

    def computed(self, teacher: Outputs) -> Tensor:
        """(B, ...) the function of what a network gave, in the precision in which losses are computed."""
        fields = teacher.map(full_precision)
        device = next((each.device.type for each in fields.values() if isinstance(each, Tensor)), "cpu")
        with torch.autocast(device, enabled=False):
            return self.function(fields, self.size)
