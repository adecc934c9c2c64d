"""What the outputs of a network are called, beside what those of the data are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.runs.network_record import Card

SHOWN = 5
"""How many names a message lists."""


@dataclass(frozen=True)
class Match:
    """How the outputs of a network become those of the data.

    Attributes:
        order: position among the network's outputs of each output of the data; None if they are the same.
        note: a sentence on it, without a full stop; None if they are the same.
    """

    order: tuple[int, ...] | None = None
    note: str | None = None


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
        LimbeckError: for a network of another task, and for one without some of the data's outputs.
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
        raise LimbeckError(
            f"the {role} {place!r} has no output for {listed(missing)} of {source.name}; its outputs are "
            f"{listed(card.names)}; give a {role} for this data, or name the data's outputs, names=[...]"
        )
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


def listed(names: Sequence[str]) -> str:
    """Some names for a message: 'a', 'b' and 7 more."""
    shown = ", ".join(map(repr, names[:SHOWN]))
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"


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
