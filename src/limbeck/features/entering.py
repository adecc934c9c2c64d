"""Enters a network behind one of its stages: from what comes out of the stage to the logits."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from limbeck.errors import LimbeckError
from limbeck.features.calling import Item, opaque, uncompiled, undisturbed
from limbeck.features.passage import Blank, Passage
from limbeck.features.points import FeaturePoints, Point
from limbeck.features.tap import Tap, unfused
from limbeck.outputs import Inputs, apply


class Entered(nn.Module):
    """The part of a network behind one of its stages, a copy with weights of its own.

    The copy runs the network's own forward, whatever that does between its modules. What the network calls
    before the stage is taken out, with its weights, and gives NaN; in the place of the stage comes what it is
    told. The part still sees the network's inputs, for their shape and their mask; that nothing else from
    before the stage reaches the logits is tried out on the example. Weights without a part in the logits do
    not learn.

    Args:
        network: the network, which is not changed.
        points: where its features are.
        stage: the one it is entered behind, counted from 0, or from the end.
        example: inputs of a few samples, on the network's device.
        whose: what to call the network in messages.
    Raises:
        LimbeckError: for a network that cannot be entered there: it has no such stage, its inside cannot be
            seen, or what follows the stage also reads what came before it.
    """

    def __init__(
        self,
        network: nn.Module,
        points: FeaturePoints,
        stage: int,
        example: Inputs,
        whose: str = "the network",
    ) -> None:
        super().__init__()
        network = uncompiled(network)
        if inside := opaque(network):
            raise LimbeckError(f"{whose} is {inside}, whose inside cannot be seen, so it cannot be entered")
        if not -len(points.stages) <= stage < len(points.stages):
            have = f"its stages are 0 to {len(points.stages) - 1}" if points.stages else "it has no stages"
            raise LimbeckError(f"{whose} cannot be entered behind stage {stage}: {have}")
        point = points.stages[stage]
        refusal = f"{whose} cannot be entered behind its stage {stage} ({point}): "
        self._points, self._door = points, _Door(point)
        passage, example = Passage(network, point), apply(lambda tensor: tensor[:2], example)
        with undisturbed(network, example), torch.no_grad(), passage.watched(), unfused():
            logits = Tap(network, points, ())(example).logits
        if passage.stage is None:
            raise LimbeckError(f"{refusal}a forward does not pass it as one tensor")
        self.network = _without(network, passage, self._door)
        self._try_out(passage.stage, example, logits, refusal)

    def forward(self, stage: Tensor, inputs: Inputs) -> Tensor:
        """The logits as the network gives them.

        Args:
            stage: (B, ...) what is to come out of the stage, as a tap gives it.
            inputs: what the network is called with, for the same samples.
        """
        with self._door.opened(self.network, stage), unfused():
            return Tap(self.network, self._points, ())(inputs).logits

    def _try_out(self, stage: Tensor, example: Inputs, logits: Tensor, refusal: str) -> None:
        """Refuses a part that does not give the network's logits; freezes weights that do not reach them."""
        try:
            with undisturbed(self.network, example), torch.enable_grad():
                found = self(stage, _foreign(example))
        except Exception as error:  # whatever other people's code raises
            reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
            raise LimbeckError(f"{refusal}what follows cannot run by itself ({reason})") from error
        if found.shape != logits.shape or not torch.allclose(found, logits, rtol=1e-3, atol=1e-4):
            raise LimbeckError(
                f"{refusal}what follows also reads what came before, past the stage; name stages that all "
                "paths lead through"
            )
        learning = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        if learning:
            gradients = torch.autograd.grad(found.sum(), learning, allow_unused=True)
            for parameter, gradient in zip(learning, gradients, strict=True):
                parameter.requires_grad_(gradient is not None)


def _without(network: nn.Module, passage: Passage, door: _Door) -> nn.Module:
    """A copy of the network with stand-ins for the modules that it calls before the stage."""
    made = copy.deepcopy(network)
    gave: dict[str, list[Any]] = {}
    for path, output in passage.before:
        gave.setdefault(path, []).append(output)
    found = {path: made.get_submodule(path) for path in gave}
    stand_ins = {
        found[path]: StandIn(door, outputs, found[path] if path in passage.needed else None)
        for path, outputs in gave.items()
    }
    for parent in list(made.modules()):
        for name, child in parent._modules.items():
            if child in stand_ins:
                parent._modules[name] = stand_ins[child]
    return made


class StandIn(nn.Module):
    """Takes the place of a module for its calls before the stage.

    Args:
        door: where the network is entered.
        outputs: what the module gave in each of these calls, its tensors as `Blank`s.
        later: the module, if it is called later, too.
    """

    def __init__(self, door: _Door, outputs: Sequence[Any], later: nn.Module | None) -> None:
        super().__init__()
        self.later, self._door, self._outputs = later, door, outputs
        self.calls = 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the door has for a call before the stage; what the module gives for a later one."""
        self.calls += 1
        if self.calls > len(self._outputs) and self.later is not None:
            return self.later(*args, **kwargs)
        return tree_map(self._door.filled, self._outputs[self.calls - 1])


class _Door:
    """Where a network is entered; holds what is to come out of the stage during one forward."""

    def __init__(self, point: Point) -> None:
        self._point = point
        self._stage: Tensor | None = None

    @contextmanager
    def opened(self, network: nn.Module, stage: Tensor) -> Iterator[None]:
        """Inside, the network's forward finds `stage` where its own would come out."""
        stage = stage.movedim(1, -1) if self._point.channels_last else stage
        self._stage = stage.clone() if self._point.overwritten else stage
        for module in network.modules():
            if isinstance(module, StandIn):
                module.calls = 0
        try:
            with self._hooked(network) if self._point.side == "input" else nullcontext():
                yield
        finally:
            self._stage = None

    def filled(self, blank: Any) -> Any:
        """The stage, or a tensor without meaning, for a blank; anything else as it is."""
        if not isinstance(blank, Blank):
            return blank
        assert self._stage is not None
        if blank.is_stage:
            return self._stage
        shape = (len(self._stage), *blank.shape[1:]) if blank.shape else ()
        nothing = math.nan if blank.dtype.is_floating_point else 0
        return self._stage.new_full(shape, nothing, dtype=blank.dtype)

    @contextmanager
    def _hooked(self, network: nn.Module) -> Iterator[None]:
        """Inside, the next call of the module that the stage enters is given the stage."""
        module = network.get_submodule(self._point.path)
        entrance = module.later if isinstance(module, StandIn) else module
        assert entrance is not None
        entered = False

        def exchanged(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            nonlocal entered
            if entered:
                return None
            entered, place = True, self._point.item
            if place is None:
                given: list[tuple[Item, Any]] = [*enumerate(args), *kwargs.items()]
                place = next(at for at, value in given if isinstance(value, Tensor))
            if isinstance(place, int):
                return (*args[:place], self._stage, *args[place + 1 :]), kwargs
            return args, {**kwargs, str(place): self._stage}

        handle = entrance.register_forward_pre_hook(exchanged, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()


def _foreign(example: Inputs) -> Inputs:
    """Inputs that tell nothing of the example's samples but their shape and their mask."""

    def hidden(tensor: Tensor) -> Tensor:
        return torch.full_like(tensor, math.nan) if tensor.is_floating_point() else tensor.flip(0)

    if isinstance(example, Tensor):
        return hidden(example)
    return {name: tensor if "mask" in name else hidden(tensor) for name, tensor in example.items()}
