"""What a training keeps of networks in shares: the optimizer's state and the average, share by share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from limbeck.errors import LimbeckError
from limbeck.optimization import JointOptimizer, parts_of
from limbeck.shares import here
from limbeck.training.averaging import Averaging

ELEMENTWISE = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)
"""Optimizers that do with shares of parameters what they do with whole ones, and were tried with them."""


def refusal(what: str, why: str = "") -> LimbeckError:
    """An error about what was not tried with a sharded student."""
    because = f" {why}, which" if why else ""
    return LimbeckError(
        f"{what}{because} was not tried with a sharded student; leave it out, or training.sharding"
    )


def whole_of(tensor: Tensor) -> Tensor:
    """What the shares of all processes are together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def in_shares(whole: Tensor, like: Tensor) -> Tensor:
    """A tensor that every process has, in shares as the other one is."""
    if not isinstance(like, DTensor) or isinstance(whole, DTensor) or whole.shape != like.shape:
        return whole
    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def as_share(whole: Tensor, like: Tensor) -> Tensor:
    """This process's share of it."""
    return here(in_shares(whole, like))


def joined(share: Tensor, like: Tensor) -> Tensor:
    """The tensor that the shares of all processes are together, in shares as the other one is."""
    if not isinstance(like, DTensor) or share.ndim == 0:
        return share
    return DTensor.from_local(
        share, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
    )


class Shares:
    """The parameters of an optimizer as this process has them, which are put into it in place of its own.

    An optimizer that works on each number by itself does with shares what it does with the whole. Its state
    is kept as that of the optimizer over the whole parameters.

    Args:
        accelerator: joins the processes.
        module: what is trained.
        optimizer: over its parameters, before its first step.
        release: frees what is whole at the end of a step.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        release: Callable[[], None],
    ) -> None:
        self._accelerator, self._optimizer, self._release = accelerator, optimizer, release
        self._of: dict[nn.Parameter, nn.Parameter] = {}
        self._alike: list[nn.Parameter] = []
        for part in parts_of(optimizer):
            if not isinstance(part, ELEMENTWISE):
                raise refusal(type(part).__name__)
            for group in part.param_groups:
                group["params"][:] = [self._taken(parameter) for parameter in group["params"]]
        self._buffers = [
            buffer
            for part in module.modules()
            if not getattr(part, "moves_alike", False)
            for buffer in part.buffers(recurse=False)
        ]
        broadcast([parameter.data for parameter in self._alike])

    def _taken(self, parameter: nn.Parameter) -> nn.Parameter:
        if not isinstance(parameter, DTensor):
            self._alike.append(parameter)
            return parameter
        mine = nn.Parameter(here(parameter))
        self._of[mine] = parameter
        return mine

    def begin(self) -> None:
        """Gives all processes the buffers of the first one before a step, as DistributedDataParallel does."""
        broadcast(self._buffers)

    def take_gradients(self) -> None:
        """Hands the optimizer the mean gradients over all processes, after the backward of a step."""
        self._release()
        for mine, parameter in self._of.items():
            mine.data = here(parameter)  # FSDP may have put it elsewhere
            mine.grad = None if parameter.grad is None else here(parameter.grad)
            parameter.grad = None
        if not self._alike:
            return
        flags = [float(parameter.grad is not None) for parameter in self._alike]
        reached = self._accelerator.reduce(torch.tensor(flags, device=self._accelerator.device), "sum")
        for parameter, anywhere in zip(self._alike, reached.tolist(), strict=True):
            if anywhere:
                grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = self._accelerator.reduce(grad, "mean")

    def norm(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """() the norm of the gradients of whole parameters."""
        gradients: dict[bool, list[Tensor]] = {True: [], False: []}
        for each in parameters:
            if each.grad is not None:
                gradients[each in self._of].append(each.grad)
        of_shares, of_others = (
            torch.nn.utils.get_total_norm(gradients[shared]).to(self._accelerator.device).double() ** 2
            for shared in (True, False)
        )
        whole: Tensor = self._accelerator.reduce(of_shares, "sum") + of_others
        return whole.sqrt().to(parameters[0].dtype)

    def clip(self, parameters: Sequence[nn.Parameter], largest: float) -> None:
        """Scales the gradients down to a norm."""
        torch.nn.utils.clip_grads_with_norm_(parameters, largest, self.norm(parameters))

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, before it is gathered."""
        return self._converted(self._optimizer.state_dict(), self._optimizer, joined)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what a checkpoint has, of sharded or of whole parameters."""
        self._optimizer.load_state_dict(self._converted(state, self._optimizer, as_share))

    def _converted(
        self, state: Any, optimizer: torch.optim.Optimizer, convert: Callable[[Tensor, Tensor], Tensor]
    ) -> dict[str, Any]:
        if isinstance(optimizer, JointOptimizer):
            pairs = zip(state["parts"], optimizer.parts, strict=True)
            return {"parts": [self._converted(*pair, convert) for pair in pairs]}
        whose = [each for group in optimizer.param_groups for each in group["params"]]
        moved = {
            number: {
                name: convert(value, self._of.get(whose[number], whose[number]))
                if isinstance(value, Tensor)
                else value
                for name, value in own.items()
            }
            for number, own in state["state"].items()
        }
        return {**state, "state": moved}


class AverageOfShares:
    """What a checkpoint keeps of an average of a sharded network.

    Args:
        averaging: the average.
    """

    def __init__(self, averaging: Averaging) -> None:
        self._averaging = averaging

    def state_dict(self) -> dict[str, Any]:
        """It, before it is gathered."""
        return self._averaging.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back the average of sharded or of whole parameters."""
        pairs = zip(state["average"], self._averaging.average, strict=True)
        self._averaging.load_state_dict({**state, "average": [in_shares(*pair) for pair in pairs]})
