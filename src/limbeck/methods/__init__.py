"""The methods, one paper one file, and the table of them all.

Another package adds its own through the entry-point group `limbeck.methods` (name = "module:Class").
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points

from limbeck.errors import LimbeckError
from limbeck.methods.at import AT
from limbeck.methods.base import Method, Objective
from limbeck.methods.ce import CE
from limbeck.methods.declarations import Claim, Context, DataFacts, Phase, Reads
from limbeck.methods.dml import DML
from limbeck.methods.fitnet import FitNet
from limbeck.methods.icd import ICD
from limbeck.methods.kd import KD
from limbeck.methods.label_smoothing import LabelSmoothing
from limbeck.methods.lwkd import LWKD
from limbeck.methods.mgd import MGD
from limbeck.methods.sp import SP
from limbeck.methods.terms import Losses, Term
from limbeck.methods.tfkd import TFKD

METHODS: dict[str, type[Method]] = {
    "at": AT,
    "ce": CE,
    "dml": DML,
    "fitnet": FitNet,
    "icd": ICD,
    "kd": KD,
    "label_smoothing": LabelSmoothing,
    "lwkd": LWKD,
    "mgd": MGD,
    "sp": SP,
    "tfkd": TFKD,
}

__all__ = [
    "AT",
    "CE",
    "DML",
    "ICD",
    "KD",
    "LWKD",
    "METHODS",
    "MGD",
    "SP",
    "TFKD",
    "Claim",
    "Context",
    "DataFacts",
    "FitNet",
    "LabelSmoothing",
    "Losses",
    "Method",
    "Objective",
    "Phase",
    "Reads",
    "Term",
    "table",
]


def table() -> Mapping[str, type[Method]]:
    """Every method by its name in the notation: limbeck's own, and those of installed packages after them."""
    return {**_foreign(), **METHODS}


@cache
def _foreign() -> Mapping[str, type[Method]]:
    found: dict[str, type[Method]] = {}
    for point in entry_points(group="limbeck.methods"):
        try:
            method = point.load()
        except (ImportError, AttributeError) as error:
            raise LimbeckError(f"the entry point {point.name!r} = {point.value!r} fails: {error}") from error
        if not (isinstance(method, type) and issubclass(method, Method)) or method.name != point.name:
            raise LimbeckError(
                f"the entry point {point.name!r} = {point.value!r} must be a Method of that name"
            )
        found[point.name] = method
    return found
