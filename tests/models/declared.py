"""Reads the points that a network declares, in one forward, with hooks of its own."""

from typing import Any

import torch
from torch import Tensor, nn


def declared(network: nn.Module, inputs: Tensor) -> dict[str, Tensor | list[Tensor]]:
    """The declared features by field, and the logits, of `network` in eval mode."""
    points: dict[str, str | list[str]] = network.feature_points()  # type: ignore[operator]
    seen: dict[str, Tensor] = {}

    def keep(module: nn.Module, args: tuple[Any, ...], output: Tensor, path: str) -> None:
        assert f"{path}:input" not in seen, f"{path} runs twice"
        seen[f"{path}:input"], seen[path] = args[0], output

    handles = [
        module.register_forward_hook(lambda module, args, output, path=path: keep(module, args, output, path))
        for path, module in network.named_modules()
        if any(path == point.removesuffix(":input") for point in _flat(points))
    ]
    with torch.no_grad():
        logits = network.eval()(inputs)
    for handle in handles:
        handle.remove()
    return {
        "logits": logits,
        **{
            field: seen[point] if isinstance(point, str) else [seen[one] for one in point]
            for field, point in points.items()
        },
    }


def _flat(points: dict[str, str | list[str]]) -> list[str]:
    return [one for point in points.values() for one in ([point] if isinstance(point, str) else point)]


def scramble(network: nn.Module) -> nn.Module:
    """Gives batch norms other constants than 0 and 1, so that leaving one out shows."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                assert tensor is not None
                tensor.data = torch.rand(tensor.shape, generator=generator) + 0.5
    return network.eval()
