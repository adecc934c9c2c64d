"""Students of limbeck's own for data of a kind, and what a network takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from limbeck.byte_sizes import sized
from limbeck.config import StudentConfig
from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.evaluation.cost import latency, weight_bytes
from limbeck.models import count_parameters
from limbeck.runs import networks, preparations

SHARE = 4
"""A student that is proposed has at most this part of its teacher's parameters, where these are known."""

OF_KIND: Mapping[str, Sequence[str]] = {
    "image": (
        "cnn(channels=[32, 64, 128], depth=2)",
        "cnn(channels=[32, 64, 128])",
        "cnn(channels=[16, 32, 64])",
        "cnn(channels=[8, 16, 32])",
        "cnn(channels=[8, 16])",
        "cnn(channels=[4, 8])",
    ),
    "table": ("mlp(hidden=[128, 128])", "mlp(hidden=[64, 64])", "mlp(hidden=[32])", "mlp(hidden=[8])"),
    "text": (
        "textcnn(dim=128, channels=128)",
        "textcnn(dim=64, channels=64)",
        "textcnn(dim=32, channels=32)",
        "textcnn(dim=16, channels=16)",
    ),
}
"""From large to small, for tasks with one decision a sample."""

OF_TASK: Mapping[str, Sequence[str]] = {
    "segmentation": (
        "unet(channels=[16, 32, 64, 128])",
        "unet(channels=[8, 16, 32, 64])",
        "unet(channels=[4, 8, 16])",
    ),
    "detection": (
        "fcos(channels=[16, 32, 64, 64], width=32)",
        "fcos(channels=[8, 16, 32, 32], width=16)",
    ),
    "restoration": ("fsrcnn", "fsrcnn(width=32)", "fsrcnn(width=16)"),
    "language": ("gpt(dim=192, depth=5, heads=4)", "gpt(dim=96, depth=3, heads=4)", "gpt(dim=64, depth=2)"),
    "retrieval": (),
    "similarity": (),
}


@dataclass(frozen=True)
class Target:
    """What a student may take.

    Attributes:
        size: bytes of its weights in float32; None for any.
        latency: milliseconds of one sample on this machine's processor; None for any.
    """

    size: int | None = None
    latency: float | None = None

    def __str__(self) -> str:
        parts = [] if self.size is None else [sized(self.size)]
        return " and ".join([*parts, *([] if self.latency is None else [f"{self.latency:g} ms a sample"])])


@dataclass(frozen=True)
class Measured:
    """What a network takes.

    Attributes:
        model: in the notation.
        parameters: number of parameters.
        size: bytes of its weights.
        latency: median milliseconds of one sample on this machine's processor.
    """

    model: str
    parameters: int
    size: int
    latency: float

    def meets(self, target: Target) -> bool:
        """Whether it takes no more than the target."""
        small = target.size is None or self.size <= target.size
        return small and (target.latency is None or self.latency <= target.latency)

    def __str__(self) -> str:
        return (
            f"{self.parameters:,} parameters, {sized(self.size)} in float32, {self.latency:.2g} ms a "
            "sample on this processor"
        )


def measured(model: str, network: nn.Module, source: Source) -> Measured:
    """What a network takes that reads the data."""
    config = StudentConfig(model=model)
    example = source.example(1, preparations.student_preparation(config, source.task))
    took = latency(network, example, repeats=20, warmup=5).ms_per_image
    return Measured(model, count_parameters(network), weight_bytes(network), took)


def checked(model: str, source: Source, target: Target) -> Measured:
    """What a student takes that somebody names.

    Raises:
        LimbeckError: if it cannot be built for the data, or takes more than the target.
    """
    found = measured(model, networks.student(StudentConfig(model=model), source, seed=0), source)
    if not found.meets(target):
        raise LimbeckError(f"the student {model} has {found}, and the target is {target}; name a smaller one")
    return found


def proposed(source: Source, target: Target, teacher: int | None) -> Measured | None:
    """The largest of limbeck's students that meets the target; None where limbeck has none for the data.

    Args:
        source: the data.
        target: what it may take.
        teacher: number of the teacher's parameters, of which it has a quarter at most; None if not known.
    Raises:
        LimbeckError: if the smallest takes more than the target.
    """
    candidates = OF_TASK.get(source.task.name, OF_KIND.get(source.kind, ()))
    smallest: Measured | None = None
    for model in candidates:
        smallest = measured(model, networks.student(StudentConfig(model=model), source, seed=0), source)
        few = teacher is None or SHARE * smallest.parameters <= teacher
        if few and smallest.meets(target):
            return smallest
    if smallest is not None and not smallest.meets(target):
        raise LimbeckError(
            f"the smallest student that limbeck proposes, {smallest.model}, has {smallest}, and the target "
            f"is {target}; name a student (--student), or a larger target"
        )
    return smallest
