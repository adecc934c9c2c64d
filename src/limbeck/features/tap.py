"""Tap: a network that gives its features with its logits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from limbeck.errors import LimbeckError, unknown
from limbeck.features import attention
from limbeck.features.by_word import by_word
from limbeck.features.calling import (
    arguments_of,
    call,
    element_of,
    elements_of,
    opaque,
    uncompiled,
    version_of,
)
from limbeck.features.logits import logits_of, naming, summary
from limbeck.features.points import FIELDS, SEVERAL, FeaturePoints, Head, Point
from limbeck.outputs import Inputs, Outputs
from limbeck.projection import Projection
from limbeck.retold import Retold


class Tap:
    """Runs a network and captures some of its features, live in the autograd graph.

    Hooks hang on the network during a call only, nothing captured is kept after it, and any number of taps
    may share one network. A network that is compiled needs hooks that are there before it first runs and
    stay: `attach` them, or let the tap compile it (`compiled`). With activation checkpointing,
    `use_reentrant=False` keeps what is captured inside a checkpoint in the graph.

    Args:
        network: the network that was given to `find`.
        points: what `find` found.
        fields: those to capture, of "embedding", "stages", "stem" and "preactivations", or the names of other
            outputs of the network; "logits" always are. "attentions" are those that the network returns, for
            which a Hugging Face network is asked.
        positions: whether the embedding of a network with positions keeps them, (B, D, H, W) or (B, L, D);
            otherwise it is their mean, (B, D).
        head: the network's last layer, which is then not run: what it would compute is given as `projection`,
            in place of the logits.
        role: "student" or "teacher", for messages.

    Raises:
        LimbeckError: if one of the fields was not found.
    """

    def __init__(
        self,
        network: nn.Module,
        points: FeaturePoints,
        fields: Collection[str],
        *,
        positions: bool = False,
        head: Head | None = None,
        role: str = "",
    ) -> None:
        self._role = role
        self.network, self._positions = network, positions
        self._training_logits = points.training_logits
        self._fields: dict[str, list[_Capture]] = {}
        self._handles: list[RemovableHandle] = []
        self._compiled: Callable[[Inputs], Any] | None = None
        self._attends = attention.FIELD in fields and attention.attends(network)
        for field in dict.fromkeys([*(() if head else ("logits",)), *fields]):
            asked = self._attends and field == attention.FIELD
            found = (Point("", item=field),) if asked else points.of(field)
            if not found:
                raise self._not_found(points, field)
            self._fields[field] = [_Capture(point) for point in found]
        self._captures = [capture for captures in self._fields.values() for capture in captures]
        self._hooked = [capture for capture in self._captures if not capture.point.is_result]
        self._head = None if head is None else _HeadCapture(head)
        if self._head is not None:
            self._captures.append(self._head)
            self._hooked.append(self._head)  # last: it empties what the others still see
        encoders = any(isinstance(module, nn.TransformerEncoder) for module in network.modules())
        self._guard = unfused if encoders and self._hooked else nullcontext

    def __call__(self, inputs: Inputs) -> Outputs:
        """Runs the network and gives its logits and the fields, each with the samples along axis 0.

        Args:
            inputs: (B, ...) tensor, or named tensors; an `attention_mask` (B, L) among them becomes `mask`.
                Of `Words`, logits and an embedding with positions are given by word.

        Raises:
            LimbeckError: if the forward did not pass one of the points.
        """
        passing = not self._handles
        try:
            if passing:
                self.attach()
            for capture in self._captures:
                capture.arm()
            with self._guard(), attention.attending(self.network) if self._attends else nullcontext():
                result = call(self.network if self._compiled is None else self._compiled(inputs), inputs)
            return self._outputs(inputs, result)
        finally:
            for capture in self._captures:
                capture.release()
            if passing:
                self.detach()

    def attach(self) -> None:
        """Hangs the hooks on the network, until `detach`."""
        if self._handles:
            return
        modules = [self._module(capture.point.path) for capture in self._hooked]
        self._handles = [
            module.register_forward_hook(capture.after)
            if capture.point.side == "output"
            else module.register_forward_pre_hook(capture.before, with_kwargs=True)
            for module, capture in zip(modules, self._hooked, strict=True)
        ]

    def detach(self) -> None:
        """Takes the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    @contextmanager
    def compiled(self) -> Iterator[None]:
        """Inside, the tap runs the network compiled with the hooks in it.

        It is compiled for each shape of images or tables anew, which are few. Named tensors are texts, whose
        length differs from batch to batch: they are compiled for the first shape, and at the second for all.
        The network itself stays as it is: whoever else calls it, runs it uncompiled.
        """
        self.attach()
        fixed, free = (torch.compile(uncompiled(self.network), dynamic=each) for each in (False, None))
        self._compiled = lambda inputs: fixed if isinstance(inputs, Tensor) else free
        try:
            yield
        finally:
            self._compiled = None
            self.detach()

    def _module(self, path: str) -> nn.Module:
        try:
            return uncompiled(self.network).get_submodule(path)
        except AttributeError:
            raise LimbeckError(f"{self._name} no longer has the module {path!r} it is tapped at") from None

    def _outputs(self, inputs: Inputs, result: Any) -> Outputs:
        mask = inputs.get("attention_mask") if isinstance(inputs, Mapping) else None
        fields: dict[str, Any] = {} if mask is None else {"mask": mask.bool()}
        if isinstance(inputs, Retold):
            fields["retold"] = inputs
        for field, captures in self._fields.items():
            tensors = tuple(self._at(field, capture, result) for capture in captures)
            fields[field] = tensors if field in SEVERAL else tensors[0]
        if self._head is not None:
            fields["projection"] = self._projection(self._head, result)
        if "embedding" in fields:
            pool = self._fields["embedding"][0].point.pool
            if not self._positions:
                fields["embedding"] = _vector(fields["embedding"], pool, fields.get("mask"))
        return by_word(Outputs(**fields), inputs, self._name, positions=self._positions)

    def _at(self, field: str, capture: _Capture, result: Any) -> Any:
        if field == "logits" and capture.point.is_result:
            return self._logits(capture.point, result)
        if field not in FIELDS and capture.point.is_result:
            output = element_of(result, capture.point.item)
            if output is None:
                raise LimbeckError(
                    f"{self._name} returned no {field}, {capture.point.described}, but {summary(result)}"
                )
            return output
        return self._tensor(capture, result)

    def _logits(self, point: Point, result: Any) -> Tensor:
        """The logits in what the network returned, in the mode that it is in."""
        later = self._training_logits
        if later is not None and uncompiled(self.network).training:
            point = later
        if point.item is None:
            return logits_of(result, whose=self._name)
        logits = element_of(result, point.item)
        if not isinstance(logits, Tensor):
            raise LimbeckError(
                f"the logits of {self._name} are {point.described}, and in this mode it returned "
                f"{summary(result)}; name a module that makes them in both modes, for example "
                f"{naming('fc')}"
            )
        return logits

    def _projection(self, capture: _HeadCapture, result: Any) -> Projection:
        """What the last layer would have computed, in the precision that it would have computed in."""
        hidden, layer = self._tensor(capture, result), self._module(capture.point.path)
        device = hidden.device.type
        autocast = torch.is_autocast_enabled(device)
        return Projection(
            hidden,
            layer.get_parameter("weight"),
            layer._parameters["bias"],
            capture.head.scale,
            capture.head.softcap,
            torch.get_autocast_dtype(device) if autocast else hidden.dtype,
        )

    def _tensor(self, capture: _Capture, result: Any) -> Tensor:
        point, tensor = capture.point, capture.tensor
        if point.is_result:
            tensor = element_of(result, point.item)
        if not isinstance(tensor, Tensor):
            raise LimbeckError(
                f"the forward of {self._name} did not pass {str(point)!r}: its module did not run, was "
                f"replaced after the hooks were attached, or was compiled before"
            )
        if capture.version is not None and version_of(tensor) != capture.version:
            raise LimbeckError(
                f"{self._name} overwrites {str(point)!r} in place in this mode, so it cannot be captured "
                f"there; name the module after it, or make the operation that does so not in place"
            )
        return tensor.movedim(-1, 1) if point.channels_last else tensor

    def _not_found(self, points: FeaturePoints, field: str) -> LimbeckError:
        if field not in FIELDS:
            named = [name for name, _ in points.outputs]
            if get_close_matches(field, [*FIELDS, *named], n=1, cutoff=0.7):
                return unknown(f"feature of {self._name}", field, [*FIELDS, *named])
            if field == attention.FIELD:
                return LimbeckError(
                    f"{self._name} returns no attention maps, as networks of Hugging Face do; for others "
                    "there are methods that read none, such as tinybert(attention=0)"
                )
            others = f"; the other outputs that it names are {', '.join(named)}" if named else ""
            if field == "aux":
                return LimbeckError(
                    f"{self._name} returns nothing named 'aux'{others}; a segmenter of limbeck does with "
                    'aux=true, such as "deeplab(aux=true)"; of another network name its place, for example '
                    'student_features={"aux": "classifier.aux"}, or teacher_features'
                )
            return LimbeckError(
                f"{self._name} returns nothing named {field!r}{others}; name its place, for example "
                f'student_features={{"{field}": "[0]"}}, or teacher_features'
            )
        network = uncompiled(self.network)
        if getattr(network, "answers_together", False):
            return LimbeckError(
                f"the {self._role} is an ensemble, whose networks answer together, so it has logits but no "
                f"{field}; use methods that read logits alone, such as kd, or give one network"
            )
        inside = opaque(network)
        if inside:
            return LimbeckError(
                f"{self._name} is {inside}, whose inside cannot be seen, so it has logits but no {field}; "
                f"use methods that read logits alone, such as kd, or the network that it was made from"
            )
        example = '["body.1", "body.3"]' if field in SEVERAL else '"body.3"'
        return LimbeckError(
            f"found no {field} in {self._name}; name the modules, "
            f'for example student_features={{"{field}": {example}}}, or teacher_features'
        )

    @property
    def _name(self) -> str:
        name = type(uncompiled(self.network)).__name__
        return f"the {self._role} {name}" if self._role else name


class _Capture:
    """The tensor at one point, during one forward.

    Bound methods are the hooks, so that a copy of a hooked network captures into copies of these.
    """

    def __init__(self, point: Point) -> None:
        self.point = point
        self.tensor: Tensor | None = None
        self.version: int | None = None
        self.calls = 0
        self.armed = False

    def arm(self) -> None:
        """Waits for the tensor; between forwards hooks do nothing, also while a checkpoint is recomputed."""
        self.calls = 0
        self.armed = True

    def release(self) -> None:
        """Lets go of the tensor."""
        self.tensor = self.version = None
        self.armed = False

    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Pre-hook of a module whose input is captured."""
        self._pass(arguments_of(args, kwargs).get(self.point.item))

    def after(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Hook of a module whose output is captured."""
        self._pass(elements_of(output).get(self.point.item))

    def _pass(self, tensor: Any) -> None:
        if not self.armed:
            return
        if self.calls == self.point.call and isinstance(tensor, Tensor):
            self.tensor = tensor.clone() if self.point.overwritten else tensor
            self.version = None if torch.compiler.is_compiling() else version_of(self.tensor)
        self.calls += 1


class _HeadCapture(_Capture):
    """What enters the last layer, which then gets no position of it and so has nothing to compute."""

    def __init__(self, head: Head) -> None:
        super().__init__(Point(head.path, "input"))
        self.head = head

    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Pre-hook of the layer."""
        super().before(module, args, kwargs)
        if self.tensor is None:
            return None
        return (self.tensor.narrow(-2, 0, 0),), {}


@contextmanager
def unfused() -> Iterator[None]:
    """Keeps torch's transformer layers from their fused form, in which they hand on nested tensors."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def _vector(tensor: Tensor, pool: bool, mask: Tensor | None) -> Tensor:
    """An embedding as (B, D): the mean over a map's pixels or a sequence's valid tokens, if `pool`."""
    if not pool:
        return tensor.flatten(1)
    if tensor.ndim != 3:
        return tensor.flatten(2).mean(2)
    if mask is None:
        return tensor.mean(1)
    weight = mask.to(tensor.dtype).unsqueeze(2)
    return (tensor * weight).sum(1) / weight.sum(1).clamp(min=1)
