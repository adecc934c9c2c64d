"""Masked Generative Distillation, as MTPD takes it. Yang et al., ECCV 2022, arXiv:2205.01529.

It is the authors' MGD, whose name limbeck has for multi-granularity distillation. The draw of the mask is a
function of seed, step and sample here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from limbeck.arguments import Positive, Share
from limbeck.errors import LimbeckError
from limbeck.hashing import below
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.maps import resized_alike
from limbeck.methods.parts.shapes import stage_like
from limbeck.methods.parts.sides import stage_side
from limbeck.methods.parts.stages import Pair, described, stage_pairs
from limbeck.outputs import Batch, Outputs

_SALT = 0x6D67656E  # no other hash of a seed starts with it
_FINE = 2**24


def masked_generative(student: Tensor, teacher: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Squared distance of a stage from what was generated for it, the sum over channels and positions.

        L = mean_i ||s_i - t_i||^2

    Args:
        student: (B, C, H, W) what a small network makes of the student's masked stage.
        teacher: the same shape.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: for different or other shapes.
    """
    stage_like("masked_generative", (4,), student=student, teacher=teacher)
    if student.shape != teacher.shape:
        raise LimbeckError(
            f"masked_generative compares maps of one shape, not {tuple(student.shape)} and "
            f"{tuple(teacher.shape)}"
        )
    return reduce((full_precision(student) - full_precision(teacher)).square().flatten(1).sum(1), reduction)


class MaskedGenerative(Method):
    """Small networks reconstruct the teacher's stages from the student's, which are masked at random.

        L = alpha sum over pairs of mean_i ||G(M A(F_s)) - F_t||^2

    For each pair of stages, A is a 1x1 convolution that brings the student's maps to the teacher's channels
    where these differ, and resizes them bilinearly where their sizes do; M is 0 at random positions and 1 at
    the others; and G, two 3x3 convolutions with a ReLU between, makes the teacher's maps of what is left. The
    loss is a sum over channels and positions, as in the authors' code, so `alpha` is for maps of one size:
    2e-5 for a pyramid of 256 channels over images of 1333 x 800. A cache keeps the teacher's stages whole.

    Args:
        pairs: the stages, [student's, teacher's]; all in their order if not given. Those of limbeck's
            detectors are the levels of the pyramid.
        mask: how likely a position becomes 0; 0.65 for one-stage and 0.45 for two-stage detectors in MTPD.
        alpha: factor of the sum; 2e-5 and 5e-7 there.
    """

    name = "masked_generative"
    reads = Reads(student=("stages",), teacher=("stages",), batch=("progress",))
    recipe = "fcos + masked_generative"
    per = "samples"

    def __init__(
        self, pairs: Sequence[Pair] | None = None, mask: Share = 0.65, alpha: Positive = 2e-5
    ) -> None:
        super().__init__()
        self.pairs, self.mask, self.alpha = pairs, mask, alpha

    def bind(self, context: Context) -> None:
        """Builds the networks.

        Raises:
            LimbeckError: for stages that are no maps, or cannot be paired.
        """
        assert context.teacher is not None
        self.places = stage_pairs(self.name, context, self.pairs)
        self.align, self.generate = nn.ModuleList(), nn.ModuleList()
        for pair in self.places:
            ours, theirs = context.student.stages[pair[0]], context.teacher.stages[pair[1]]
            if ours.ndim != 4 or theirs.ndim != 4:
                raise LimbeckError(
                    f"masked_generative masks maps (channels, height, width), not {described(context, pair)}"
                )
            before, width = ours.shape[1], theirs.shape[1]
            self.align.append(nn.Identity() if before == width else nn.Conv2d(before, width, 1))
            self.generate.append(_generation(width))
        self.sides = tuple(stage_side(context, theirs) for _, theirs in self.places)
        self.draws: Tensor
        self.register_buffer("draws", torch.randint(2**62, ()))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        losses = []
        parts = zip(self.places, self.sides, self.align, self.generate, strict=True)
        for level, (pair, side, align, generate) in enumerate(parts):
            theirs = side.of(teacher)
            ours = resized_alike(align(student.stages[pair[0]]), theirs)
            losses.append(masked_generative(generate(ours * self._kept(ours, batch, level)), theirs))
        return self.alpha * torch.stack(losses).sum()

    def _kept(self, maps: Tensor, batch: Batch, level: int) -> Tensor:
        """(B, 1, H, W) 0 where a position is masked and 1 elsewhere, however a batch is split."""
        assert batch.progress is not None
        height, width = maps.shape[2:]
        index = torch.arange(len(maps), device=maps.device) if batch.index is None else batch.index
        position = torch.arange(height * width, device=maps.device)
        drawn = below(_FINE, _SALT, self.draws, batch.progress.step, level, index[:, None], position)
        return (drawn >= round(self.mask * _FINE)).view(-1, 1, height, width).to(maps.dtype)


def _generation(width: int) -> nn.Sequential:
    """The block that makes whole maps of masked ones."""
    first, last = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
    return nn.Sequential(OrderedDict(conv1=first, relu=nn.ReLU(), conv2=last))
