"""Optimizers and learning-rate schedules as data, for a run's config and a method's phase alike."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from limbeck.errors import LimbeckError
from limbeck.optional import imported

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
Parameters: TypeAlias = Iterable[nn.Parameter] | Iterable[dict[str, Any]]
"""Parameters, or groups of them as torch's optimizers take them."""
Fraction: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


class _Described(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class Optimizing(_Described):
    """An optimizer as data; called with parameters, or with groups of them, it makes that."""

    if TYPE_CHECKING:  # a field here would come before the name
        lr: float

    def ready(self) -> None:
        """Refuses an optimizer whose package is not installed."""

    def __call__(self, parameters: Parameters) -> torch.optim.Optimizer:
        """The optimizer over `parameters`."""
        raise NotImplementedError


class SGD(Optimizing):
    """Stochastic gradient descent; the defaults are the CRD benchmark's."""

    name: Literal["sgd"] = "sgd"
    lr: float = Field(0.05, gt=0)
    momentum: Fraction = 0.9
    nesterov: bool = False
    weight_decay: float = Field(5e-4, ge=0)

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> SGD:
        if self.nesterov and self.momentum == 0:
            raise ValueError("should have a momentum above 0 for nesterov")
        return self

    def __call__(self, parameters: Parameters) -> torch.optim.Optimizer:
        """The optimizer over `parameters`; fused, so that a step can be called off on the device."""
        settings = self.model_dump(exclude={"name"})
        made = torch.optim.SGD(parameters, **settings, fused=True)
        made.register_step_pre_hook(begin_momenta)  # for loops and rules that step it themselves
        return made


def begin_momenta(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Gives fused SGD a momentum for each parameter that has a gradient for the first time.

    torch makes them of memory as it finds it, which a step that is called off leaves as it is, and makes them
    for all parameters at once. Of -0.0 the first momentum is the gradient, to the sign of its zeros, as torch
    has it without dampening.
    """
    for group in optimizer.param_groups:
        if not (group["fused"] and group["momentum"]) or group["dampening"]:
            continue
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = optimizer.state[parameter]
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.full_like(parameter.grad, -0.0)


class Adam(Optimizing):
    """Adam, or AdamW with its decoupled weight decay."""

    name: Literal["adam", "adamw"] = "adam"
    lr: float = Field(1e-3, gt=0)
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: float = Field(0.0, ge=0)

    def __call__(self, parameters: Parameters) -> torch.optim.Optimizer:
        """The optimizer over `parameters`; fused, so that a step can be called off on the device."""
        make = torch.optim.Adam if self.name == "adam" else torch.optim.AdamW
        return make(parameters, lr=self.lr, betas=self.betas, weight_decay=self.weight_decay, fused=True)


class Lion(Optimizing):
    """Lion, which steps by the sign of a momentum (Chen et al., 2023, arXiv:2302.06675), of `lion-pytorch`.

    Its authors take a third to a tenth of AdamW's learning rate, and as many times its weight decay.
    """

    name: Literal["lion"] = "lion"
    lr: float = Field(1e-4, gt=0)
    betas: tuple[Fraction, Fraction] = (0.9, 0.99)
    weight_decay: float = Field(0.0, ge=0)

    def ready(self) -> None:
        """Refuses it where `lion-pytorch` is not installed."""
        imported("lion_pytorch", "lion")

    def __call__(self, parameters: Parameters) -> torch.optim.Optimizer:
        """The optimizer over `parameters`."""
        make: Any = imported("lion_pytorch", "lion").Lion
        made: torch.optim.Optimizer = make(
            parameters, lr=self.lr, betas=self.betas, weight_decay=self.weight_decay
        )
        return made


class Muon(Optimizing):
    """Muon for hidden matrices, whose momentum it makes orthogonal, and AdamW for everything else.

    Muon is K. Jordan's (2024, kellerjordan.github.io/posts/muon), scaled so that both have one learning rate
    (Liu et al., 2025, arXiv:2502.16982, section 2.2).
    """

    name: Literal["muon"] = "muon"
    lr: float = Field(1e-3, gt=0)
    momentum: Fraction = 0.95
    weight_decay: float = Field(0.1, ge=0)
    betas: tuple[Fraction, Fraction] = Field((0.9, 0.95), description="of AdamW")

    def __call__(self, parameters: Parameters) -> torch.optim.Optimizer:
        """The optimizer over `parameters`; a group of them says whether it is `hidden`.

        Of parameters without groups it takes all matrices for hidden ones.

        Raises:
            LimbeckError: with a torch that has no Muon.
        """
        if not hasattr(torch.optim, "Muon"):
            raise LimbeckError(
                f"the optimizer 'muon' needs torch 2.9 or newer, and torch {torch.__version__} is installed"
            )
        given: list[dict[str, Any]] = [
            each if isinstance(each, dict) else {"params": [each]} for each in parameters
        ]
        groups: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
        for group in given:
            hidden = group.get("hidden", all(each.ndim == 2 for each in group["params"]))
            groups[bool(hidden)].append({name: value for name, value in group.items() if name != "hidden"})
        settings: dict[str, Any] = {"lr": self.lr, "weight_decay": self.weight_decay}
        made: list[torch.optim.Optimizer] = []
        if groups[True]:
            made.append(
                torch.optim.Muon(
                    groups[True], momentum=self.momentum, adjust_lr_fn="match_rms_adamw", **settings
                )
            )
        if groups[False]:
            made.append(torch.optim.AdamW(groups[False], betas=self.betas, fused=True, **settings))
        return JointOptimizer(made, scheduled=len(made)) if len(made) > 1 else made[0]


OptimizerConfig = Annotated[
    Annotated[SGD, Tag("sgd")]
    | Annotated[Adam, Tag("adam")]
    | Annotated[Adam, Tag("adamw")]
    | Annotated[Lion, Tag("lion")]
    | Annotated[Muon, Tag("muon")],
    Discriminator(lambda value: _name(value, "sgd")),
]
"""An optimizer of a config: sgd unless it names another."""


class Schedule(_Described):
    """A learning-rate schedule: a factor on the optimizer's rate that depends on the step alone."""

    warmup: float = Field(0.0, ge=0, description="epochs of linear rise at the start")

    def __call__(self, optimizer: torch.optim.Optimizer, steps_per_epoch: int, epochs: float) -> LambdaLR:
        """The schedule for `optimizer`, to be stepped once after each optimizer step."""
        return LambdaLR(optimizer, lambda step: self.at(step, steps_per_epoch, epochs))

    def at(self, step: int, steps_per_epoch: int, epochs: float) -> float:
        """The factor for the optimizer step number `step`, counted from 0."""
        rise = self.rise(epochs) * steps_per_epoch
        if step < rise:
            return self.start + (1 - self.start) * min(1.0, (step + 1) / rise)
        left = epochs * steps_per_epoch - rise
        return self.after(step / steps_per_epoch, (step - rise) / left if left > 0 else 1.0)

    start: ClassVar[float] = 0.0
    """The factor that the rise begins at."""

    def rise(self, epochs: float) -> float:
        """Epochs of linear rise."""
        return self.warmup

    def after(self, epoch: float, done: float) -> float:
        """The factor after the rise; `epoch` counts from the start, `done` is the fraction of the rest."""
        raise NotImplementedError


class Constant(Schedule):
    """The same rate throughout."""

    name: Literal["constant"] = "constant"

    def after(self, epoch: float, done: float) -> float:
        """1."""
        return 1.0


class MultiStep(Schedule):
    """The rate drops by a factor after each milestone."""

    name: Literal["multistep"] = "multistep"
    milestones: tuple[float, ...] = Field(description="epochs after which the rate drops")
    factor: float = Field(0.1, gt=0, description="what each drop multiplies by")

    def after(self, epoch: float, done: float) -> float:
        """The factor once for every milestone passed."""
        return self.factor ** sum(epoch >= milestone for milestone in self.milestones)


class Cosine(Schedule):
    """The rate falls to zero along half a cosine (SGDR without restarts, arXiv:1608.03983)."""

    name: Literal["cosine"] = "cosine"

    def after(self, epoch: float, done: float) -> float:
        """Half a cosine."""
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class OneCycle(Cosine):
    """The rate rises from a 25th over the first 30 % (or `warmup` epochs), then falls (arXiv:1708.07120)."""

    name: Literal["one_cycle"] = "one_cycle"  # type: ignore[assignment]
    start: ClassVar[float] = 0.04

    def rise(self, epochs: float) -> float:
        """Epochs of linear rise."""
        return self.warmup or 0.3 * epochs


ScheduleConfig = Annotated[
    Annotated[Constant, Tag("constant")]
    | Annotated[MultiStep, Tag("multistep")]
    | Annotated[Cosine, Tag("cosine")]
    | Annotated[OneCycle, Tag("one_cycle")],
    Discriminator(lambda value: _name(value, "cosine")),
]
"""A schedule of a config: cosine unless it names another."""


def _name(value: Any, default: str) -> str:
    if isinstance(value, str):
        return value
    name = value.get("name", default) if isinstance(value, Mapping) else getattr(value, "name", default)
    return str(name)


class JointOptimizer(torch.optim.Optimizer):
    """Several optimizers, each over its own parameters, behind the interface of one.

    `parts[0]` is the main one. Its groups are in `param_groups`, so a scheduler or a gradient scaler of a
    foreign loop works on it; the other parts appear there as copies of their groups, so that their
    gradients are scaled and cleared with the rest but their own rates stay their own.

    Args:
        parts: the optimizers.
        scheduled: how many of them, from the first on, follow a scheduler.
    """

    def __init__(self, parts: list[torch.optim.Optimizer], scheduled: int = 1) -> None:
        self.parts, self._scheduled = parts, parts[:scheduled]
        self.defaults = parts[0].defaults
        self._optimizer_step_pre_hooks = OrderedDict()
        self._optimizer_step_post_hooks = OrderedDict()
        self._copies = [dict(group) for part in parts[scheduled:] for group in part.param_groups]
        self._patch_step_function()  # as torch's own constructor does: calls the hooks

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Groups of the optimizers that follow a scheduler, then copies of the others' groups."""
        return [*(group for part in self._scheduled for group in part.param_groups), *self._copies]

    @property
    def state(self) -> Mapping[Tensor, Any]:  # type: ignore[override]
        """State of every parameter of every part."""
        return {parameter: state for part in self.parts for parameter, state in part.state.items()}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters to the main optimizer."""
        self.parts[0].add_param_group(param_group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of every part, after one call of `closure` if a loop hands one over."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for part in self.parts:
            part.step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clears the gradients of every part."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """The parts' state dictionaries, in order."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)


def parts_of(optimizer: torch.optim.Optimizer) -> list[torch.optim.Optimizer]:
    """The optimizers that work inside this one; itself if there are none."""
    if not isinstance(optimizer, JointOptimizer):
        return [optimizer]
    return [inner for part in optimizer.parts for inner in parts_of(part)]
