"""What a network calls before one of its stages, seen in one forward."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from limbeck.features.calling import arguments_of, element_of
from limbeck.features.points import Point


@dataclass(frozen=True)
class Blank:
    """The place of a tensor in what a module gave: its shape and type, and whether it was the stage."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    is_stage: bool = False


class Passage:
    """Watches one forward of a network until the stage is reached.

    Args:
        network: the network.
        point: where the stage is.

    Attributes:
        before: paths of the outermost modules whose calls are over when the stage is reached, with what they
            gave, its tensors as `Blank`s. Where the stage is what a module gives, that call is the last.
        needed: paths of the modules that are running when the stage is reached, or are called later.
        stage: what came out of the stage, as a tap gives it; None as long as it is not reached.
    """

    def __init__(self, network: nn.Module, point: Point) -> None:
        self.before: list[tuple[str, Any]] = []
        self.needed: set[str] = set()
        self.stage: Tensor | None = None
        self._network, self._point = network, point
        self._running: list[tuple[str, int]] = []
        self._calls: Counter[str] = Counter()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Inside, the network's calls are written down."""
        with ExitStack() as stack:
            for path, module in self._network.named_modules():
                enter, leave = partial(self._enter, path), partial(self._leave, path)
                stack.enter_context(module.register_forward_pre_hook(enter, with_kwargs=True))
                stack.enter_context(module.register_forward_hook(leave))
            yield

    def _enter(self, path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._running.append((path, len(self.before)))
        if self._at("input", path):
            self._reach(arguments_of(args, kwargs).get(self._point.item))
        if self.stage is not None:
            self.needed.add(path)

    def _leave(self, path: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        _, begun = self._running.pop()
        if self.stage is None:
            stage = element_of(output, self._point.item) if self._at("output", path) else None
            self.before[begun:] = [(path, tree_map(partial(_blank, stage=stage), output))]
            self._reach(stage)
        self._calls[path] += 1

    def _at(self, side: str, path: str) -> bool:
        point = self._point
        return (side, path, self._calls[path]) == (point.side, point.path, point.call)

    def _reach(self, stage: Any) -> None:
        if isinstance(stage, Tensor):
            self.needed |= {path for path, _ in self._running}
            moved = stage.movedim(-1, 1) if self._point.channels_last else stage
            self.stage = moved.clone()  # the network may overwrite it


def _blank(leaf: Any, stage: Any) -> Any:
    """What stands for a part of a module's output; numbers and texts stand for themselves."""
    if isinstance(leaf, Tensor):
        return Blank(tuple(leaf.shape), leaf.dtype, leaf is stage)
    return leaf if isinstance(leaf, (bool, int, float, str, torch.Size)) else None
