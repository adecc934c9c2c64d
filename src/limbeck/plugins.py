"""Tables of names: limbeck's own entries, and what other installed packages add through entry points."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from limbeck.errors import LimbeckError

T = TypeVar("T")


class Table(MutableMapping[str, T]):
    """A table that imports an entry when it is looked up for the first time.

    Args:
        places: by name, where the entry is, written "module:attribute" as in an entry point.

    Attributes:
        places: as given.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self.places = places
        self._entries: dict[str, str | T] = dict(places)

    def __getitem__(self, name: str) -> T:
        entry = self._entries[name]
        if not isinstance(entry, str):
            return entry
        module, _, attribute = entry.partition(":")
        found: T = getattr(import_module(module), attribute)
        self._entries[name] = found
        return found

    def __setitem__(self, name: str, entry: T) -> None:
        self._entries[name] = entry

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries


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


def builders(table: str) -> Mapping[str, Callable[..., Any]]:
    """The functions and classes that installed packages register under `limbeck.<table>`.

    Args:
        table: "models" or "data".
    Raises:
        LimbeckError: for an entry point that cannot be loaded, or that cannot be called.
    """
    found = loaded(table)
    for name, each in found.items():
        if not callable(each):
            raise LimbeckError(
                f"the entry point {name!r} of limbeck.{table} must be a function or a class, "
                f"not {type(each).__name__}"
            )
    return found


def registers(table: str) -> bool:
    """Whether any installed package registers something under `limbeck.<table>`."""
    return bool(_points(table))


def package_of(table: str, name: str) -> str | None:
    """The installed package that registers a name under `limbeck.<table>`; None if none does."""
    for point in _points(table):
        if point.name == name:
            return None if point.dist is None else str(point.dist.name)
    return None


def forget() -> None:
    """Forgets what installed packages register, so that it is looked up again."""
    _points.cache_clear()
    loaded.cache_clear()


@cache
def _points(table: str) -> tuple[EntryPoint, ...]:
    """The entry points of installed packages; looking through all packages takes tens of milliseconds."""
    return tuple(entry_points(group=f"limbeck.{table}"))


@cache
def loaded(table: str) -> Mapping[str, Any]:
    """What installed packages register under `limbeck.<table>`, by name.

    Raises:
        LimbeckError: for an entry point that cannot be loaded.
    """
    found: dict[str, Any] = {}
    for point in _points(table):
        try:
            found[point.name] = point.load()
        except (ImportError, AttributeError) as error:
            raise LimbeckError(f"the entry point {point.name!r} = {point.value!r} fails: {error}") from error
    return found
