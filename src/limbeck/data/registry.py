"""From a call in the notation to the object a table of names makes of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from limbeck.arguments import checked_arguments
from limbeck.errors import LimbeckError, unknown
from limbeck.notation import Call

T = TypeVar("T")


def construct(call: Call, makers: Mapping[str, Callable[..., T]], kind: str, **facts: Any) -> T:
    """Calls the maker that `call` names with the arguments it gives.

    Args:
        call: `crop(padding=4)`; all arguments by name, but for those that the maker takes by position alone,
            which are calls of the same kind: `noisy_labels(digits, rate=0.4)`.
        makers: what there is, by name.
        kind: what the makers make, for messages ("views", "data set").
        facts: arguments that come from elsewhere and that the text may not give; None is left out. With a
            call inside a call, they are for the innermost.
    Raises:
        LimbeckError: for an unknown or missing name or argument, one of another type or range, and a fact
            the maker has no use for.
    """
    if call.name not in makers:
        raise unknown(kind, call.name, makers)
    make = makers[call.name]
    parameters = inspect.signature(make).parameters
    wraps = [name for name, parameter in parameters.items() if parameter.kind is parameter.POSITIONAL_ONLY]
    named = parameters.keys() - wraps
    if call.args and not wraps:
        raise LimbeckError(
            f"{call.name} takes its arguments by name ({', '.join(parameters) or 'it has none'})"
        )
    if len(call.args) != len(wraps) or not all(isinstance(arg, Call) for arg in call.args):
        raise LimbeckError(f"{call.name} takes one {kind} and then arguments by name; here it is {call}")
    for name in call.kwargs:
        if name not in named or name in facts:
            raise unknown(f"argument of {call.name}", name, named - facts.keys())
    inside = [construct(arg, makers, kind, **facts) for arg in call.args if isinstance(arg, Call)]
    given = {} if wraps else {name: value for name, value in facts.items() if value is not None}
    for name in given.keys() - named:
        raise LimbeckError(f"{kind} {call.name!r} has no use for {name}")
    for name in parameters:
        missing = parameters[name].default is inspect.Parameter.empty and name in named
        if missing and name not in call.kwargs and name not in given:
            raise LimbeckError(f"{kind} {call.name!r} needs {name}")
    checked_arguments(call.name, make, inside, {**call.kwargs, **given})
    return make(*inside, **call.kwargs, **given)


def written(name: str, make: Callable[..., object], arguments: Mapping[str, Any]) -> str:
    """The call that makes the same again, without defaults.

    Args:
        name: of the maker in its table.
        make: called with `arguments`.
        arguments: by name, those that a text may give.
    """
    parameters = inspect.signature(make).parameters
    given = {key: value for key, value in arguments.items() if value != parameters[key].default}
    return str(Call(name, kwargs=given))
