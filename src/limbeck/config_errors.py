"""What pydantic finds wrong with a file, in limbeck's words."""

from __future__ import annotations

import types
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from limbeck.errors import LimbeckError, unknown

SHOWN = 200
"""Characters of a value that a message shows."""


def explained(
    error: ValidationError,
    file: Path | str | None,
    model: type[BaseModel],
    what: str,
    settings: Mapping[str, Any] = MappingProxyType({}),
    options: Mapping[str, str] = MappingProxyType({}),
) -> LimbeckError:
    """What pydantic found wrong with a file or its settings, in limbeck's words.

    Args:
        error: of pydantic.
        file: that was read, if any.
        model: what was to be made.
        what: what the file is called.
        settings: values by dotted key that override it.
        options: the options of the command line that set a key, by the key.
    """
    problem = min(error.errors(), key=lambda each: each["type"] == "missing")  # perhaps only misspelled
    path = [str(part) for part in problem["loc"]]
    message = problem["msg"].replace("Value error, ", "")
    if not path:  # teachers that do not go together
        is_set = any(name.split(".")[0] in ("teacher", "teachers") for name in settings)
        return LimbeckError(f"{file}: {message}" if file and not is_set else message)
    key = ".".join(_fields(path, model)[1]) + (".name" if problem["type"] == "union_tag_invalid" else "")
    is_set = any(f"{key}.".startswith(f"{name}.") or name.startswith(f"{key}.") for name in settings)
    where = f"{file}: " if file and not is_set else ""
    if problem["type"] in ("extra_forbidden", "invalid_key"):
        *above, last = path
        known, tagless = _fields(above, model)
        inside = f" in {'.'.join(tagless)}" if tagless else ""
        return LimbeckError(f"{where}{unknown(f'{what} key{inside}:', last, known)}")
    if problem["type"] == "missing":
        hint = f" ({options[key]})" if key in options else ""
        return LimbeckError(f"{where}the {what} lacks {key}{hint}")
    value = problem["input"]
    if problem["type"] == "union_tag_invalid":
        value, message = problem["ctx"]["tag"], f"should be one of {problem['ctx']['expected_tags']}"
    elif problem["type"] == "model_type":
        message = f"should be a mapping with some of the keys {', '.join(_fields(path, model)[0])}"
    elif problem["type"] == "path_type":
        message = "should be a path"
    for theirs, ours in _PLAIN.items():
        message = message.replace(theirs, ours)
    if problem["type"] == "tuple_type" and isinstance(value, str):
        message += f", as in {key}=[{value}]"
    shown = repr(value)
    shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}..."
    return LimbeckError(f"{where}the {what} value {key}={shown} {message}")


_PLAIN = {
    "Input should": "should",
    "Value should": "should",
    "valid tuple": "list",
    "valid dictionary": "mapping",
}
"""Pydantic's words that a reader of YAML would not know, and what they mean."""


def _fields(path: list[str], whole: type[BaseModel]) -> tuple[list[str], list[str]]:
    """The names that the config has at a place, and its path without pydantic's names for kinds."""
    model: Any = whole
    plain: list[str] = []
    for name in path:
        if isinstance(model, type(BaseModel)):
            if name not in model.model_fields:
                return list(model.model_fields), [*plain, name]
            model, plain = model.model_fields[name].annotation, [*plain, name]
            if type(None) in get_args(model):
                model = next(part for part in get_args(model) if part is not type(None))
        elif get_origin(model) in (Union, types.UnionType):  # a kind, chosen by its tag
            kinds = [get_args(kind) for kind in get_args(model) if get_args(kind)]
            model = next((kind for kind, *tags in kinds if any(tag.tag == name for tag in tags)), model)
        elif get_origin(model) is dict:
            model, plain = get_args(model)[1], [*plain, name]
        else:
            plain.append(name)
    is_part = isinstance(model, type(BaseModel))
    return (list(model.model_fields) if is_part else []), plain
