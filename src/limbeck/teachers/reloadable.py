"""A live teacher that need not stay in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.models import fingerprint
from limbeck.outputs import Inputs, apply
from limbeck.teachers.live import LiveTeacher


class Reloadable:
    """A live teacher that can be unloaded; when it is needed, it is made again, opened and moved as it was.

    Args:
        network: the teacher's network.
        features: module paths that override what is found in it.
        rebuild: makes the network again; without it, the network stays.
    """

    def __init__(
        self,
        network: nn.Module,
        features: Mapping[str, str | Sequence[str]] | None,
        rebuild: Callable[[], nn.Module] | None,
    ) -> None:
        self.digest = fingerprint(network)
        self._live: LiveTeacher | None = LiveTeacher(network, features)
        self._features, self._rebuild = features, rebuild
        self._moves: list[Callable[[Tensor], Tensor]] = []
        self._shown = 0
        self.width: int | None = None
        self.dense = False

    @property
    def shown(self) -> int:
        """How many samples the network was shown, this one and those before."""
        return self._shown + (0 if self._live is None else self._live.shown)

    @property
    def held(self) -> bool:
        """Whether it is in memory."""
        return self._live is not None

    @property
    def live(self) -> LiveTeacher:
        """The teacher, made again where it was released.

        Raises:
            LimbeckError: if what is made is another network than before.
        """
        if self._live is None:
            with _undisturbed():
                self._live = self._again()
        return self._live

    def _again(self) -> LiveTeacher:
        assert self._rebuild is not None, "release() keeps what cannot be made again"
        network = self._rebuild()
        if fingerprint(network) != self.digest:
            raise LimbeckError(
                "the teacher's weights on disk have changed since the run began; put the old ones back, or "
                "start another run"
            )
        for move in self._moves:
            network._apply(move)  # type: ignore[no-untyped-call]
        device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        live = LiveTeacher(network, self._features, width=self.width, dense=self.dense)
        live.open(apply(lambda tensor: tensor.to(device), self._example), self._fields)
        return live

    def open(self, example: Inputs, fields: Sequence[str]) -> None:
        """Gets the teacher ready to give these fields, this one and those made later."""
        if self._live is not None:
            self._live.width, self._live.dense = self.width, self.dense
            self._live.open(example, fields)
        self._example, self._fields = example, fields

    def release(self) -> None:
        """Releases the teacher's memory, if the teacher can be made again."""
        if self._rebuild is not None and self._live is not None:
            self._shown += self._live.shown
            self._live = None

    def apply(self, function: Callable[[Tensor], Tensor]) -> None:
        """Moves the network, this one and those made later."""
        if self._rebuild is not None:
            self._moves.append(function)
        if self._live is not None:
            self._live.apply(function)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Gradients and no autocast, as where the network was first made: a step may be the one that asks."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield
