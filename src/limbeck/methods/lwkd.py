"""Learning from a Lightweight Teacher. Liu, Zhang & Wang, 2020, arXiv:2005.09163. A reconstruction.

Built from the abstract, because neither the full text nor any code was available. The abstract states that a
small teacher, trained on a synthesized data set with as many classes as the target's, gives soft targets, and
that the student's loss is a KD term and an adversarial one. The data set, the networks and every figure
were chosen here; `profile="faithful"` is the plainest reading of the abstract, and the default was
chosen by a screening on validation data.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.arguments import Count, NonNegative, Positive, Share
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.ce import cross_entropy
from limbeck.methods.declarations import Claim, Context, LossTerms, Phase, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.shapes import same_logits
from limbeck.methods.terms import Term
from limbeck.outputs import UNLABELED, Batch, Outputs


def lwkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    teacher_temperature: float = 5.0,
    student_temperature: float = 1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Divergence with a temperature for each side, KL(softmax(z_t / T_t) || softmax(z_s / T_s)).

    Args:
        student_logits: (B, C), C at least 2.
        teacher_logits: (B, C) of the lightweight teacher, for any sample of the same class.
        teacher_temperature: T_t > 0.
        student_temperature: T_s > 0.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: if the shapes differ or are no rows of at least 2 classes.
    """
    same_logits("lwkd", student_logits, teacher_logits)
    student = F.log_softmax(full_precision(student_logits) / student_temperature, dim=-1)
    teacher = F.log_softmax(full_precision(teacher_logits) / teacher_temperature, dim=-1)
    return reduce(F.kl_div(student, teacher, reduction="none", log_target=True).sum(-1), reduction)


class LWKD(Method):
    """Soft targets from a small teacher of synthesized digits, and an adversary; no teacher is given.

    In a phase, LeNet-5 learns images of the class number in handwritten digits (`synthetic_digits`). A sample
    of class y then gets its logits z_t for one of these images of class y, drawn anew at every visit from a
    bank that is made once. The two classes share a number and nothing else: the targets are a learned label
    smoother. Only labels and student logits z_s are read, so images, text and tables are all the same to it.

        q = softmax(z_t / T_t),  p = softmax(z_s / T_s)
        loss = weight * kd_scale * KL(q || p) + adversarial * -log D(p)

    The cross-entropy is not part of it. Beside it, what is asked of the student is the mixture
    (1 - alpha) onehot(y) + alpha q. In `ce + lwkd(mass=m)` alpha is such that the mixture has, on average
    over the bank, the share m of its probability off the true class, and the weight is alpha / (1 - alpha).
    In `0.7*ce + lwkd(alpha=0.3)` the weight is alpha as it stands.

    The discriminator D tells what is real from the student's outputs p. It minimizes
    -log D(real) - log(1 - D(p)) + r1/2 |grad D(real)|^2 by an optimizer of its own, one step a batch, and
    neither side's gradient reaches the other's parameters. Where q is real, the adversary asks for another
    output than the other two terms, whose optimum is the mixture. A sample without a label counts as zero.

    Args:
        profile: what the arguments are that are left out. "regularizer": temperatures 10 and 1, mass 0.1,
            kd_scale 1, a conditional discriminator with r1=1 to which the mixture is real. "faithful", KD as
            Hinton has it: temperatures 5 and 5, alpha 0.1, kd_scale T_t * T_s, a discriminator without
            condition and penalty to which q is real; its mix is 0.9*ce + lwkd(profile="faithful").
        teacher_temperature: T_t.
        student_temperature: T_s.
        alpha: share of q in the mixture, and weight of the KD term where cross-entropy weighs 1 - alpha.
        mass: share of the mixture's probability that is off the true class, which decides alpha; in place
            of alpha.
        kd_scale: further factor of the KD term, to make up for the temperatures in its gradient.
        adversarial: weight of the adversarial term; 0 builds no discriminator.
        real: what the discriminator takes for real, the "mixture" or q, the soft "target".
        r1: weight of the penalty on the discriminator's gradient at what is real (Mescheder et al. 2018).
        conditional: whether the discriminator is told the class.
        discriminator: widths of its hidden layers, with LeakyReLU(0.2).
        discriminator_lr: learning rate of its Adam, whose betas are 0.5 and 0.999.
        target: "instance", q of one image; or "class_mean", the mean q of the class in the bank.
        teacher: the lightweight teacher, by its name in `limbeck models`.
        epochs: number of epochs of its training, by Adam.
        lr: learning rate of its training.
        batch_size: of its training.
        images_per_class: of its training; by default as many as `synthetic_digits` has.
        glyphs: the scans its images are made of, "digits" or a path, as in `synthetic_digits`.
        bank_size: logits of each class in the bank, all of images that the teacher gets right.
        seed: random seed of images, teacher and bank, which runs share; the draws follow the run's seed.
    """

    reads = Reads(student=("logits",), batch=("targets",))
    recipe = "ce + lwkd"
    rows = "classes"

    def __init__(
        self,
        profile: Literal["regularizer", "faithful"] = "regularizer",
        *,
        teacher_temperature: Positive | None = None,
        student_temperature: Positive | None = None,
        alpha: Share | None = None,
        mass: Share | None = None,
        kd_scale: NonNegative | None = None,
        adversarial: NonNegative = 0.1,
        real: Literal["mixture", "target"] | None = None,
        r1: NonNegative | None = None,
        conditional: bool | None = None,
        discriminator: Sequence[Count] = (128, 64),
        discriminator_lr: Positive = 1e-3,
        target: Literal["instance", "class_mean"] = "instance",
        teacher: str = "lenet5",
        epochs: Count = 5,
        lr: Positive = 1e-3,
        batch_size: Count = 128,
        images_per_class: Count | None = None,
        glyphs: str = "digits",
        bank_size: Count = 100,
        seed: int = 0,
    ) -> None:
        super().__init__()
        faithful = profile == "faithful"
        if alpha is not None and mass is not None:
            raise LimbeckError("lwkd: mass decides alpha; give one of the two")
        self.teacher_temperature = teacher_temperature or (5.0 if faithful else 10.0)
        self.student_temperature = student_temperature or (5.0 if faithful else 1.0)
        if alpha is None and mass is None:
            alpha, mass = (0.1, None) if faithful else (None, 0.1)
        self.alpha, self.mass = alpha, mass
        self.real = real or ("target" if faithful else "mixture")
        self.r1 = (0.0 if faithful else 1.0) if r1 is None else r1
        self.conditional = not faithful if conditional is None else conditional
        scale = self.teacher_temperature * self.student_temperature if faithful else 1.0
        self.kd_scale = scale if kd_scale is None else kd_scale
        self.adversarial, self.target = adversarial, target
        self.hidden, self.discriminator_lr = discriminator, discriminator_lr
        self.teacher, self.images_per_class, self.glyphs = teacher, images_per_class, glyphs
        self.epochs, self.lr, self.batch_size = epochs, lr, batch_size
        self.bank_size, self.seed = bank_size, seed
        self._mixed: float | None = None
        for name in ("conditional", "discriminator", "discriminator_lr", "real", "r1"):
            if not adversarial and name in self.given:
                raise LimbeckError(f"lwkd: with adversarial=0 there is no discriminator; leave {name} out")

    def bind(self, context: Context) -> None:
        """Builds teacher, bank and discriminator; refuses what there can be no soft targets for."""
        from limbeck.teachers import LightweightTeacher, SoftTargetBank

        classes = context.columns
        if classes > 10_000:
            raise LimbeckError(f"lwkd needs at most 10,000 classes, and the student has {classes:,}")
        missing = [label for label, count in enumerate(context.data.class_counts or ()) if not count]
        if missing:
            raise LimbeckError(
                f"lwkd: the training split has no sample of class {missing[0]}; it should have some of"
                f" each of the {classes} classes that the student tells apart"
            )
        self.lightweight = LightweightTeacher(
            classes,
            model=self.teacher,
            images_per_class=self.images_per_class,
            glyphs=self.glyphs,
            batch_size=self.batch_size,
            seed=self.seed,
        )
        self.images_per_class = self.lightweight.images_per_class
        self.bank = SoftTargetBank(classes, self.bank_size)
        trained = f"epochs {self.epochs} lr {self.lr} bank {self.bank_size}"
        self._key = f"lwkd {self.lightweight.key}, {trained}, {context.student.logits.dtype}"
        self.draws: Tensor  # a seed that follows the run's, unlike all that the phase makes
        self.register_buffer("draws", torch.randint(2**62, ()))
        if self.adversarial:
            self.discriminator = _discriminator(classes * (2 if self.conditional else 1), self.hidden)

    def phases(self) -> Sequence[Phase]:
        """The lightweight teacher, and then the bank."""
        from limbeck.optimization import Adam

        return [
            Phase(
                name="teacher",
                trains=[self.lightweight],
                loss=self._teach,
                reads=Reads(student=(), batch=("targets", "progress")),
                epochs=self.epochs,
                optimizer=Adam(lr=self.lr),
                data=self.lightweight.batches,
                keeps=[self.bank],
                finish=lambda: self.lightweight.fill(self.bank),
                seed=self.seed,
                cache=self._key,
                freezes=True,
            )
        ]

    def _teach(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        assert isinstance(batch.inputs, Tensor)
        assert batch.targets is not None
        assert batch.progress is not None
        logits = self.lightweight(batch.inputs)
        right = (logits.argmax(1) == batch.targets).float()
        return {
            "ce": cross_entropy(logits, batch.targets),
            "accuracy": Term(right.mean(), "monitor"),
            "unseen_accuracy": Term(self.lightweight.unseen_accuracy(batch.progress.step), "monitor"),
        }

    def claims(self) -> Sequence[Claim]:
        """The discriminator."""
        if not self.adversarial:
            return ()
        from limbeck.optimization import Adam

        return [Claim(self.discriminator, Adam(lr=self.discriminator_lr, betas=(0.5, 0.999)))]

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The KD term and, with an adversary, "generator", the "discriminator"'s own, and its "accuracy"."""
        assert batch.targets is not None
        labeled = batch.targets != UNLABELED
        classes = batch.targets.where(labeled, 0)
        soft = self._soft_targets(classes, batch).to(student.logits)
        divergence = lwkd(
            student.logits, soft, self.teacher_temperature, self.student_temperature, reduction="none"
        )
        share = self._share()
        weight = share if self.mass is None else share / (1 - share)
        kd = Term(divergence.where(labeled, 0).mean(), weight=weight * self.kd_scale)
        if not self.adversarial:
            return {"kd": kd}

        onehot = F.one_hot(classes, student.logits.shape[1]).to(soft)
        condition = onehot if self.conditional else None
        wanted = (soft / self.teacher_temperature).softmax(-1)
        if self.real == "mixture":
            wanted = (1 - share) * onehot + share * wanted
        real = self._seen(wanted, condition)
        fake = self._seen((student.logits / self.student_temperature).softmax(-1), condition)
        score_real, score_fake = self.discriminator(real)[:, 0], self.discriminator(fake.detach())[:, 0]
        fixed = {name: parameter.detach() for name, parameter in self.discriminator.named_parameters()}
        fooled = torch.func.functional_call(self.discriminator, fixed, (fake,))[:, 0]
        own = F.softplus(-score_real) + F.softplus(score_fake)
        if self.r1 and not torch.is_inference_mode_enabled():  # where nobody minimizes it
            own = own + self.r1 / 2 * self._steepness(wanted, condition)
        right = ((score_real > 0).float() + (score_fake < 0).float()) / 2
        return {
            "kd": kd,
            "generator": Term(F.softplus(-fooled).where(labeled, 0).mean(), weight=self.adversarial),
            "discriminator": Term(own.where(labeled, 0).mean(), "own"),
            "accuracy": Term(right.where(labeled, 0).mean(), "monitor"),
        }

    def _soft_targets(self, classes: Tensor, batch: Batch) -> Tensor:
        """(B, C) logits of the lightweight teacher."""
        if self.target == "class_mean":
            return self.bank.class_mean(classes, self.teacher_temperature)
        from limbeck.tasks.rows import rows_of

        step = None if batch.progress is None else batch.progress.step
        return self.bank.draw(classes, rows_of(batch).numbers(batch.index), step, self.draws)

    def _share(self) -> float:
        """Alpha, which a mass settles once the bank is full."""
        if self.alpha is not None:
            return self.alpha
        if self._mixed is None:
            assert self.mass is not None
            off = self.bank.off_class(self.teacher_temperature)
            if self.mass >= off:
                raise LimbeckError(
                    f"lwkd: the soft targets have {off:.3f} of their probability off the true class at "
                    f"teacher_temperature={self.teacher_temperature:g}, and mass={self.mass:g} must be less; "
                    "lower mass or raise the temperature"
                )
            self._mixed = self.mass / off
        return self._mixed

    def _steepness(self, wanted: Tensor, condition: Tensor | None) -> Tensor:
        """(B,) squared length of the discriminator's gradient at what is real, in its probabilities."""
        with torch.enable_grad():
            at = wanted.detach().requires_grad_()
            score = self.discriminator(self._seen(at, condition)).sum()
            (slope,) = torch.autograd.grad(score, at, create_graph=True)
        return slope.square().sum(-1)

    @staticmethod
    def _seen(probabilities: Tensor, condition: Tensor | None) -> Tensor:
        """What the discriminator sees: probabilities, and the class if it is told."""
        return probabilities if condition is None else torch.cat([probabilities, condition], dim=-1)


def _discriminator(width: int, hidden: Sequence[int]) -> nn.Sequential:
    """Fully connected, from what is seen to one score."""
    widths, layers = [width, *hidden], nn.Sequential()
    for before, after in pairwise(widths):
        layers.extend([nn.Linear(before, after), nn.LeakyReLU(0.2)])
    return layers.append(nn.Linear(widths[-1], 1))
