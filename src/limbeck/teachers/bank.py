"""Soft targets that some teacher gave beforehand, by class."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.hashing import mix


class SoftTargetBank(nn.Module):
    """Some logits of every class, each of a sample that the teacher got right.

    Args:
        num_classes: C.
        size: K, logits of each class; they take 2 * C * K * C bytes.
    """

    def __init__(self, num_classes: int, size: int = 100) -> None:
        super().__init__()
        self.logits: Tensor
        self.register_buffer("logits", torch.zeros(num_classes, size, num_classes, dtype=torch.float16))

    def draw(
        self,
        targets: Tensor,
        index: Tensor | None = None,
        step: int | None = None,
        seed: int | Tensor = 0,
    ) -> Tensor:
        """Logits of a random sample of each target's class.

        Where index and step are known, the draw is a function of (seed, index, step): it is the same however
        a batch is split, over processes too, and another at every visit. Otherwise it is taken from torch's
        global generator of the device.

        Args:
            targets: (B,) int64 class ids.
            index: (B,) int64 positions in the training set.
            step: number of the optimizer step.
            seed: random seed of the draws.
        Returns: (B, C) float32.
        """
        size = self.logits.shape[1]
        if index is None or step is None:
            rows = torch.randint(size, targets.shape, device=targets.device)
        else:
            rows = (mix(seed, step, index) & 2**63 - 1) % size
        return self.logits[targets, rows].float()

    def class_mean(self, targets: Tensor, temperature: float) -> Tensor:
        """Logits whose softmax at this temperature is the mean soft target of each target's class: (B, C)."""
        softened = F.log_softmax(self.logits[targets].float() / temperature, dim=-1)
        return temperature * (softened.logsumexp(1) - math.log(softened.shape[1]))

    def off_class(self, temperature: float) -> float:
        """The mean share of a soft target's probability that is not on its own class."""
        softened = [
            F.softmax(rows.double() / temperature, dim=-1)[:, own] for own, rows in enumerate(self.logits)
        ]
        return 1 - float(torch.stack(softened).mean())

    def fill(self, answer: Callable[[Tensor], Tensor], attempts: int = 20) -> None:
        """Fills the bank with right answers.

        Args:
            answer: (N,) int64 class ids -> (N, C) the teacher's logits for a new sample of each.
            attempts: how many times K samples of a class are asked for while some are missing.
        Raises:
            LimbeckError: if the teacher is right on too few, naming the class.
        """
        classes, size, _ = self.logits.shape
        have = torch.zeros(classes, dtype=torch.int64, device=self.logits.device)
        for _ in range(attempts):
            short = (have < size).nonzero().flatten()
            if not len(short):
                return
            for group in torch.split(short, max(1, 4096 // size)):
                labels = group.repeat_interleave(size)
                logits = answer(labels).half()
                right = logits.argmax(1) == labels
                place = have[labels] + right.view(-1, size).cumsum(1).flatten() - 1
                fits = right & (place < size)
                self.logits[labels[fits], place[fits]] = logits[fits]
                have[group] += right.view(-1, size).sum(1)
        worst = int(have.argmin())
        if have[worst] < size:
            raise LimbeckError(
                f"the lightweight teacher was right on {int(have[worst])} of {attempts * size} samples of"
                f" class {worst}, and the bank needs {size}; train it on more images or for more epochs"
            )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> SoftTargetBank:
        """Moves to another device, but stays in half precision whatever the student is in."""

        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(move, recurse)  # type: ignore[no-untyped-call]
        return self
