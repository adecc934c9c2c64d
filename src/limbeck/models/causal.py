"""The door to causal language models of Hugging Face: `hf:FOLDER`, `hf:FILE.gguf`, `hf:config(...)`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from limbeck.errors import LimbeckError
from limbeck.models import configs
from limbeck.models.huggingface import Pretrained, read
from limbeck.models.layers import fewer_layers
from limbeck.optional import imported
from limbeck.pretrained import EXTRA, config_of, from_pretrained, quiet

AUTO = "AutoModelForCausalLM"
"""The class of `transformers` that loads them."""

ENDINGS = ("ForCausalLM", "LMHeadModel")
"""How the classes of such networks end."""


def build(spec: str, facts: Mapping[str, int]) -> nn.Module:
    """The network, in training mode, with the weights of its place in float32.

    Args:
        spec: see `limbeck.models.huggingface.read`.
        facts: the `vocab_size` of the data, for `hf:config(...)`.
    Raises:
        LimbeckError: for what cannot be loaded, a network of another kind, such as an encoder, and attributes
            and layers that it has not.
    """
    named = read(spec)
    if not named.brings_weights:
        return _alone(named, facts)
    check_kind(spec)
    config = configs.changed(named.place, named.overrides)
    network, info = from_pretrained(
        AUTO, named.place, config=config, dtype=torch.float32, output_loading_info=True
    )
    if missing := sorted(info["missing_keys"]):
        raise LimbeckError(f"{spec}: {missing[0]} is not among its weights, so it would be random")
    if named.layers is not None:
        generation = network.generation_config
        network = fewer_layers(network, named.layers, named.keep, spec)
        network.generation_config = generation
    made: nn.Module = network.train()
    return made


def check_kind(spec: str) -> None:
    """Refuses a network of another kind, such as an encoder, by its config."""
    named = read(spec)
    kinds = config_of(named.place).architectures or () if named.brings_weights else ()
    if kinds and not any(kind.endswith(ENDINGS) for kind in kinds):
        raise LimbeckError(
            f"{spec} is a {kinds[0]}, and a language model that predicts the next token is needed, one whose "
            f"class ends in {' or '.join(ENDINGS)}"
        )


def _alone(named: Pretrained, facts: Mapping[str, int]) -> nn.Module:
    """A network of fresh weights, told the size of the vocabulary unless its arguments do."""
    package = imported("transformers", EXTRA)
    try:
        config = configs.of_family(named.overrides, facts)
        with quiet(package):
            network: Any = getattr(package, AUTO).from_config(config)
    except LimbeckError:
        raise
    except Exception as error:  # whatever the config makes of its arguments
        family = named.overrides["model_type"]
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise LimbeckError(
            f"hf:config cannot make a language model of the family {family!r}: {reason}"
        ) from error
    made: nn.Module = network.train()
    return made


def name_tokens(network: Any, tokenizer: Any) -> None:
    """Writes the ids of a tokenizer's special tokens into the config of a network with fresh weights."""
    for config in (network.config, network.generation_config):
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            setattr(config, name, getattr(tokenizer, name))
