"""A task of tests: a class for every pixel, of which some do not count, so samples differ in their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.tasks import Agreement, Comparison, Findings, Meter, Metric, Rows, Task
from limbeck.tasks.rows import masked
from limbeck.tasks.sections import Section

IGNORED = 255


class Right(Meter):
    """Counts the pixels that are right."""

    def __init__(self) -> None:
        self.right = self.total = 0

    def update(self, outputs: Outputs, batch: Batch) -> None:
        assert batch.targets is not None
        valid = batch.targets != IGNORED
        self.right += int((outputs.logits.argmax(1) == batch.targets)[valid].sum())
        self.total += int(valid.sum())

    def compute(self) -> dict[str, float]:
        return {"accuracy": self.right / self.total}


class Shared(Comparison):
    """Counts the pixels that both networks decide alike."""

    def __init__(self) -> None:
        self.alike = self.total = 0

    def update(self, student: Outputs, teacher: Outputs, batch: Batch) -> None:
        alike = student.logits.argmax(1) == teacher.logits.argmax(1)
        self.alike += int(alike.sum())
        self.total += alike.numel()

    def compute(self) -> Agreement:
        return Agreement(agreement=self.alike / self.total, distance=0.0)


@dataclass(frozen=True)
class Maps(Task):
    """Targets are (N, H, W) class ids, `IGNORED` where a pixel does not count."""

    name = "maps"
    one_row_per_sample = False
    even = False
    dense = True
    spatial = True
    ignored = IGNORED
    findings = Findings
    metrics = (Metric("accuracy", "pixel accuracy", 100, "%"),)

    names: tuple[str, ...]

    @classmethod
    def of(cls, names: Sequence[str] | None, width: int | None, targets: Tensor) -> Maps:
        count = width or int(targets[targets != IGNORED].max()) + 1
        return cls(tuple(names or map(str, range(count))))

    @classmethod
    def as_targets(cls, targets: Any, size: int, which: str) -> Tensor:
        assert targets is not None
        return torch.as_tensor(targets)

    def check(self, targets: Tensor, which: str) -> None:
        assert ((targets < self.width) | (targets == IGNORED)).all()

    def check_batch(self, targets: Tensor, size: int) -> None:
        assert targets.ndim == 3
        assert len(targets) == size

    def check_outputs(self, logits: Tensor, role: str) -> None:
        assert logits.ndim == 4

    @classmethod
    def labeled(cls, targets: Tensor) -> Tensor:
        return (targets != IGNORED).flatten(1).any(1)

    def rows(self, batch: Batch, outputs: Outputs) -> Rows:
        dense = next(outputs[name] for name in ("logits", "embedding") if name in outputs)
        valid = torch.ones_like(dense[:, 0], dtype=torch.bool)
        if batch.targets is not None:
            valid = batch.targets != IGNORED
        return masked(valid, batch.targets)

    def count(self, batch: Batch) -> Tensor | int:
        assert batch.targets is not None
        return (batch.targets != IGNORED).sum()

    def meter(self, *, quick: bool = False) -> Meter:
        return Right()

    def comparison(self) -> Comparison:
        return Shared()

    def measure(self, meter: Meter, validation: Meter | None) -> Findings:
        return Findings()

    def sections(self, found: Mapping[str, Findings], agreement: Agreement | None) -> Sequence[Section]:
        return ()

    def recipe(self, *, teacher: bool) -> str:
        return "0.5*ce + 0.5*kd" if teacher else "ce"


class Pixels(nn.Module):
    """A 3x3 convolution and a 1x1 head: (B, 2, H, W) to (B, classes, H, W)."""

    def __init__(self, width: int, classes: int = 3, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.body = nn.Conv2d(2, width, 3, padding=1)
            self.head = nn.Conv2d(width, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(images).tanh())
        return logits

    @staticmethod
    def feature_points() -> dict[str, str | list[str]]:
        return {"embedding": "head:input", "stages": ["body"]}


def images(samples: int, size: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images (N, 2, size, size) and class maps (N, size, size), of which a different share counts in each."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(samples, 2, size, size, generator=generator)
    targets = torch.randint(3, (samples, size, size), generator=generator)
    share = torch.linspace(0.1, 0.9, samples)[:, None, None]
    targets[torch.rand(samples, size, size, generator=generator) < share] = IGNORED
    assert UNLABELED not in targets
    return inputs, targets
