"""Paraphrasing Complex Network: Network Compression via Factor Transfer.
Kim, Park & Kwak, NeurIPS 2018, arXiv:1802.04977.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from limbeck.arguments import Count, Positive
from limbeck.errors import LimbeckError
from limbeck.methods.at import attention
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Phase, Reads
from limbeck.methods.fitnet import fitnet
from limbeck.methods.parts.blocks import Form, Reduction, full_precision, reduce, unit
from limbeck.methods.parts.regressors import GlobalBatchNorm2d
from limbeck.methods.parts.shapes import word
from limbeck.methods.parts.sides import stage_side
from limbeck.methods.parts.stages import described, pooled_alike, stage_pair
from limbeck.outputs import Batch, Outputs


def factor_transfer(
    student: Tensor, teacher: Tensor, form: Form = "benchmark", reduction: Reduction = "mean"
) -> Tensor:
    """Mean absolute difference of two factors, each of unit length for each sample.

        benchmark   L = mean_i mean_positions |u(a_s) - u(a_t)|,   a = mean_channels F^2
        paper       L = mean_i mean |u(F_s) - u(F_t)|,   u(x) = x / ||x||

    The CRD benchmark compares AT's attention of the factors F, the paper all of a factor (with p = 1; the
    mean is the authors' code's). The larger of two maps F is average-pooled to the smaller's size before.

    Args:
        student: (B, C, H, W) factor of the translator.
        teacher: the same of the paraphraser; in the benchmark's form of any channel count.
        form: "benchmark" or "paper".
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: for what is no map, and for different channel counts in the paper's form.
    """
    word("factor_transfer", "form", form, Form)
    maps = student.ndim == teacher.ndim == 4
    if not (
        maps
        and len(student) == len(teacher)
        and (form == "benchmark" or student.shape[1] == teacher.shape[1])
    ):
        channels = " of the same channel count" if form == "paper" else ""
        raise LimbeckError(
            f"factor transfer compares two factors (B, C, H, W){channels}, "
            f"not {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    factors = pooled_alike(full_precision(student), full_precision(teacher))
    flat = [attention(it) if form == "benchmark" else unit(it.flatten(1)) for it in factors]
    return reduce((flat[0] - flat[1]).abs().mean(1), reduction)


class Paraphraser(nn.Module):
    """The teacher's map in fewer channels, and back: three convolutions and three transposed ones.

    Args:
        channels: number of channels of the map.
        factor: channels of the factor.
    """

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.encoder = encoder(channels, factor)
        self.decoder = nn.Sequential()
        for before, after in pairwise([factor, factor, channels, channels]):
            self.decoder.extend([nn.ConvTranspose2d(before, after, 3, padding=1), nn.LeakyReLU(0.1)])

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, H, W) to the same, through the factor (B, factor, H, W)."""
        return self.decoder(self.encoder(maps))  # type: ignore[no-any-return]


def encoder(channels: int, factor: int, *, norm: bool = False) -> nn.Sequential:
    """(B, channels, H, W) to the factor (B, factor, H, W); with batch norms it is the translator."""
    layers = nn.Sequential()
    for before, after in pairwise([channels, channels, factor, factor]):
        norms = [GlobalBatchNorm2d(after)] if norm else []
        layers.extend([nn.Conv2d(before, after, 3, padding=1), *norms, nn.LeakyReLU(0.1)])
    return layers


class FT(Method):
    """A translator of a student's stage matches the factors that a paraphraser extracts from the teacher's.

    The paraphraser, an autoencoder of the teacher's map, is trained in a phase and then stays as it is; a
    trained one is reused by every run with the same teacher, data and arguments. The translator, its encoder
    with batch norms (over the batch of all processes), is trained with the student. A cache keeps the
    teacher's whole map, of which the paraphraser learns and makes the factor.

    Args:
        stage: the one compared, counted from 0, or from the end; or [student's, teacher's].
        rate: channels of the factors for each of the teacher's map; the paper's k.
        form: "benchmark" compares the factors as the CRD benchmark does, "paper" as the paper, whose weight
            is 500.
        epochs: number of epochs of the phase.
        lr: learning rate of the phase; the benchmark takes 0.05 for VGG and ResNet-50 as students.
        seed: of the phase; the run's own seed has no part in it, so that all runs may share a paraphraser.
    """

    reads = Reads(student=("stages",), teacher=("stages",))
    recipe = "ce + 200*ft"  # the CRD benchmark's
    per = "samples"

    def __init__(
        self,
        stage: int | Sequence[int] = -1,
        rate: Positive = 0.5,
        form: Form = "benchmark",
        epochs: Count = 30,
        lr: Positive = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.stage, self.rate, self.form = stage, rate, form
        self.epochs, self.lr, self.seed = epochs, lr, seed

    def bind(self, context: Context) -> None:
        """Builds paraphraser and translator.

        Raises:
            LimbeckError: for stages that are no maps, or in which there is nothing to compare.
        """
        assert context.teacher is not None
        self.pair = stage_pair(self.name, context, self.stage)
        ours, theirs = context.student.stages[self.pair[0]], context.teacher.stages[self.pair[1]]
        if not ours.ndim == theirs.ndim == 4:
            raise LimbeckError(
                f"ft compares maps (channels, height, width), not {described(context, self.pair)}; "
                "name two with ft(stage=[student's, teacher's])"
            )
        if self.form == "benchmark" and pooled_alike(ours, theirs)[0][0, 0].numel() == 1:
            raise LimbeckError(
                "ft compares where maps are active, and in one pixel there is nothing to compare: "
                f"{described(context, self.pair)}; name another stage, or write ft(form='paper')"
            )
        factor = max(1, int(self.rate * theirs.shape[1]))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.paraphraser = Paraphraser(theirs.shape[1], factor)
        self.translator = encoder(ours.shape[1], factor, norm=True)
        self._fingerprint = context.fingerprint
        self.sides = (stage_side(context, self.pair[1]),)

    def phases(self) -> Sequence[Phase]:
        """The paraphraser's training."""
        from limbeck.optimization import SGD

        settings = f"stage {self.pair[1]} rate {self.rate} epochs {self.epochs} lr {self.lr}"
        return [
            Phase(
                name="paraphraser",
                trains=[self.paraphraser],
                loss=self._reconstruct,
                reads=Reads(student=(), teacher=("stages",)),
                epochs=self.epochs,
                optimizer=SGD(lr=self.lr),
                batch_size=64,
                seed=self.seed,
                cache=self._fingerprint and f"ft paraphraser {settings} of {self._fingerprint}",
                freezes=True,
                sides=self.sides,
            )
        ]

    def _reconstruct(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        maps = self.sides[0].of(teacher)
        return fitnet(self.paraphraser(maps), maps)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        ours, theirs = student.stages[self.pair[0]], self.sides[0].of(teacher)
        return factor_transfer(self.translator(ours), self.paraphraser.encoder(theirs), self.form)
