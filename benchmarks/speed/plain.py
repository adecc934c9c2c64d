"""A distillation loop in plain PyTorch, written as the public benchmarks write theirs.

A map-style data set of PIL images with their transforms in Python, a `DataLoader` with workers, a forward of
the teacher for every batch, KD beside the cross-entropy, and meters read with `.item()` at every step. With
`modern=True` the networks run in bfloat16 and channels-last; the rest stays.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


class Images(Dataset[tuple[Tensor, int]]):
    """Images (N, 3, H, W) uint8 and labels (N,), each cropped, flipped and normalized when asked for."""

    def __init__(self, images: Tensor, labels: Tensor, mean: Sequence[float], std: Sequence[float]) -> None:
        self.images, self.labels = images.permute(0, 2, 3, 1).contiguous().numpy(), labels.tolist()
        self.mean, self.std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index])
        width, height = image.size
        left, top = random.randrange(9), random.randrange(9)
        image = ImageOps.expand(image, border=4).crop((left, top, left + width, top + height))
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        return pixels.sub_(self.mean).div_(self.std), self.labels[index]


@dataclass
class Meter:
    """A mean of a value over samples."""

    total: float = 0.0
    count: int = 0

    def update(self, value: float, samples: int) -> None:
        self.total, self.count = self.total + value * samples, self.count + samples


@dataclass
class PlainLoop:
    """One student learning from one teacher; `epoch()` goes through the data once.

    Attributes:
        student, teacher: networks of images that are normalized already.
        dataset: the training images.
        batch_size: of a step.
        workers: processes that load; they are started once and stay.
        modern: bfloat16 autocast and channels-last.
        device: where the networks run.
    """

    student: nn.Module
    teacher: nn.Module
    dataset: Images
    batch_size: int
    workers: int
    modern: bool = False
    device: str = "cpu"
    losses: Meter = field(default_factory=Meter)
    top1: Meter = field(default_factory=Meter)
    top5: Meter = field(default_factory=Meter)

    def __post_init__(self) -> None:
        layout = torch.channels_last if self.modern else torch.contiguous_format
        self.student.to(self.device, memory_format=layout)  # type: ignore[call-overload]
        self.teacher.to(self.device, memory_format=layout).eval()  # type: ignore[call-overload]
        self.optimizer = torch.optim.SGD(self.student.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
        self.loader = DataLoader(
            self.dataset,
            batch_size=self.batch_size,
            shuffle=True,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=self.device == "cuda",
        )

    def epoch(self) -> None:
        """Goes through the data once."""
        self.student.train()
        for images, labels in self.loader:
            self.step(images, labels)

    def step(self, images: Tensor, labels: Tensor) -> None:
        """Learns from one batch."""
        images, labels = images.to(self.device), labels.to(self.device)
        if self.modern:
            images = images.to(memory_format=torch.channels_last)
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.modern):
            logits = self.student(images)
            with torch.no_grad():
                soft = self.teacher(images)
        logits, soft = logits.float(), soft.float()
        loss = 0.1 * F.cross_entropy(logits, labels) + 0.9 * distillation(logits, soft)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        first, fifth = accuracy(logits, labels)
        self.losses.update(loss.item(), len(images))
        self.top1.update(first.item(), len(images))
        self.top5.update(fifth.item(), len(images))


def distillation(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """Hinton's KD, as the public benchmarks have it."""
    log_p = F.log_softmax(student / temperature, dim=1)
    q = F.softmax(teacher / temperature, dim=1)
    return F.kl_div(log_p, q, reduction="sum") * temperature**2 / len(student)


def accuracy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Top-1 and top-5 in %."""
    correct = logits.topk(5, dim=1).indices.eq(labels[:, None])
    return correct[:, 0].float().mean() * 100, correct.any(1).float().mean() * 100


def bare_step(student: nn.Module, *, bf16: bool, device: str) -> Callable[[Tensor, Tensor], None]:
    """A step of the student alone and nothing else: what no distillation can be faster than.

    Images may come in any memory format; weights and what is computed are channels-last.
    """
    student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4, fused=True)

    def step(images: Tensor, labels: Tensor) -> None:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=bf16):
            logits = student(images.contiguous(memory_format=torch.channels_last))
        F.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return step
