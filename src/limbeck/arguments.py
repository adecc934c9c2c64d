"""Checks arguments that come out of the notation against a function's signature and annotations."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, get_type_hints

from limbeck.errors import LimbeckError, unknown
from limbeck.notation import show

if TYPE_CHECKING:  # pydantic is imported when arguments are checked: the equations do without it
    from pydantic import GetCoreSchemaHandler, TypeAdapter


@dataclass(frozen=True)
class Limits:
    """Limits of an argument, in its annotation: `Annotated[float, Limits(gt=0)]`. They are pydantic's own.

    Attributes:
        gt: what a number must be above.
        ge: the least number.
        lt: what a number must be below.
        le: the greatest number.
        min_length: the least number of items.
        max_length: the greatest number of items.
        allow_inf_nan: False where a number must be finite.
    """

    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    allow_inf_nan: bool | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        """What pydantic makes of `Annotated[source, Field(...)]` with the same limits."""
        from pydantic import Field

        given: dict[str, Any] = {name: value for name, value in vars(self).items() if value is not None}
        return handler.generate_schema(Annotated[source, Field(**given)])


Positive: TypeAlias = Annotated[float, Limits(gt=0, allow_inf_nan=False)]
NonNegative: TypeAlias = Annotated[float, Limits(ge=0, allow_inf_nan=False)]
Share: TypeAlias = Annotated[float, Limits(ge=0, le=1, allow_inf_nan=False)]
Count: TypeAlias = Annotated[int, Limits(ge=1)]


def checked_arguments(
    name: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of a call of `function` by name, as they were given.

    Args:
        name: what the notation calls the function, for messages.
        function: with annotated parameters; a first parameter `self` is left out.
    Raises:
        LimbeckError: for an unknown, missing or surplus argument, or one of another type or range.
    """
    parameters = dict(inspect.signature(function).parameters)
    parameters.pop("self", None)
    for argument in kwargs:
        if argument not in parameters:
            raise unknown(f"argument of {name}:", argument, parameters)
    try:
        given = inspect.Signature(list(parameters.values())).bind(*args, **kwargs).arguments
    except TypeError as error:
        raise LimbeckError(f"{name}: {error}") from None
    hints = get_type_hints(function, include_extras=True)
    for argument, value in given.items():
        if argument in hints:
            several = parameters[argument].kind is inspect.Parameter.VAR_POSITIONAL
            for item in value if several else [value]:
                _check(name, argument, hints[argument], item)
    return dict(given)


def _check(name: str, argument: str, hint: Any, value: Any) -> None:
    from pydantic import ValidationError

    try:
        _adapter(hint).validate_python(value, strict=True)
    except ValidationError as caught:
        error = caught.errors()[0]
        problem = (
            error["msg"]
            .replace("Input should", "should")
            .replace("Value should", "should")
            .replace("an instance of Sequence", "a list")
            .replace("'str' instances are not allowed as a Sequence value", "should be a list")
            .replace(" after validation", "")
        )
        if problem == "should be an instance of Method":
            raise LimbeckError(f"{name}: {argument} must be an objective, not {show(value)}") from None
        inside = any(isinstance(place, int) for place in error["loc"])
        item = f": {show(error['input'])}" if inside else ""
        raise LimbeckError(f"{name}: the argument {argument}={show(value)}{item} {problem}") from None


def _adapter(hint: Any) -> TypeAdapter[Any]:
    from pydantic import ConfigDict, TypeAdapter
    from pydantic.errors import PydanticUserError

    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # a type that brings its own config
        return TypeAdapter(hint)
