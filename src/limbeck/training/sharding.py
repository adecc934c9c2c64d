"""A student, and its teacher if wanted, spread over the processes by FSDP2, torch's `fully_shard`.

Each process holds a share of every parameter, with its gradient and what the optimizer keeps of it. A stage
of the network is whole in memory while it computes. Everything else, such as the parts of methods, is the
same in all processes. (accelerate wraps `fully_shard` as well, but for accelerators alone and for a network
that is prepared together with its optimizer; so it joins the processes here, and they call torch's own.)
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.utils._pytree import tree_map

from limbeck.distiller import Distiller
from limbeck.errors import LimbeckError
from limbeck.features import FeaturePoints
from limbeck.methods.base import Method, inner_first
from limbeck.models.lora import is_adapted
from limbeck.teachers.live import LiveTeacher
from limbeck.training.averaging import Averaging
from limbeck.training.choices import Sharding, resolve_precision
from limbeck.training.sharded_state import AverageOfShares, Shares, in_shares, refusal, whole_of


class Sharder:
    """Shards the networks of a `Distiller` for one training; a process that is alone has them whole.

    Args:
        sharding: "student", or "both" for the teachers as well.
        accelerator: joins the processes.
        device: where they compute.
    Attributes:
        alone: whether there is one process, and so nothing is sharded.
    """

    def __init__(self, sharding: Sharding, accelerator: Accelerator, device: torch.device) -> None:
        self._sharding, self._accelerator, self._device = sharding, accelerator, device
        self.alone = accelerator.num_processes == 1
        self._sharded: list[nn.Module] = []

    @property
    def note(self) -> str:
        """A sentence without a full stop on what is sharded."""
        if self.alone:
            return "nothing is sharded, as this is the only process"
        what = "student and teacher" if self._sharding == "both" else "the student"
        return f"{what} in shares: each of {self._accelerator.num_processes} processes has one"

    def settled(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """How to compute, of what the trainer was asked for: nothing is tried out, and nothing compiled.

        Raises:
            LimbeckError: for what was not tried with a sharded student, and for bfloat16 with a torch before
                2.9, which rounds otherwise where parameters are in shares.
        """
        rounded = not self.alone and resolve_precision(asked["precision"], self._device) == "bf16"
        if rounded and torch.__version__ < "2.9":
            raise LimbeckError(
                "training.precision=bf16 beside training.sharding needs torch 2.9 or newer where there are "
                f"several processes, and torch {torch.__version__} is installed; take fp32"
            )
        for name, value in (("compile", True), ("memory_format", "channels_last"), ("precision", "fp16")):
            if asked[name] == value:
                raise refusal(f"training.{name}={value}")
        return {**asked, "compile": False, "memory_format": "contiguous"}

    def check(self, root: nn.Module) -> None:
        """Refuses what was not tried with a sharded student.

        Args:
            root: what is trained.
        Raises:
            LimbeckError: naming it.
        """
        if not isinstance(root, Distiller):
            raise LimbeckError(f"sharding is for a Distiller, and {type(root).__name__} is none")
        if root.phases:
            raise refusal(root.phases[0][0], "is a phase before training")
        if is_adapted(root.student):
            raise refusal("student.lora", "has adapters alone learn")
        if len({each.dtype for each in root.student.parameters() if each.requires_grad}) > 1:
            raise refusal("the student", "has parameters of several precisions")
        networks = {id(part) for network in _networks(root) for part in network.modules()}
        for method in inner_first(root.objective):
            if method.tasks:
                raise refusal(method.name, f"is for {method.tasks[0]} alone")
            if type(method).collect is not Method.collect:
                raise refusal(method.name, "makes its own batches")
            if type(method).deploy is not Method.deploy:
                raise refusal(method.name, "replaces part of the student")
            if type(method).gradient_rule is not Method.gradient_rule:
                raise refusal(method.name, "has a rule for the optimizer")
            if any(id(each) in networks for each in _held(method)):
                raise refusal(method.name, "works on a network itself")
        if not {"logits", "embedding"} & set(root.reads.student):
            raise refusal(str(root.objective), "reads neither the logits nor the embedding")
        for name, teacher in root.teachers.items() if self._sharding == "both" else ():
            if type(teacher) is not LiveTeacher:
                raise LimbeckError(
                    f"training.sharding=both is for teachers that are networks and asked at every step, and "
                    f"{name!r} is a {type(teacher).__name__}; use training.sharding=student"
                )

    @contextmanager
    def sharded(self, root: nn.Module) -> Iterator[None]:
        """A context in which sharded copies stand in for the student, and for the teachers if they are meant.

        The networks that were handed over stay where and as they are. At the end the student gets the weights
        that were trained; an error leaves it as it was.
        """
        if self.alone:
            yield
            return
        assert isinstance(root, Distiller)
        mesh = init_device_mesh(self._device.type, (self._accelerator.num_processes,))
        student, before = root.student, dict[LiveTeacher, nn.Module]()
        try:
            root.student = self._spread(student, root.student_points, mesh, learns=True)
            for teacher in root.teachers.values() if self._sharding == "both" else ():
                assert isinstance(teacher, LiveTeacher)
                assert teacher.points is not None
                made = self._spread(teacher.network, teacher.points, mesh, learns=False)
                before[teacher] = teacher.exchange(made)
            yield
            state = root.student.state_dict()
            student.load_state_dict({name: whole_of(value).cpu() for name, value in state.items()})
        finally:
            root.student = student
            for teacher, network in before.items():
                teacher.exchange(network)
            self._sharded.clear()

    def _spread(
        self, network: nn.Module, points: FeaturePoints, mesh: DeviceMesh, *, learns: bool
    ) -> nn.Module:
        """A copy of the network of which this process has a share, with the weights of the first process."""
        made = copy.deepcopy(network)
        for tensor in chain(made.parameters(), made.buffers()):
            whole = broadcast(tensor.data.to(self._device).contiguous())
            tensor.data = whole.to(tensor.device)
        if not learns:
            made.requires_grad_(False)
        scalars = {parameter for parameter in made.parameters() if parameter.ndim == 0}
        for path in _units(made, points):
            fully_shard(made.get_submodule(path), mesh=mesh, ignored_params=scalars)
        fully_shard(made, mesh=mesh, ignored_params=scalars)
        self._sharded.append(made)
        return made

    def shares(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> Shares | None:
        """The shares that an optimizer, before its first step, is to work on from here on."""
        return None if self.alone else Shares(self._accelerator, module, optimizer, self.release)

    def kept(self, shares: Shares | None, averaging: Averaging | None) -> dict[str, Any]:
        """What a checkpoint keeps in place of an optimizer and of an average of weights."""
        found = {"optimizer": shares, "averaging": averaging and AverageOfShares(averaging)}
        return {} if self.alone else {name: each for name, each in found.items() if each is not None}

    def release(self) -> None:
        """Frees what a forward without a backward has left whole, so that the next one gathers it anew."""
        for network in self._sharded:
            for module in network.modules():
                if isinstance(module, FSDPModule):
                    module.reshard()

    def spread(self, state: Mapping[str, Any], root: nn.Module) -> dict[str, Any]:
        """A state as the module takes it, in shares where it has shares."""
        own = root.state_dict()
        return {
            name: in_shares(value, own[name]) if isinstance(value, Tensor) and name in own else value
            for name, value in state.items()
        }

    def gathered(self, state: dict[str, Any]) -> dict[str, Any]:
        """A state with wholes on the CPU, in the first process, for shares; every process must ask."""

        def whole(value: Any) -> Any:
            if not isinstance(value, DTensor):
                return value
            found = whole_of(value)
            return found.cpu() if self._accelerator.is_main_process else None

        made: dict[str, Any] = tree_map(whole, state)
        return made


def _networks(distiller: Distiller) -> Iterator[nn.Module]:
    yield distiller.student
    yield from (teacher.network for teacher in distiller.teachers.values() if teacher.network is not None)


def _held(method: Method) -> Iterator[object]:
    """What a method has in its attributes, and in tuples, lists and mappings there."""
    for value in chain(vars(method).values(), method.modules()):
        yield value
        yield from value.values() if isinstance(value, Mapping) else ()
        yield from value if isinstance(value, (tuple, list)) else ()


def _units(network: nn.Module, points: FeaturePoints) -> Iterator[str]:
    """The paths of the stages that are called once and share no parameter with another part."""
    places = Counter(id(each) for _, each in network.named_parameters(remove_duplicate=False))
    stages = Counter(point.path for point in points.stages if point.side == "output")
    for path, calls in stages.items():
        inside = [
            id(each) for _, each in network.get_submodule(path).named_parameters(remove_duplicate=False)
        ]
        alone = all(count == places[each] for each, count in Counter(inside).items())
        nested = any(path.startswith(f"{other}.") for other in stages)
        if path and calls == 1 and inside and alone and not nested:
            yield path
