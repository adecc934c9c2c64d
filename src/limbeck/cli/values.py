"""Values that texts on the command line stand for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import yaml

from limbeck.errors import LimbeckError
from limbeck.yaml_text import parse_yaml

if TYPE_CHECKING:
    from limbeck.models import Normalization


_EXAMPLES = {"--set": "training.epochs=5", "--slurm": "timeout_min=240"}


def settings(pairs: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """The values by key in `--set` options, each `dotted.key=value` with the value in YAML.

    Args:
        pairs: as they were given.
        option: what they were given as, for messages.
    Raises:
        LimbeckError: for one without "=" or with a value that is not YAML, and for a key that is given twice.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise LimbeckError(f"{option} takes key=value, for example {_EXAMPLES[option]}, not {pair!r}")
        try:
            value = parse_yaml(text)
        except yaml.YAMLError as error:
            problem = error.problem or "" if isinstance(error, yaml.MarkedYAMLError) else ""
            why = f": {problem}" if "twice" in problem else ""
            raise LimbeckError(f"{option} {key}: the value {text!r} is not YAML{why}") from None
        if key in found:
            raise LimbeckError(f"{option} {key} is given twice")
        found[key] = value
    return found


def teachers(texts: Sequence[str]) -> str | dict[str, str] | None:
    """The teacher in `--teacher` options; several by name, each `name=teacher`.

    Raises:
        LimbeckError: for several of which one has no name, or two have the same.
    """
    if not texts:
        return None
    named = [re.fullmatch(r"([^\W\d]\w*)=(.+)", text, re.DOTALL) for text in texts]
    if len(texts) == 1 and (named[0] is None or Path(texts[0]).exists()):
        return texts[0]
    found: dict[str, str] = {}
    for text, match in zip(texts, named, strict=True):
        if match is None:
            raise LimbeckError(f"several teachers have a name each, --teacher NAME={text}; {text!r} has none")
        name, teacher = match.groups()
        if name in found:
            raise LimbeckError(f"two teachers are named {name!r}")
        found[name] = teacher
    return found


def compiling(text: str | None) -> bool | Literal["auto"] | None:
    """The value of `--compile`; the config refuses any other text."""
    return cast('Literal["auto"] | None', text) if text not in ("true", "false") else text == "true"


def resuming(text: str, out: Path | None) -> bool:
    """Whether a run goes on, by the value of `--resume`: no, yes or auto.

    Raises:
        LimbeckError: for another value, such as a file that stands behind the option.
    """
    from limbeck.runs.directory import goes_on

    if text not in ("no", "yes", "auto"):
        raise LimbeckError(f"--resume stands alone or takes auto, not {text!r}; a config goes before it")
    return goes_on(out, "auto" if text == "auto" else text == "yes")


def max_drop_from(text: str) -> float | Literal["auto"] | None:
    """The value of `--max-drop`; whether a number is one for a loss is not looked at."""
    if text == "auto":
        return "auto"
    try:
        return None if text == "none" else float(text)
    except ValueError:
        raise LimbeckError(f"--max-drop takes a number, none or auto, not {text!r}") from None


def sizes(shape: str) -> list[int]:
    """The sizes in `3x32x32`."""
    parts = shape.lower().split("x")
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise LimbeckError(f"--input takes a shape such as 3x32x32, not {shape!r}")
    return [int(part) for part in parts]


def normalization_from(
    name: str | None, mean: str | None, std: str | None, channels: int
) -> Normalization | None:
    """The normalization that `--normalization`, or else `--mean` and `--std`, name; None if none is given."""
    from limbeck.models import Normalization
    from limbeck.runs.importing import NORMALIZATIONS

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
        raise LimbeckError(
            f"--normalization takes {known}, not {name!r}; give any other with --mean and --std"
        )
    return None if name is None else NORMALIZATIONS[name]


def _numbers(flag: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise LimbeckError(f"{flag} takes a number for each channel, 0.5,0.5,0.5, not {text!r}") from None
