"""The notation of objectives: text to methods and back.

    >>> str(parse("0.1*ce + 0.9*kd(temperature=4)"))
    '0.1*ce + 0.9*kd(temperature=4)'

`str()` of an objective gives the arguments as they were given; `resolved` gives all of them.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from limbeck.errors import LimbeckError, unknown
from limbeck.methods import table
from limbeck.methods.base import Method, Objective
from limbeck.notation import Call, Sum, Value
from limbeck.notation import parse as parse_notation

__all__ = ["Objective", "parse", "resolved"]


def parse(objective: str | Method) -> Objective:
    """The objective that a text stands for; a method or an objective is taken as it is.

    Raises:
        LimbeckError: for anything but the notation, an unknown method, or a wrong argument.
    """
    if isinstance(objective, str):
        return _objective(parse_notation(objective))
    if not isinstance(objective, Method):
        raise LimbeckError(f"an objective is text in the notation or a method, not {objective!r:.80}")
    return objective if isinstance(objective, Objective) else Objective([(1.0, objective)])


def resolved(objective: Method) -> dict[str, Any]:
    """Every argument of every method in it, defaults included, by term label: what a record keeps."""
    if isinstance(objective, Objective):
        return {
            label: {"weight": weight, **resolved(method)}
            for label, (weight, method) in zip(objective.labels, objective.summands, strict=True)
        }
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(type(objective).__init__).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    arguments = {**defaults, **objective.given}
    # Where None stands for something that the method settles, the record says what that was.
    arguments = {k: _settled(objective, k) if v is None else v for k, v in arguments.items()}
    return {"method": objective.name, **{name: _plain(value) for name, value in arguments.items()}}


def _settled(objective: Method, name: str) -> Any:
    """What a method has made of an argument that was left to it; None if it is a network."""
    value = getattr(objective, name, None)
    return None if isinstance(value, nn.Module) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Method):
        return resolved(value)
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _objective(parsed: Sum) -> Objective:
    return Objective([(weight, _method(call)) for weight, call in parsed.terms])


def _method(call: Call) -> Method:
    methods = table()
    if call.name not in methods:
        raise unknown("method", call.name, methods)
    args = [_value(value) for value in call.args]
    return methods[call.name](*args, **{name: _value(value) for name, value in call.kwargs.items()})


def _value(value: Value) -> object:
    if isinstance(value, Call):
        return _method(value)
    if isinstance(value, Sum):
        return _objective(value)
    return [_value(item) for item in value] if isinstance(value, list) else value
