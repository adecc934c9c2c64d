"""Pay Attention to Features, Transfer Learn Faster CNNs. Wang et al., ICLR 2020.

The paper's AFDS is attentive feature distillation (AFD, here) and selection, which prunes the network and is
not here. The form is that of MGD's authors, shaoeric/multi-granularity-distillation, who replace the paper's
attention, which they found unstable, by a squeeze-and-excitation block. (Attention-based Feature Distillation
shares the abbreviation.)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.arguments import Positive
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.regressors import connector
from limbeck.methods.parts.sides import stage_side
from limbeck.methods.parts.stages import Pairs, described, stage_pairs
from limbeck.outputs import Batch, Outputs


def attentive_feature_distillation(
    student: Tensor, teacher: Tensor, weights: Tensor, reduction: Reduction = "mean"
) -> Tensor:
    """Squared difference of two maps channel by channel, the channels weighted.

        L = sum_c weights_c mean_pixels (u(student_c) - u(teacher_c))^2,   u(x) = x / (|x| + 1e-6)

    Args:
        student: (B, C, H, W) map.
        teacher: the same shape.
        weights: (B, C) of the channels, with sum 1 for each sample.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: for maps of different shapes, or no maps.
    """
    if student.ndim != 4 or student.shape != teacher.shape or weights.shape != student.shape[:2]:
        raise LimbeckError(
            "attentive feature distillation compares maps (B, C, H, W) of one shape with weights (B, C), not "
            f"{tuple(student.shape)} and {tuple(teacher.shape)} with weights {tuple(weights.shape)}"
        )
    difference = (_unit(student) - _unit(teacher)).square().mean(2)
    return reduce((full_precision(weights) * difference).sum(1), reduction)


def _unit(maps: Tensor) -> Tensor:
    """(B, C, H W) channels, each of length 1 or, if it is tiny, less; an all-zero one gets no gradient."""
    flat = full_precision(maps).flatten(2)
    length: Tensor = torch.linalg.vector_norm(flat, dim=2, keepdim=True)
    return flat / (length.where(length > 0, torch.inf) + 1e-6)


class ChannelAttention(nn.Module):
    """Weights of a map's channels: two layers on their means, with sigmoids, divided by their sum.

    Args:
        channels: C.
        hidden: width between the layers.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        layers = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        self.score = nn.Sequential(layers[0], nn.ReLU(), layers[1])

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C)."""
        scores = self.score(maps.mean((2, 3)))
        return F.logsigmoid(scores).softmax(1)  # sigmoids over their sum, also where all of them vanish


class AFD(Method):
    """Each channel of a stage matches the teacher's, weighted by its importance in the teacher's map.

    The channels' weights come from the teacher's map through an attention that is trained with the student,
    so nothing keeps it from preferring channels that are easily matched. The terms of all pairs of stages are
    summed. Stages must agree in channels and size, as in the code this follows. MGD's authors, who have it as
    a host, also report pairs that do not and leave open how they are brought together; here `regressor` does.
    A cache keeps the teacher's whole maps: every channel is compared pixel by pixel.

    No source gives a weight. The recipe's is chosen so that the term is about as large as AT's with AT's
    weight, for trained residual networks: both are means over pixels of squared differences of unit vectors.

    Args:
        ratio: of the attention's hidden width to the channels; MGD's authors give none, and 1 is the default
            of AberHu/Knowledge-Distillation-Zoo, whose AFD is the same.
        pairs: [student's, teacher's] stages to compare, counted from 0; all in order unless given.
        regressor: where shapes differ, bring the student's to the teacher's by a regressor like FitNet's.
    """

    reads = Reads(student=("stages",), teacher=("stages",))
    recipe = "ce + 500*afd"
    per = "samples"

    def __init__(self, ratio: Positive = 1.0, pairs: Pairs | None = None, regressor: bool = False) -> None:
        super().__init__()
        self.ratio, self.pairs, self.regressor = ratio, pairs, regressor

    def bind(self, context: Context) -> None:
        """Builds the attention of each of the teacher's stages, and the regressors.

        Raises:
            LimbeckError: for stages that are no maps of one shape, or that no regressor makes so.
        """
        assert context.teacher is not None
        self.places = stage_pairs(self.name, context, self.pairs)
        self.sides = tuple(stage_side(context, theirs) for _, theirs in self.places)
        self.connectors, self.attentions = nn.ModuleList(), nn.ModuleList()
        for pair in self.places:
            ours, theirs = context.student.stages[pair[0]], context.teacher.stages[pair[1]]
            found = connector(ours, theirs) if self.regressor or ours.shape == theirs.shape else None
            if found is None or theirs.ndim != 4:
                maps = ours.ndim == theirs.ndim == 4
                advice = "add regressor=true, or " if maps and not self.regressor else ""
                raise LimbeckError(
                    f"afd compares maps (channels, height, width) of one shape, but not "
                    f"{described(context, pair)}; {advice}name others with "
                    "afd(pairs=[[student's, teacher's], ...])"
                )
            channels = theirs.shape[1]
            self.connectors.append(found)
            self.attentions.append(ChannelAttention(channels, max(1, int(self.ratio * channels))))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        parts = zip(self.connectors, self.attentions, self.places, self.sides, strict=True)
        first, *rest = (
            attentive_feature_distillation(
                connect(student.stages[ours]), side.of(teacher), attend(side.of(teacher))
            )
            for connect, attend, (ours, _), side in parts
        )
        return sum(rest, first)
