"""What other installed packages add to limbeck's tables, through entry points."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeVar

from limbeck.errors import LimbeckError

T = TypeVar("T")


def registered(table: str, kind: type[T]) -> Mapping[str, type[T]]:
    """The classes of one kind that installed packages register under `limbeck.<table>`.

    Args:
        table: "methods" or "tasks".
        kind: the class that each must be a subclass of; its `name` must be that of the entry point.
    Raises:
        LimbeckError: for an entry point that cannot be loaded, or that is something else.
    """
    found = loaded(table)
    for name, each in found.items():
        if not (isinstance(each, type) and issubclass(each, kind)) or each.name != name:  # type: ignore[attr-defined]
            raise LimbeckError(
                f"the entry point {name!r} of limbeck.{table} must be a {kind.__name__} of that name"
            )
    return found


@cache
def loaded(table: str) -> Mapping[str, Any]:
    """What installed packages register under `limbeck.<table>`, by name."""
    found: dict[str, Any] = {}
    for point in entry_points(group=f"limbeck.{table}"):
        try:
            found[point.name] = point.load()
        except (ImportError, AttributeError) as error:
            raise LimbeckError(f"the entry point {point.name!r} = {point.value!r} fails: {error}") from error
    return found
