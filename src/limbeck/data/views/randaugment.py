"""RandAugment. Cubuk et al., CVPR Workshops 2020, arXiv:1909.13719; the operations are torchvision's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from limbeck.data.views.policy import Views, check_bank, images_in, maps_in
from limbeck.errors import LimbeckError
from limbeck.hashing import below
from limbeck.optional import imported
from limbeck.outputs import Inputs

Operation: TypeAlias = Callable[[Tensor], Tensor]

_SALT = 0x726E64  # no other hash of an index and a view starts with it
_LEVELS = 30


@dataclass(frozen=True)
class RandAugment(Views):
    """`randaugment(operations=2, magnitude=9, count=1024)`: some of 14 operations, one after the other.

    The operations and what a magnitude means are those of torchvision's RandAugment; which are taken is a
    function of (index, view), and what has a direction takes either. View 0 is the image as it is. Needs
    torchvision.

    Args:
        operations: how many.
        magnitude: how strong they are, 0 to 30.
        count: how many views of an image there are.
    """

    operations: int = 2
    magnitude: int = 9
    count: int = 1024

    def __post_init__(self) -> None:
        if type(self.operations) is not int or self.operations < 1:
            raise LimbeckError(f"randaugment needs 1 or more operations, not {self.operations!r}")
        if type(self.magnitude) is not int or not 0 <= self.magnitude <= _LEVELS:
            raise LimbeckError(
                f"randaugment needs a magnitude between 0 and {_LEVELS}, not {self.magnitude!r}"
            )
        check_bank("randaugment", self.count)

    def render(self, inputs: Inputs, index: Tensor, view: Tensor) -> Inputs:
        """Changes the images, those that have the same operation together; (B, 1 or 3, H, W) uint8."""
        shown = images_in(inputs, self)
        if shown.dtype != torch.uint8 or shown.shape[1] not in (1, 3):
            raise LimbeckError(f'the views "{self}" need uint8 images of 1 or 3 channels')
        return self._changed(shown, index, view, None)

    def render_target(self, targets: Tensor, index: Tensor, view: Tensor, *, ignored: int) -> Tensor:
        """Moves maps where an operation moves pixels; what comes in from outside has the target `ignored`.

        The pixels are moved to the nearest place, so each takes its target along.
        """
        return self._changed(maps_in(targets, self)[:, None], index, view, ignored)[:, 0]

    def render_boxes(
        self, boxes: Tensor, size: tuple[int, int], index: Tensor, view: Tensor
    ) -> tuple[Tensor, tuple[int, int]]:
        """Refuses: some of the operations turn and shear an image, and no box stays a box."""
        raise LimbeckError(
            f'the views "{self}" turn and shear images, and a box does not stay a box then; take crop, '
            "scaled_crop, color_jitter or cutout"
        )

    def _changed(self, shown: Tensor, index: Tensor, view: Tensor, ignored: int | None) -> Tensor:
        """Images (B, C, H, W) after the operations of their views; with `ignored`, maps (B, 1, H, W)."""
        functional = imported("torchvision.transforms.v2.functional", "zoo")
        height, width = shown.shape[2:]
        table = list(_operations(functional, self.magnitude / _LEVELS, height, width, ignored))
        turns = range(self.operations)
        choices = [below(len(table), _SALT, turn, index, view).where(view != 0, 0) for turn in turns]
        # How many take each operation sets the shapes, so it is fetched from the device, once.
        counts = [choice.bincount(minlength=len(table)).tolist() for choice in torch.stack(choices).cpu()]
        for choice, sizes in zip(choices, counts, strict=True):
            order = choice.argsort(stable=True)
            groups = zip(table, shown[order].split_with_sizes(sizes), strict=True)
            changed = [operation(images) for operation, images in groups if len(images)]
            shown = shown.index_copy(0, order, torch.cat(changed))
        return shown

    def __str__(self) -> str:
        return f"randaugment(operations={self.operations}, magnitude={self.magnitude}, count={self.count})"


def _operations(
    functional: Any, strength: float, height: int, width: int, ignored: int | None
) -> Iterator[Operation]:
    """The 14 operations, each twice: in both directions where it has one. The first leaves all as it is.

    With `ignored`, they are for maps: what changes colors leaves them as they are, and what moves pixels
    fills with that number.
    """

    def moved(across: float = 0, down: float = 0, lean: float = 0, fall: float = 0) -> Operation:
        shear = [math.degrees(math.atan(lean)), math.degrees(math.atan(fall))]
        center = [0, 0] if lean or fall else None
        return lambda images: functional.affine(
            images,
            angle=0,
            translate=[int(across), int(down)],
            scale=1,
            shear=shear,
            center=center,
            fill=ignored,
        )

    def rotated(angle: float) -> Operation:
        return lambda images: functional.rotate(images, angle, fill=ignored)

    def colored(change: Callable[..., Tensor], *how: float) -> Operation:
        return lambda images: change(images, *how) if ignored is None else images

    yield lambda images: images
    for sign in (1, -1):
        yield moved(across=sign * strength * width * 150 / 331)
        yield moved(down=sign * strength * height * 150 / 331)
        yield moved(lean=sign * strength * 0.3)
        yield moved(fall=sign * strength * 0.3)
        yield rotated(sign * strength * 30)
        for name in ("brightness", "saturation", "contrast", "sharpness"):
            yield colored(getattr(functional, f"adjust_{name}"), 1 + sign * strength * 0.9)
        yield colored(functional.posterize, 8 - round(4 * strength))
        yield colored(functional.solarize, 255 * (1 - strength))
        yield colored(functional.autocontrast)
        yield colored(functional.equalize)
    yield lambda images: images
