"""A live network as the teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from limbeck.errors import LimbeckError
from limbeck.features import Head, Tap, find, find_head, precision_of, set_mode, undone
from limbeck.outputs import Batch, Inputs, Outputs, apply
from limbeck.teachers.base import Teacher


class LiveTeacher(Teacher):
    """A network in eval mode and without gradients; its weights, buffers, mode and flags stay as they are.

    A network that is not in float32 runs in its own precision, also under autocast: it gets its inputs in
    that, and its outputs come back in float32, or in float64 if the inputs are.

    Args:
        network: the network, which is put in eval mode here, once.
        features: module paths that override what is found, by field of the Outputs.
        width: how many logits there are for each decision, where the task tells it.
        dense: whether the task has a decision at each position; an embedding then keeps its positions.

    Attributes:
        width, dense: as given; what is set here counts from the next `open()` on.

    Raises:
        LimbeckError: if the network has lazy modules that were never run, and so no weights.
    """

    def __init__(
        self,
        network: nn.Module,
        features: Mapping[str, str | Sequence[str]] | None = None,
        *,
        width: int | None = None,
        dense: bool = False,
    ) -> None:
        for name, tensor in chain(network.named_parameters(), network.named_buffers()):
            if is_lazy(tensor):
                raise LimbeckError(
                    f"the teacher {type(network).__name__} has a lazy module that was never run, so its "
                    f"{name} has no shape and no weights; call the network once on some "
                    "inputs and load its weights"
                )
        set_mode(network, False)
        self._network = network
        self._features = features
        self.width, self.dense = width, dense
        self._shown = 0
        self._tap: Tap | None = None
        self._head: Head | None = None
        self._modules: tuple[nn.Module, ...] = ()
        self._writes_buffers: bool | None = None  # until it has run once

    @property
    def network(self) -> nn.Module:
        """The network."""
        return self._network

    def exchange(self, network: nn.Module) -> nn.Module:
        """Has another network with the same modules answer from now on; gives the one that did."""
        before, self._network = self._network, network
        self._modules = tuple(network.modules())
        if self._tap is not None:
            self._tap.network = network
        return before

    @property
    def shown(self) -> int:
        """How many samples the network was shown."""
        return self._shown

    @property
    def projects(self) -> bool:  # type: ignore[override]
        """Whether its last layer was found, so that it can leave the logits to whoever needs them."""
        return self._head is not None

    def open(self, example: Inputs, fields: Sequence[str]) -> None:
        """Finds the features in the network."""
        self._modules = tuple(self.network.modules())
        example = self._cast(example)
        with self._own_precision(), self._evaluating():
            self.points = find(
                self.network,
                example,
                overrides=self._features,
                width=self.width,
                dense=self.dense,
                training=False,
            )
            if self.dense and self._head is None:
                self._head = find_head(self.network, self.points, example)
        others = [field for field in fields if field != "projection"]
        head = self._head if "projection" in fields else None
        self._tap = Tap(self.network, self.points, others, positions=self.dense, head=head, role="teacher")

    def __call__(self, batch: Batch) -> Outputs:
        """One forward of the network."""
        assert self._tap is not None, "open() comes first"
        given = self.inputs_of(batch)
        inputs = self._cast(given)
        self._shown += len(batch)
        with torch.no_grad(), self._evaluating(), self._own_precision():
            if self._writes_buffers is False:
                outputs = self._tap(inputs)
            else:
                with undone(self.network, inputs) as written:
                    outputs = self._tap(inputs)
                self._writes_buffers = bool(written)
        return self._returned(outputs, given)

    def compiled(self) -> AbstractContextManager[None]:
        """A context in which the network runs compiled."""
        assert self._tap is not None, "open() comes first"
        return self._tap.compiled()

    def apply(self, function: Callable[[Tensor], Tensor]) -> None:
        """Moves the network."""
        self.network._apply(function)  # type: ignore[no-untyped-call]

    def _cast(self, inputs: Inputs) -> Inputs:
        """The inputs with their floats in the network's precision."""
        dtype = precision_of(self.network)
        return apply(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor, inputs)

    def _returned(self, outputs: Outputs, inputs: Inputs) -> Outputs:
        """The outputs in the precision of the inputs, float32 at least."""
        tensors = [inputs] if isinstance(inputs, Tensor) else inputs.values()
        given = next(
            (tensor.dtype for tensor in tensors if tensor.is_floating_point()), precision_of(self.network)
        )
        if given == precision_of(self.network) == torch.float32:
            return outputs  # as they are under autocast, too
        dtype = torch.promote_types(given, torch.float32)
        return outputs.map(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)

    def _own_precision(self) -> AbstractContextManager[object]:
        """No autocast inside, unless the network is in float32, which autocast is made for."""
        if precision_of(self.network) == torch.float32:
            return nullcontext()
        device = next((p.device.type for p in self.network.parameters()), "cpu")
        return torch.autocast(device, enabled=False)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Every part of the network is in eval mode inside, whoever has called train() on it since.

        A part without parameters and buffers may be the student's as well, such as one dropout in both, so it
        gets its mode back.
        """
        training = [module for module in self._modules if module.training]
        for module in training:
            module.training = False
        try:
            yield
        finally:
            for module in training:
                if next(chain(module.parameters(), module.buffers()), None) is None:
                    module.training = True
