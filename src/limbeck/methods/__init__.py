"""The methods, one paper one file, and the table of them all.

Another package adds its own through the entry-point group `limbeck.methods` (name = "module:Class").
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points

from limbeck.errors import LimbeckError
from limbeck.methods.base import Method, Objective
from limbeck.methods.ce import CE
from limbeck.methods.declarations import Claim, Context, DataFacts, Phase, Reads
from limbeck.methods.kd import KD
from limbeck.methods.label_smoothing import LabelSmoothing
from limbeck.methods.mgd import MGD
from limbeck.methods.terms import Losses, Term

METHODS: dict[str, type[Method]] = {
    "ce": CE,
    "kd": KD,
    "label_smoothing": LabelSmoothing,
    "mgd": MGD,
}

__all__ = [
    "CE",
    "KD",
    "METHODS",
    "Claim",
    "Context",
    "DataFacts",
    "LabelSmoothing",
    "MGD",
    "Losses",
    "Method",
    "Objective",
    "Phase",
    "Reads",
    "Term",
    "table",
]


def table() -> Mapping[str, type[Method]]:
    """Every method by its name in the notation: limbeck's own and those of installed packages."""
    return {**_foreign(), **METHODS}


@cache
def _foreign() -> Mapping[str, type[Method]]:
    found: dict[str, type[Method]] = {}
    for point in entry_points(group="limbeck.methods"):
        method = point.load()
        if not (isinstance(method, type) and issubclass(method, Method)) or method.name != point.name:
            raise LimbeckError(
                f"the entry point {point.name!r} = {point.value!r} must be a Method of that name"
            )
        found[point.name] = method
    return found
