"""Invented methods that prove the contracts: a phase, a memory, an adversary, and a wrapper with a phase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.methods import Claim, Context, Method, Networks, Phase, Reads, Term
from limbeck.methods.declarations import LossTerms
from limbeck.methods.kd import kd
from limbeck.optimization import SGD, Adam
from limbeck.outputs import Batch, Outputs


class Projected(Method):
    """A phase trains an autoencoder of the teacher's embedding; the student then matches the code."""

    reads = Reads(student=("embedding",), teacher=("embedding",))
    recipe = "ce + 0.5*projected"

    def __init__(self, dim: int = 4, epochs: int = 2) -> None:
        super().__init__()
        self.dim, self.epochs = dim, epochs

    def bind(self, context: Context) -> None:
        assert context.teacher is not None
        width = context.teacher.embedding.shape[1]
        self.encoder, self.decoder = nn.Linear(width, self.dim), nn.Linear(self.dim, width)
        self.adapter = nn.Linear(context.student.embedding.shape[1], self.dim)

    def phases(self) -> Sequence[Phase]:
        return [
            Phase(
                name="code",
                trains=[self.encoder, self.decoder],
                loss=self._reconstruct,
                reads=Reads(student=(), teacher=("embedding",)),
                epochs=self.epochs,
                optimizer=SGD(lr=0.05),
                freezes=True,
            )
        ]

    def _reconstruct(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return F.mse_loss(self.decoder(self.encoder(teacher.embedding)), teacher.embedding)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return F.mse_loss(self.adapter(student.embedding), self.encoder(teacher.embedding))


class Remembered(Method):
    """Keeps a running mean of the student's own logits for each training sample and stays near it."""

    reads = Reads(student=("logits",), batch=("index",), data=("size",))
    recipe = "ce + remembered"

    def bind(self, context: Context) -> None:
        assert context.data.size is not None
        self.memory: Tensor
        self.register_buffer("memory", torch.zeros(context.data.size, context.width))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        assert batch.index is not None
        loss = (student.logits - self.memory[batch.index]).square().mean()
        if self.training:
            self.memory[batch.index] = 0.5 * self.memory[batch.index] + 0.5 * student.logits.detach()
        return loss


class Adversarial(Method):
    """A discriminator tells the student's logits from the teacher's by an optimizer of its own."""

    reads = Reads(student=("logits",), teacher=("logits",))
    recipe = "ce + 0.1*adversarial"

    def bind(self, context: Context) -> None:
        self.discriminator = nn.Sequential(nn.Linear(context.width, 8), nn.Tanh(), nn.Linear(8, 1))

    def claims(self) -> Sequence[Claim]:
        return [Claim(self.discriminator, Adam(lr=1e-3, betas=(0.5, 0.999)))]

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        real, fake = self.discriminator(teacher.logits), self.discriminator(student.logits.detach())
        own = F.softplus(-real).mean() + F.softplus(fake).mean()
        fixed = {name: p.detach() for name, p in self.discriminator.named_parameters()}
        fooled = torch.func.functional_call(self.discriminator, fixed, (student.logits,))
        accuracy = ((real > 0).float().mean() + (fake < 0).float().mean()).detach() / 2
        return {
            "generator": F.softplus(-fooled).mean(),
            "discriminator": Term(own, "own"),
            "accuracy": Term(accuracy, "monitor"),
        }


class Around(Method):
    """Wraps any objective; in a phase a head learns the teacher's logits, then the student the head's."""

    reads = Reads(student=("embedding", "logits"), teacher=("embedding", "logits"))
    recipe = "around(ce + 0.5*projected)"

    def __init__(self, base: Method, *, weight: float = 0.5) -> None:
        super().__init__()
        self.base, self.weight = base, weight

    def bind(self, context: Context) -> None:
        assert context.teacher is not None
        self.head = nn.Linear(context.teacher.embedding.shape[1], context.width)

    def phases(self) -> Sequence[Phase]:
        return [
            Phase(
                name="head",
                trains=[self.head],
                loss=lambda student, teacher, batch: F.mse_loss(self.head(teacher.embedding), teacher.logits),
                reads=Reads(student=(), teacher=("embedding", "logits")),
                epochs=2,
                optimizer=SGD(lr=0.05),
                freezes=True,
            )
        ]

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        mean = (teacher.logits + self.head(teacher.embedding)) / 2
        inner = self.base.terms(student, teacher.replace(logits=mean), batch)
        return {**inner, "head": self.weight * F.mse_loss(student.logits, mean)}


class Turned(Method):
    """Makes a further view of each sample, upside down, in training and in a phase for the teacher's head."""

    reads = Reads(student=("logits",), teacher=("logits", "embedding"), makes=("turned",))
    recipe = "ce + turned"
    views_together = True

    def bind(self, context: Context) -> None:
        assert context.teacher is not None
        self.head = nn.Linear(context.teacher.embedding.shape[1], context.width)

    def collect(self, batch: Batch, networks: Networks) -> Batch:
        assert isinstance(batch.inputs, Tensor)
        return replace(batch, views={**batch.views, "turned": batch.inputs.flip(-2)})

    def phases(self) -> Sequence[Phase]:
        return [
            Phase(
                name="head",
                trains=[self.head],
                loss=self._follow,
                reads=Reads(student=(), teacher=("logits", "embedding"), makes=("turned",)),
                epochs=2,
                optimizer=SGD(lr=0.05),
                freezes=True,
                collect=self.collect,
            )
        ]

    def _follow(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return F.mse_loss(self.head(teacher.views["turned"].embedding), teacher.logits)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        aim = self.head(teacher.views["turned"].embedding)
        return F.mse_loss(student.views["turned"].logits, aim) + F.mse_loss(student.logits, aim)


class Halfway(Method):
    """Exchanges every sample for one halfway to its own mirror image, for all methods that learn from it."""

    reads = Reads(student=("logits",), teacher=("logits",))
    recipe = "ce + halfway"

    def collect(self, batch: Batch, networks: Networks) -> Batch:
        assert isinstance(batch.inputs, Tensor)
        return replace(batch, inputs=(batch.inputs + batch.inputs.flip(-1)) / 2, view=None)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return kd(student.logits, teacher.logits)


INVENTED: dict[str, type[Method]] = {
    "projected": Projected,
    "remembered": Remembered,
    "adversarial": Adversarial,
    "around": Around,
    "turned": Turned,
    "halfway": Halfway,
}
