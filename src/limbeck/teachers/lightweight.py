"""The lightweight teacher of LW-KD: a small network that knows nothing but synthesised digits."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import torch
from torch import Tensor, nn

from limbeck.data.compose import SIDE, compose
from limbeck.data.glyphs import read_glyphs
from limbeck.data.loader import Loader
from limbeck.data.source import Source
from limbeck.data.synthetic_digits import synthetic_digits
from limbeck.models import build
from limbeck.outputs import Batch
from limbeck.seeds import seed_for
from limbeck.teachers.bank import SoftTargetBank


class LightweightTeacher(nn.Module):
    """A network with its training data, which are made when they are first asked for.

    Args:
        num_classes: C.
        model: of the zoo, for images 1x32x32.
        images_per_class: to train on; None as in `synthetic_digits`.
        glyphs: as in `synthetic_digits`.
        batch_size: of the training.
        seed: of the first weights, the images and their order.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        model: str = "lenet5",
        images_per_class: int | None = None,
        glyphs: str = "digits",
        batch_size: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.num_classes, self.images_per_class, self.glyphs = num_classes, images_per_class, glyphs
        self.batch_size, self.seed = batch_size, seed
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_for(seed, "lightweight teacher"))
            self.network = build(model, example=torch.zeros(2, 1, SIDE, SIDE), num_classes=num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, 32, 32) pixels to (B, C) logits; each image is brought to mean 0 and deviation 1 first."""
        deviation, mean = torch.std_mean(images, dim=(1, 2, 3), keepdim=True)
        standard = (images - mean) / (deviation + 1e-6)
        logits: Tensor = self.network(standard.to(next(self.network.parameters()).dtype))
        return logits

    @cached_property
    def data(self) -> Source:
        """The synthesised images."""
        return synthetic_digits(self.num_classes, self.images_per_class, self.glyphs, self.seed)

    def batches(self, epoch: int) -> Iterable[Batch]:
        """The training images in an order that the epoch decides."""
        loader = Loader(self.data.train, self.batch_size, seed=seed_for(self.seed, "order"))
        loader.set_epoch(epoch)
        return loader

    def unseen(self, step: int, count: int = 32) -> tuple[Tensor, Tensor]:
        """Some images of scans that are not trained on, and their classes; others at every step."""
        ...

    def fill(self, bank: SoftTargetBank) -> None: ...
