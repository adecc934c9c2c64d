"""What flags mean: texts of the command line as values."""

from __future__ import annotations

from limbeck.errors import LimbeckError
from limbeck.models import Normalization
from limbeck.runs.importing import NORMALIZATIONS


def sizes(shape: str) -> list[int]:
    """The sizes in `3x32x32`."""
    parts = shape.lower().split("x")
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise LimbeckError(f"--input takes a shape such as 3x32x32, not {shape!r}")
    return [int(part) for part in parts]


def normalization_from(
    name: str | None, mean: str | None, std: str | None, channels: int
) -> Normalization | None:
    """What `--normalization`, or else `--mean` and `--std`, stand for; None where nothing is said."""
    if name is not None and (mean is not None or std is not None):
        raise LimbeckError("--normalization stands for a mean and a std; leave out --mean and --std")
    if (mean is None) != (std is None):
        raise LimbeckError("--mean and --std go together")
    if mean is not None and std is not None:
        return Normalization(_numbers("--mean", mean), _numbers("--std", std))
    if name == "none":
        return Normalization((0.0,) * channels, (1.0,) * channels)
    if name is not None and name not in NORMALIZATIONS:
        known = ", ".join([*NORMALIZATIONS, "none"])
        raise LimbeckError(f"--normalization takes {known}, not {name!r}; give any other by --mean and --std")
    return None if name is None else NORMALIZATIONS[name]


def _numbers(flag: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise LimbeckError(f"{flag} takes a number a channel, 0.5,0.5,0.5, not {text!r}") from None
