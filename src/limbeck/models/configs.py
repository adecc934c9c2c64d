"""Configs of Hugging Face networks: what a model text may set in them, and what they say of a network."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

import torch

from limbeck import generation, pretrained
from limbeck.errors import LimbeckError
from limbeck.optional import imported
from limbeck.pretrained import EXTRA, quiet, stamp

OWN = (
    "layers",
    "keep",
    "max_length",
    "pad_token",
    "add_prefix_space",
    "pooling",
    "normalize",
    "dim",
)
"""The arguments of a model text that are limbeck's; all others are attributes of the config."""


def changed(place: str, values: Mapping[str, Any]) -> Any:
    """The config of a folder or of a name on the hub, with other values of some attributes.

    Args:
        place: a folder that `save_pretrained` wrote, or a name on the hub.
        values: attributes by name.
    Raises:
        LimbeckError: for a name that is no attribute, and a value that it cannot have.
    """
    config = pretrained.config_of(place)
    _check_names(f"hf:{place}", values, config, f"its own are {', '.join(OWN[:-1])} and {OWN[-1]}, and ")
    for name, value in values.items():
        try:
            setattr(config, name, value)
        except Exception as error:  # what its own check says
            raise LimbeckError(f"hf:{place}: {name} cannot be {value!r}") from error
    return config


def of_family(values: Mapping[str, Any], facts: Mapping[str, Any]) -> Any:
    """A config that is made of its arguments alone.

    Args:
        values: attributes by name, with the `model_type`.
        facts: attributes that follow from the data; those that the family does not have are left out, and
            `values` win over them.
    Raises:
        LimbeckError: for a family that `transformers` does not have, and for a name that is no attribute.
    """
    package = imported("transformers", EXTRA)
    if "model_type" not in values:
        raise LimbeckError(
            'a network made from a config alone names its family, as in hf:config(model_type="bert")'
        )
    values = dict(values)
    family = str(values.pop("model_type"))
    if family not in package.CONFIG_MAPPING:
        raise LimbeckError(
            f"transformers has no family model_type={family!r}{_nearest(family, package.CONFIG_MAPPING, 3)}"
        )
    usual = package.AutoConfig.for_model(family)
    _check_names("hf:config", values, usual)
    known = usual.to_dict()
    told = {name: value for name, value in facts.items() if name in known and value is not None}
    return package.AutoConfig.for_model(family, **{**told, **values})


def most_tokens(place: str) -> int:
    """How many tokens of a text the network of a folder, or of a name on the hub, reads."""
    return _most_tokens(place, stamp(place))


@lru_cache(maxsize=32)
def _most_tokens(place: str, stamp: object) -> int:
    config = pretrained.config_of(place)
    if getattr(config, "max_position_embeddings", None) is None:
        return 1 << 20  # the tokenizer says
    package = imported("transformers", EXTRA)
    with quiet(package), torch.device("meta"):  # no weights are made
        network = package.AutoModel.from_config(copy.deepcopy(config))
    found = generation.most_tokens(network)
    assert found is not None, "its config says it"
    return found


def _check_names(whose: str, values: Mapping[str, Any], config: Any, own: str = "") -> None:
    """Refuses a name that is no attribute of a config."""
    known = {name for name in (*config.to_dict(), *config.attribute_map) if not name.startswith("_")}
    for name in values:
        if name not in known:
            hint = _nearest(name, {*OWN, *known} if own else known)
            raise LimbeckError(
                f"{whose} has no argument {name!r}: {own}attributes of its config, that of "
                f"{config.model_type}, are taken{' too' if own else ''}{hint}"
            )


def _nearest(name: str, known: Iterable[str], most: int = 1) -> str:
    """A clause that suggests the names nearest to one that is none."""
    near = [repr(each) for each in get_close_matches(name, sorted(known), n=most, cutoff=0.5)]
    if not near:
        return ""
    return f"; did you mean {', '.join(near[:-1])}{' or ' if near[:-1] else ''}{near[-1]}?"
