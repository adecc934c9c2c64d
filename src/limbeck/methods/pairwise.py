"""Structured Knowledge Distillation for Semantic Segmentation. Liu et al., CVPR 2019, arXiv:1903.04197.

Its pair-wise term, and its holistic one, an adversary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from limbeck.arguments import Count, NonNegative, Positive
from limbeck.errors import LimbeckError
from limbeck.hashing import below
from limbeck.methods.base import Method
from limbeck.methods.declarations import Claim, Context, LossTerms, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce, unit
from limbeck.methods.parts.critic import Critic, steepness
from limbeck.methods.parts.maps import logit_maps, resized_alike
from limbeck.methods.parts.shapes import same_samples, stage_like
from limbeck.methods.parts.sides import pooled_side
from limbeck.methods.parts.stages import described, pooled, stage_pair
from limbeck.methods.terms import Term
from limbeck.outputs import Batch, Outputs, named


def pairwise(student: Tensor, teacher: Tensor, nodes: int = 32, reduction: Reduction = "mean") -> Tensor:
    """Mean squared difference of the similarities between all positions of an image (equation 2).

        1 / N^2 sum_ij (a_s[i, j] - a_t[i, j])^2,   a[i, j] = cosine of the features at the nodes i and j

    A node is the mean of neighboring positions.

    Args:
        student: (B, C, H, W).
        teacher: (B, D, h, w).
        nodes: rows and columns of nodes at most; maps with more positions are average-pooled.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: for other shapes, and for a single node.
    """
    stage_like("pairwise", (4,), student=student, teacher=teacher)
    same_samples("pairwise", student, teacher)
    sides = zip(student.shape[2:], teacher.shape[2:], strict=True)
    height, width = (min(*both, nodes) for both in sides)
    if height * width == 1:
        raise LimbeckError(
            "pairwise compares the nodes of an image with each other, and one node is left of maps "
            f"{'x'.join(map(str, student.shape[2:]))} and {'x'.join(map(str, teacher.shape[2:]))} with "
            f"nodes={nodes}; take a shallower stage, larger images or more nodes"
        )
    ours, theirs = (_similarities(pooled(full_precision(each), height, width)) for each in (student, teacher))
    return reduce((ours - theirs).square().mean((1, 2)), reduction)


def _similarities(maps: Tensor) -> Tensor:
    """(B, N, N) cosines between the positions of maps (B, C, H, W)."""
    features = unit(maps.flatten(2))
    return features.transpose(1, 2) @ features


class Pairwise(Method):
    """The positions of an image are as alike to the student as to the teacher.

    The paper's other terms are `kd` for each pixel, and an adversary. A cache keeps the teacher's nodes, of
    which there are fewer numbers than similarities.

    The adversary (section 3.2) is a critic D that scores maps of classes q with their images I, a Wasserstein
    GAN with a penalty on its gradient. With q = softmax of the logits, at the teacher's resolution,

        student:  adversary * -D(q_s | I)
        critic:   D(q_s | I) - D(q_t | I) + penalty * (|grad D| - 1)^2 at mixtures of q_s and q_t

    by an optimizer of its own, one step a batch, and neither side's gradient reaches the other's parameters.
    The public code scores logits after a batch norm, without their images, and has spectral norms besides;
    here a score depends on its sample alone, and the images are the paper's condition.

    Args:
        stage: the one compared, counted from 0, or from the end; or [student's, teacher's].
        nodes: rows and columns of nodes at most. The paper joins 2 x 2 positions of maps of 65 x 65.
        adversary: weight of the adversarial term beside the similarities; 0 builds no critic. The paper's mix
            is ce + 10*kd(temperature=1) + 10*pairwise(adversary=0.01).
        penalty: weight of the penalty on the critic's gradient.
        critic_lr: learning rate of the critic's Adam, whose betas are 0.5 and 0.999.
    """

    reads = Reads(student=("stages",), teacher=("stages",))
    recipe = "ce + 10*kd(temperature=1) + 10*pairwise"  # section 4.1: lambda 10
    per = "samples"

    def __init__(
        self,
        stage: int | Sequence[int] = -1,
        nodes: Count = 32,
        adversary: NonNegative = 0.0,
        penalty: NonNegative = 10.0,
        critic_lr: Positive = 4e-4,
    ) -> None:
        super().__init__()
        self.stage, self.nodes = stage, nodes
        self.adversary, self.penalty, self.critic_lr = adversary, penalty, critic_lr
        if adversary:
            self.reads = Reads(student=("stages", "logits"), teacher=("stages", "logits"))
        for name in ("penalty", "critic_lr"):
            if not adversary and name in self.given:
                raise LimbeckError(f"pairwise: without an adversary there is no critic; leave {name} out")

    def bind(self, context: Context) -> None:
        """Settles which stages are compared.

        Raises:
            LimbeckError: for stages that are no maps.
        """
        assert context.teacher is not None
        self.pair = stage_pair(self.name, context, self.stage)
        stages = context.student.stages[self.pair[0]], context.teacher.stages[self.pair[1]]
        if any(stage.ndim != 4 for stage in stages):
            raise LimbeckError(
                f"pairwise compares maps (channels, height, width), not {described(context, self.pair)}; "
                "name others with pairwise(stage=[student's, teacher's])"
            )
        self.sides = (pooled_side(context, self.pair, most=self.nodes),)
        if self.adversary:
            _, maps = logit_maps(self.name, context)
            height, width = maps.shape[2:]
            if min(height, width) < 2:
                raise LimbeckError(
                    f"pairwise: the critic needs maps of 2 x 2 at least, not {height} x {width}; give larger "
                    "images, or leave adversary out"
                )
            images = next(iter(named(context.example).values()))
            self.critic = Critic(maps.shape[1], images.shape[1], (height, width))
            self.draws: Tensor  # a seed that follows the run's
            self.register_buffer("draws", torch.randint(2**62, ()))

    def claims(self) -> Sequence[Claim]:
        """The critic."""
        if not self.adversary:
            return ()
        from limbeck.optimization import Adam

        return [Claim(self.critic, Adam(lr=self.critic_lr, betas=(0.5, 0.999)))]

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """Scalar; with an adversary "similarities", "generator", the "critic"'s own, and its "distance"."""
        ours = student.stages[self.pair[0]]
        similarities = pairwise(ours, self.sides[0].of(teacher, ours.shape[2:]), self.nodes)
        if not self.adversary:
            return similarities
        theirs = full_precision(teacher.maps)
        real, fake = (
            maps.softmax(1) for maps in (theirs, resized_alike(full_precision(student.maps), theirs))
        )
        images = next(iter(named(batch.inputs).values()))
        score_real, score_fake = self.critic(real, images), self.critic(fake.detach(), images)
        fixed = {name: parameter.detach() for name, parameter in self.critic.named_parameters()}
        fooled = torch.func.functional_call(self.critic, fixed, (fake, images))
        own = score_fake - score_real
        if self.penalty and not torch.is_inference_mode_enabled():  # where nobody minimizes it
            shares = self._shares(batch).to(real)
            own = own + self.penalty * steepness(self.critic, fake, real, images, shares)
        return {
            "similarities": Term(similarities, per="samples"),
            "generator": Term(-fooled.mean(), weight=self.adversary, per="samples"),
            "critic": Term(own.mean(), "own", per="samples"),
            "distance": Term((score_real - score_fake).mean().detach(), "monitor", per="samples"),
        }

    def _shares(self, batch: Batch) -> Tensor:
        """(B,) uniform in [0, 1), the same however a batch is split, and others at every visit."""
        if batch.index is None or batch.progress is None:
            return torch.rand(len(batch))
        return below(2**24, self.draws.cpu(), batch.progress.step, batch.index.cpu()) / 2**24
