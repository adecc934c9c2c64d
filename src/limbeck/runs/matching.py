"""What the outputs of a network are called, beside what those of the data are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from limbeck.data import Source
from limbeck.errors import LimbeckError, listed
from limbeck.runs.network_record import Card


@dataclass(frozen=True)
class Match:
    """How the outputs of a network become those of the data.

    Attributes:
        order: position among the network's outputs of each output of the data; None if they are the same.
        note: a sentence on it, without a full stop; None if they are the same.
    """

    order: tuple[int, ...] | None = None
    note: str | None = None


class UnmatchedError(LimbeckError):
    """A network without some of the data's outputs.

    Args:
        role: what the network is.
        place: where it lies.
        missing: the outputs of the data that it does not have.
        names: what its own outputs are called.
        source: the data.
        other: another network of the run, "the student", and what its outputs are called.
    """

    def __init__(
        self,
        role: str,
        place: str,
        missing: Sequence[str],
        names: Sequence[str],
        source: Source,
        other: tuple[str, Sequence[str]] | None = None,
    ) -> None:
        self._given = role, place, missing, names, source
        third = "" if other is None else f", those of {other[0]} {listed(other[1])}"
        alike = {name.casefold() for name in missing} <= {name.casefold() for name in names}
        super().__init__(
            f"the {role} {place!r} has no output for {listed(missing)} of {source.name}"
            f"{', as they differ in case' if alike else ''}; its outputs are {listed(names)}{third}, and "
            f"those of the data {listed(source.task.outputs)}; give a {role} for this data, or name the "
            "data's outputs, names=[...]"
        )

    def beside(self, role: str, names: Sequence[str]) -> UnmatchedError:
        """The same error with the names of the outputs of another network of the run.

        Args:
            role: what that network is, "the student".
            names: what its outputs are called.
        """
        return UnmatchedError(*self._given, (role, names))


def match(card: Card | None, source: Source, role: str, place: str) -> Match:
    """Matches the outputs of a network with those of the data by name.

    Nothing is matched where the names of one side are only the numbers 0, 1, ... and those of the other are
    not numbers, because such names say nothing.

    Args:
        card: the record of the network; None for a network without one.
        source: the data.
        role: what the network is, for messages.
        place: where it lies, for messages.
    Raises:
        UnmatchedError: for a network without some of the data's outputs.
        LimbeckError: for a network of another task.
    """
    if card is None:
        return Match()
    made_for, task = card.task.get("name"), source.task
    if task.embeds and card.made_for().embeds:
        return Match()
    if made_for != task.name:
        raise LimbeckError(
            f"the {role} {place!r} is for {made_for}, and {source.name} is for {task.name}; give a {role} "
            f"for {task.name}, or data for {made_for}"
        )
    theirs, ours = canonical(card.names), canonical(task.outputs)
    if theirs == ours or not ours or not comparable(theirs, ours):
        return Match()
    missing = [name for name, key in zip(task.outputs, ours, strict=True) if key not in set(theirs)]
    if missing:
        raise UnmatchedError(role, place, missing, card.names, source)
    order = tuple(theirs.index(name) for name in ours)
    what = (
        f"the {len(theirs)} outputs of the {role} {place!r} are matched by name with those of {source.name}"
    )
    if len(theirs) == len(ours):
        return Match(order, f"{what}: their order differs")
    return Match(order, f"{what}, which has {len(ours)} of them; the others are left out")


def canonical(names: Sequence[str]) -> tuple[str, ...]:
    """The names, with one way to write a whole number: 1 for 1.0 and 01, unless names would then be equal."""
    plain = tuple(_number(name) for name in names)
    return plain if len(set(plain)) == len(plain) else tuple(names)


def comparable(theirs: Sequence[str], ours: Sequence[str]) -> bool:
    """Whether names of both sides, canonical ones, say what the outputs are."""
    if len(set(theirs)) < len(theirs) or len(set(ours)) < len(ours):
        return False
    counts = [_counts(names) for names in (theirs, ours)]
    if all(counts):
        return False  # only the widths can be compared
    return not any(counts) or all(_is_number(name) for name in (*theirs, *ours))


def _counts(names: Sequence[str]) -> bool:
    """Whether the names are 0, 1, 2 and so on, as they are where nobody gave any."""
    return tuple(names) == tuple(map(str, range(len(names))))


def _is_number(name: str) -> bool:
    return name.removeprefix("-").isdecimal()


def _number(name: str) -> str:
    try:
        value = float(name)
    except ValueError:
        return name
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else name
