"""YAML as limbeck reads and writes it: `5e-4` is a number, and a key that stands twice is refused."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from limbeck import urls
from limbeck.errors import LimbeckError


def parse_yaml(text: str) -> Any:
    """A value in YAML, as limbeck reads it everywhere.

    Raises:
        yaml.YAMLError: for a text that is not YAML, or a mapping with a key that stands twice.
    """
    return copy.deepcopy(_parsed(text))


@lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    """The value; a run reads its own config several times."""
    return yaml.load(text, _Loader)


def read_yaml(file: Path | str, model: type[BaseModel], what: str) -> dict[str, Any]:
    """The mapping in a YAML file, not yet checked.

    Args:
        file: its path or address.
        model: what it is to be, for the message.
        what: what the file is called.
    Raises:
        LimbeckError: if it cannot be read, or holds something else than a mapping.
    """
    try:
        raw = parse_yaml(urls.read_text(file))
    except OSError as error:
        raise LimbeckError(f"the {what} {str(file)!r} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        reason = str(getattr(error, "problem", None) or error).splitlines()[0]
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise LimbeckError(f"the {what} {str(file)!r} is not YAML: {reason}{where}") from None
    if not isinstance(raw, dict):
        known = ", ".join(model.model_fields)
        raise LimbeckError(f"the {what} {str(file)!r} must be a mapping with the keys {known}")
    return raw


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key that stands twice, of which PyYAML would keep the last, and numbers and dates
    that look like some and are none.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            kind = node.tag.rpartition(":")[2]
            problem = f"{node.value!r} is no {kind} ({error}); put a text between quotes"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                problem = f"the key {key.value!r} stands twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """YAML for `_Loader`."""


def dump_yaml(tree: Mapping[str, Any], width: int | None = None) -> str:
    """YAML that `parse_yaml` reads back as it was.

    Args:
        tree: of plain values.
        width: characters after which a line is broken; None for those of YAML.
    """
    dumped: str = yaml.dump(tree, Dumper=_Dumper, width=width, sort_keys=False, allow_unicode=True)
    return dumped


# YAML 1.1 reads 5e-4 as a string; people mean the number.
for _each in (_Loader, _Dumper):
    _each.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+\Z"), list("-+.0123456789")
    )
