"""The lightweight teacher of LW-KD: a small network that knows nothing but synthesized digits."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import torch
from torch import Tensor, nn

from limbeck.data.loader import Loader
from limbeck.data.source import Source
from limbeck.data.synthetic.compose import SIDE, compose
from limbeck.data.synthetic.digits import default_images, synthetic_digits
from limbeck.data.synthetic.glyphs import read_glyphs
from limbeck.errors import LimbeckError
from limbeck.hashing import mix
from limbeck.models import build
from limbeck.outputs import Batch
from limbeck.seeds import seed_for
from limbeck.teachers.bank import SoftTargetBank


class LightweightTeacher(nn.Module):
    """A network with its training data, which are made when they are first asked for.

    Two teachers with the same `key` and the same seed end with the same weights.

    Args:
        num_classes: C.
        model: one of limbeck's networks, for images 1x32x32.
        images_per_class: number of images to train on; None as in `synthetic_digits`.
        glyphs: as in `synthetic_digits`.
        batch_size: images in a training step.
        seed: random seed of the first weights, the images and their order.
    Raises:
        LimbeckError: for a model that is not one of limbeck's, and for glyphs that cannot be read.
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
        if ":" in model:
            raise LimbeckError(f"a lightweight teacher has a name of `limbeck models`, not {model!r}")
        self.num_classes, self.glyphs, self.batch_size, self.seed = num_classes, glyphs, batch_size, seed
        self.images_per_class = images_per_class or default_images(num_classes)
        scans = glyphs if glyphs == "digits" else read_glyphs(glyphs).fingerprint
        self.key = (
            f"{model} of {num_classes} classes, {self.images_per_class} images of {scans}, {batch_size}"
        )
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
        """The synthesized images."""
        return synthetic_digits(self.num_classes, self.images_per_class, self.glyphs, self.seed)

    def batches(self, epoch: int) -> Iterable[Batch]:
        """The training images, in an order that the epoch decides."""
        loader = Loader(self.data.train, self.batch_size, seed=seed_for(self.seed, "order"))
        loader.set_epoch(epoch)
        return loader

    @torch.no_grad()
    def unseen_accuracy(self, step: int, count: int = 32) -> Tensor:
        """Share of right answers, a scalar, for some images of scans not trained on; `step` picks them."""
        unseen = self.data.test
        assert unseen is not None
        rows = (mix(self.seed, step, torch.arange(count)) & 2**63 - 1) % len(unseen)
        images = unseen.samples.render(self.data.views, rows, torch.zeros_like(rows))
        assert isinstance(images, Tensor)
        training = self.training
        self.eval()
        logits: Tensor = self(images.to(self._device))
        self.train(training)
        return (logits.argmax(1) == unseen.targets[rows].to(self._device)).float().mean()

    @torch.no_grad()
    def fill(self, bank: SoftTargetBank) -> None:
        """Fills a bank with answers for new images of the scans trained on, and forgets the old images."""
        scans = read_glyphs(self.glyphs).part("train")
        generator = torch.Generator().manual_seed(seed_for(self.seed, "bank"))

        def answer(labels: Tensor) -> Tensor:
            images = compose(scans, labels.cpu(), self.num_classes, generator).to(self._device)
            return torch.cat([self(part.float() / 255) for part in torch.split(images, 512)])

        self.eval()
        bank.fill(answer)
        self.__dict__.pop("data", None)

    @property
    def _device(self) -> torch.device:
        return next(self.parameters()).device
