"""What the image processor in a Hugging Face folder makes of pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from limbeck.errors import LimbeckError
from limbeck.optional import imported
from limbeck.pretrained import (
    EXTRA,
    check_place,
    from_pretrained,
    gguf_of,
    quiet,
    read_json,
    reason_of,
    stamp,
)

Resample: TypeAlias = Literal["nearest", "bilinear", "bicubic"]
"""How images are resampled."""

_RESAMPLE: Mapping[int, Resample] = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""The numbers that Pillow has for them."""


@dataclass(frozen=True)
class ImageSettings:
    """What an image processor makes of pixels in [0, 1].

    Attributes:
        size: what images are resampled to: (height, width), or the shorter side, which keeps the aspect; None
            for images as they are.
        resample: how.
        crop: (height, width) of the middle that is cut out of that; None for all of it.
        flipped: whether the channels are read the other way round, BGR.
        mean: of each channel, of pixels in [0, 1].
        std: of each channel.
    """

    size: tuple[int, int] | int | None
    resample: Resample
    crop: tuple[int, int] | None
    flipped: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]


def image_settings(place: str, *, sized: bool = True) -> ImageSettings | None:
    """The settings of the image processor in a folder or at a name on the hub; None if there is none.

    Args:
        place: a folder that `save_pretrained` wrote, or a name on the hub.
        sized: whether to follow what it does to the size of images; otherwise they stay as they are.
    Raises:
        LimbeckError: for a damaged file, and for settings that are none of the above.
    """
    if gguf_of(place) is not None:
        return None
    check_place(place)
    return _image_settings(place, stamp(place), sized)


def processor_of(place: str) -> Any:
    """The image processor itself, as `AutoImageProcessor` loads it; it reads and gives arrays (C, H, W)."""
    return from_pretrained("AutoImageProcessor", place)


@lru_cache(maxsize=32)
def _image_settings(place: str, stamp: object, sized: bool) -> ImageSettings | None:
    package = imported("transformers", EXTRA)
    try:
        with quiet(package):
            file = package.utils.cached_file(
                place, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False
            )
    except OSError as error:
        raise LimbeckError(reason_of(place, error)) from error
    if file is None:
        return None
    written = read_json(Path(file), place)
    if not {"image_mean", "image_processor_type"} & written.keys():
        return None  # of sounds
    settings = processor_of(place).to_dict()  # with the defaults of its class
    where = f"the preprocessor_config.json of {place!r}"
    size, crop = _sizes(settings, where) if sized else (None, None)
    number = settings.get("resample", 2)
    if size is not None and number not in _RESAMPLE:
        raise LimbeckError(
            f"{where} says resample={int(number)}, and limbeck resamples by {', '.join(_RESAMPLE.values())} "
            f"({', '.join(map(str, _RESAMPLE))}); set one of these"
        )
    mean, std = _constants(settings)
    flipped = bool(settings.get("do_flip_channel_order"))
    return ImageSettings(size, _RESAMPLE.get(number, "bilinear"), crop, flipped, mean, std)


def _sizes(
    settings: Mapping[str, Any], where: str
) -> tuple[tuple[int, int] | int | None, tuple[int, int] | None]:
    """What images are resampled to, and what is cut out of them."""
    size: tuple[int, int] | int | None = None
    crop: tuple[int, int] | None = None
    if settings.get("do_resize"):
        asked = dict(settings.get("size") or {})
        if asked.keys() == {"height", "width"}:
            size = asked["height"], asked["width"]
        elif asked.keys() == {"shortest_edge"}:
            size = asked["shortest_edge"]
        else:
            raise LimbeckError(
                f"{where} says size={asked}, and limbeck follows a height and a width, or a shortest_edge"
            )
        share = settings.get("crop_pct")
        if share is not None and isinstance(size, int):  # ConvNeXt: large images are not cropped
            size, crop = (int(size / share), (size, size)) if size < _UNCROPPED else ((size, size), None)
    if settings.get("do_center_crop"):
        cut = dict(settings["crop_size"])
        crop = cut["height"], cut["width"]
    return size, crop


_UNCROPPED = 384
"""The size from which on ConvNeXt's processor resamples to a square and crops nothing."""


def _constants(settings: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation for pixels in [0, 1], of what is done to pixels in 0 to 255."""
    scale = 255 * settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale") else 255.0
    channels = len(settings.get("image_mean") or (0, 0, 0))
    if not settings.get("do_normalize"):
        return (0.0,) * channels, (1 / scale,) * channels
    return (
        tuple(each / scale for each in settings["image_mean"]),
        tuple(each / scale for each in settings["image_std"]),
    )
