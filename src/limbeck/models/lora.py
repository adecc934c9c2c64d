"""Low-rank adapters: a network of which only small matrices beside its own learn.

Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022, arXiv:2106.09685; by the package
peft.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch import nn

from limbeck.errors import LimbeckError, unknown
from limbeck.optional import imported

EXTRA = "lora"

ADAPTER = "default"
"""What peft calls the adapters."""


def adapt(
    network: nn.Module, *, rank: int, alpha: float, dropout: float, targets: Sequence[str], name: str
) -> nn.Module:
    """The same network with adapters in it, drawn from torch's global generator; nothing else learns.

    An adapter begins as zero, so that the network answers as before.

    Args:
        network: changed in place.
        rank: of the matrices of an adapter.
        alpha: an adapter counts `alpha / rank` times.
        dropout: share of an adapter's input that is silenced in training.
        targets: names of the linear layers that get one, or the ends of their paths; all but the head if none
            is named.
        name: of the network, for messages.
    Raises:
        LimbeckError: if the package is not installed, and for names of no linear layer.
    """
    peft = imported("peft", EXTRA)
    head = _head(network)
    linear = [
        path for path, each in network.named_modules() if isinstance(each, nn.Linear) and each is not head
    ]
    chosen = [path for path in linear if not targets or any(_ends(path, target) for target in targets)]
    for target in targets:
        if not any(_ends(path, target) for path in linear):
            raise unknown(
                f"linear layer of {name}", target, sorted({path.rpartition(".")[2] for path in linear})
            )
    if not chosen:
        raise LimbeckError(f"{name} has no linear layer to put adapters on")
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=chosen)
    adapted: nn.Module = peft.inject_adapter_in_model(config, network, adapter_name=ADAPTER)
    return adapted


def is_adapted(network: nn.Module) -> bool:
    """Whether there are adapters in the network."""
    return any(hasattr(module, "lora_A") for module in network.modules())


def merged(network: nn.Module) -> nn.Module:
    """A copy of the network with its adapters added to the weights that they stand beside; itself without
    any.

    Args:
        network: stays as it is.
    """
    if not is_adapted(network):
        return network
    made = copy.deepcopy(network)
    for path, each in [*made.named_modules()]:
        if hasattr(each, "lora_A"):
            layer: Any = each
            layer.merge()
            parent, _, child = path.rpartition(".")
            setattr(made.get_submodule(parent), child, layer.get_base_layer())
    for tensor in made.parameters():
        tensor.requires_grad_(True)
    return made


def _head(network: nn.Module) -> nn.Module | None:
    outputs: Any = getattr(network, "get_output_embeddings", None)
    found = outputs() if callable(outputs) else getattr(network, "head", None)
    return found if isinstance(found, nn.Module) else None


def _ends(path: str, target: str) -> bool:
    return path == target or path.endswith(f".{target}")
