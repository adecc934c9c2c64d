"""The space that `limbeck tune` searches: ranges by name, and the places where their values go."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from limbeck.errors import LimbeckError
from limbeck.intervals import parse_interval
from limbeck.notation import show

_PLACE = re.compile(r"\$([A-Za-z_]\w*)")
OBJECTIVE = "objective"
"""What the choice of the objective is called; no range may have this name."""


class Range(BaseModel):
    """Values to choose among: those of a list, or the numbers from one to another."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    choices: tuple[Any, ...] = Field((), description="in place of the ends")
    low: int | float | None = Field(None, description="whole numbers if both ends are, as 1 and 4 are")
    high: int | float | None = None
    log: bool = Field(False, description="whether factors count, not differences")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"choices": value} if isinstance(value, list) else value

    @model_validator(mode="after")
    def _one_way(self) -> Range:
        if self.choices:
            if (self.low, self.high, self.log) != (None, None, False):
                raise ValueError("should be a list, or numbers from low to high, not both")
        elif self.low is None or self.high is None or self.low >= self.high:
            raise ValueError("should be a list such as [1, 2, 4], or have a low that is below its high")
        elif self.log and self.low <= 0:
            raise ValueError("should have a low above 0 where log is true")
        return self

    @property
    def ends(self) -> tuple[Any, ...]:
        """Its choices, or its lowest and its highest value."""
        return self.choices or (self.low, self.high)

    def __str__(self) -> str:
        if self.choices:
            return show(self.choices)
        return f"{self.low:g} to {self.high:g}" + (" by factors" if self.log else "")


class Tune(BaseModel):
    """How `limbeck tune` searches."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    budget: str = Field(
        description='time for the trials of the objectives, and as much again for the baseline: "30min"'
    )
    seed: int | None = Field(
        None, ge=0, description="of all trials; null: the first above the study's, which it may not be among"
    )
    reduction: int = Field(3, ge=2, description="of so many trials that come to a rung, one goes on")
    first_rung: int | None = Field(
        None, ge=1, description="epochs before a trial may be stopped; null: a ninth of all"
    )

    @field_validator("budget", mode="before")
    @classmethod
    def _is_time(cls, value: Any) -> Any:
        try:
            seconds = parse_interval(value).seconds
        except LimbeckError:
            seconds = None
        if seconds is None:
            raise ValueError('should be a time, such as "90s", "30min" or "2h"')
        return value

    @property
    def seconds(self) -> float:
        """The budget of each side."""
        return parse_interval(self.budget).seconds or 0.0


def placeholders(value: Any) -> Iterator[str]:
    """The names of the places `$name` in a text, or anywhere in a mapping or a list."""
    if isinstance(value, str):
        yield from _PLACE.findall(value)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from placeholders(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from placeholders(part)


def in_notation(text: str, values: Mapping[str, Any]) -> str:
    """A text of the notation with values in its places, as the notation writes them."""
    return _PLACE.sub(lambda match: show(values[match[1]]), text)


def in_settings(value: Any, values: Mapping[str, Any]) -> Any:
    """Settings with values where a text is `$name` and nothing else.

    Raises:
        LimbeckError: for a text that has more than a place.
    """
    if isinstance(value, Mapping):
        return {key: in_settings(part, values) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [in_settings(part, values) for part in value]
    if isinstance(value, str) and _PLACE.search(value):
        if not (match := _PLACE.fullmatch(value)):
            raise LimbeckError(f"a setting is a value or one place such as $lr, and {value!r} is neither")
        return values[match[1]]
    return value
