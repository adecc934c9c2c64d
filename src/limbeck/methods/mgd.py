"""Multi-granularity for Knowledge Distillation. Shao & Chen, Image Vis. Comput. 2021, arXiv:2108.06681.

Equations as in the paper; widths, temperatures and the preparation's recipe as in the authors' code,
shaoeric/multi-granularity-distillation. (Masked Generative Distillation shares the abbreviation.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.arguments import Count, Positive
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method, inner_first, related
from limbeck.methods.ce import cross_entropy
from limbeck.methods.declarations import Context, LossTerms, Phase, Reads
from limbeck.methods.dml import DML
from limbeck.methods.embedding_mse import embedding_mse
from limbeck.methods.kd import kd
from limbeck.methods.terms import Term
from limbeck.optimization import SGD, MultiStep
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.tasks.rows import rows_of


class Analyzer(nn.Module):
    """One granularity of the self-analyzing module: the embedding's knowledge in `width` numbers, and back.

    Args:
        embedding: D, width of the network's embedding.
        width: width of the code.
        num_classes: C.
    """

    def __init__(self, embedding: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder(embedding, width)
        self.decoder = nn.Sequential(
            nn.Linear(width, embedding), nn.ReLU(), nn.Linear(embedding, num_classes)
        )

    def forward(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) -> the code (B, width) and logits (B, C) decoded from it."""
        code = self.encoder(embedding)
        return code, self.decoder(code)


def encoder(embedding: int, width: int) -> nn.Sequential:
    """Linear, ReLU, linear: (B, embedding) -> (B, width)."""
    return nn.Sequential(nn.Linear(embedding, embedding), nn.ReLU(), nn.Linear(embedding, width))


class MGD(Method):
    """The teacher analyzes itself into coarse and fine knowledge; wraps any other objective.

        phase of g   L = mean_i (CE(d_g, y) + T_g^2 KL(p(z_t) || p(d_g))),   d_g = D_g(E_g(e_t))
        training     L = base(z_t) + sum_g mean_i T_g^2 KL(p(E_g(e_t)) || p(E'_g(e_s)))
        stable       the same with base((z_t + d_low + d_high) / 3),   p(x) = softmax(x / T_g)

    In two phases, one for each granularity g, an encoder E_g and a decoder D_g on the frozen teacher's
    embedding e_t learn the labels and the teacher's logits z_t. Two like encoders E'_g on the student's
    embedding e_s then follow the teacher's codes beside the base objective. T_g is 2 for the low granularity
    and 8 for the high one. A trained analyzer is reused by every run with the same teacher, data and
    arguments.

    The embedding of an encoder has no classes: its analyzers learn to give the embedding back from their
    codes, and "stable" shows the mean of it and of what both decoders give back. The paper is about
    classifiers; this is limbeck's extension. Each embedding enters with a mean square of 1 over its
    components, as wide as a classifier's: the components of unit vectors are so small that the codes, and
    with them the two terms, would vanish beside the base objective.

    Around mutual learning, `mgd(dml)`, there is no teacher and nothing is trained beforehand: every network
    carries the two encoders and follows the codes of the others, beside the terms of `dml`.

    Args:
        base: the objective it is added to; the paper's hosts are `0.2*ce + 0.8*kd` and `ce + kd + w*method`.
        scheme: "granular" adds the two terms; "stable" (stable excitation) also has the base objective see
            that mean instead of the teacher's logits. Of several teachers that is the one that mgd itself
            names, `mgd(..., teacher="big")`; the others are seen as they are.
        low: width of the low granularity's code.
        high: width of the high granularity's code.
        low_temperature: T of everything at the low granularity.
        high_temperature: T of everything at the high granularity.
        epochs: number of epochs of each phase; the rate drops after a half and three quarters of them.
        lr: learning rate of the phases.
        seed: of the phases; the run's own seed has no part in them, so that all runs may share an analyzer.
    """

    reads = Reads(student=("embedding",), teacher=("embedding", "logits"))
    recipe = "mgd(0.2*ce + 0.8*kd)"
    rows = "classes"
    also = ("vectors",)

    def __init__(
        self,
        base: Method,
        *,
        scheme: Literal["granular", "stable"] = "granular",
        low: Count = 64,
        high: Count = 256,
        low_temperature: Positive = 2.0,
        high_temperature: Positive = 8.0,
        epochs: Count = 60,
        lr: Positive = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if any(isinstance(method, DML) for method in inner_first(base)) and not isinstance(base, DML):
            raise LimbeckError("mgd runs between the peers of dml itself; write mgd(dml) + the rest")
        if isinstance(base, DML):
            if scheme == "stable":
                raise LimbeckError("mgd(dml) has no stable scheme: peers have no analyzed teacher")
            self.reads = Reads(student=("embedding",))
        self.base, self.scheme = base, scheme
        self.epochs, self.lr, self.seed = epochs, lr, seed
        self.widths = {"low": low, "high": high}
        self.temperatures = {"low": low_temperature, "high": high_temperature}

    def bind(self, context: Context) -> None:
        """Builds the teacher's analyzers and the student's encoders; between peers, the encoders of each."""
        if isinstance(self.base, DML):
            with torch.no_grad():
                outputs = self.base.eval().outputs(context.student, Batch(context.example), ("embedding",))
            self.base.train()
            self.peer_encoders = nn.ModuleList(
                nn.ModuleDict({k: encoder(it.embedding.shape[1], width) for k, width in self.widths.items()})
                for it in outputs
            )
            return
        assert context.teacher is not None
        self._analyzed = context.teacher_name
        self._embeds = context.task.scores == "vectors"
        self._places = tuple(field for field in context.task.fields if field == "places")
        ours, theirs = context.student.embedding.shape[1], context.teacher.embedding.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.analyzers = nn.ModuleDict(
                {
                    name: Analyzer(theirs, width, context.width or theirs)
                    for name, width in self.widths.items()
                }
            )
        self.encoders = nn.ModuleDict({name: encoder(ours, width) for name, width in self.widths.items()})
        self._fingerprint = context.fingerprint

    def phases(self) -> Sequence[Phase]:
        """The analyzers, one phase each."""
        return [] if isinstance(self.base, DML) else [self._phase(name) for name in self.widths]

    def _phase(self, name: str) -> Phase:
        width, temperature = self.widths[name], self.temperatures[name]
        analyzer = self.analyzers[name]

        def given_back(student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
            embedding = self._entering(teacher.embedding)
            return {"mse": embedding_mse(analyzer(embedding)[1], embedding)}

        def loss(student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
            assert batch.targets is not None
            logits = rows_of(batch).decisions(analyzer(teacher.embedding)[1])
            labeled = (batch.targets != UNLABELED).sum()
            right = (logits.argmax(1) == batch.targets).sum()  # no class is UNLABELED
            return {
                "ce": cross_entropy(logits, batch.targets),
                "kd": kd(logits, teacher.logits, temperature),
                "accuracy": Term(right / labeled.clamp(min=1), "monitor"),
            }

        settings = f"width {width} temperature {temperature} epochs {self.epochs} lr {self.lr}"
        if self._embeds:
            settings += " mean square 1"
        return Phase(
            name=name,
            trains=[analyzer],
            loss=given_back if self._embeds else loss,
            reads=Reads(student=(), teacher=("embedding",))
            if self._embeds
            else Reads(student=(), teacher=("embedding", "logits", *self._places), batch=("targets",)),
            epochs=self.epochs,
            optimizer=SGD(lr=self.lr),
            schedule=MultiStep(milestones=(self.epochs / 2, self.epochs * 3 / 4)),
            batch_size=64,
            seed=self.seed,
            cache=self._fingerprint and f"mgd analyzer {settings} of {self._fingerprint}",
            freezes=True,
        )

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The base objective's terms, and "low" and "high"."""
        if isinstance(self.base, DML):
            outputs = self.base.outputs(student, batch, ("embedding",))
            return {**self.base.mutual(outputs, batch), **self._between_peers(outputs)}
        ours, theirs, _ = related(student, teacher, batch)  # of very many rows, codes are compared for some
        analyzed = self._entering(theirs.embedding)
        codes = {name: analyzer.encoder(analyzed) for name, analyzer in self._analyzers.items()}
        if self.scheme == "stable":
            decoded = []
            for name, analyzer in self._analyzers.items():
                code = (
                    codes[name] if theirs is teacher else analyzer.encoder(self._entering(teacher.embedding))
                )
                decoded.append(rows_of(batch).decisions(analyzer.decoder(code)))
            if self._embeds:  # in the length of each embedding
                scale = teacher.embedding.square().mean(1, keepdim=True).sqrt()
                decoded = [scale * each for each in decoded]
            excited = stable_excitation(teacher.logits, *decoded)
            if "named" in teacher:  # the others, which are not analyzed, are shown as they are
                assert self._analyzed is not None
                shown = teacher.named[self._analyzed].replace(logits=excited)
                teacher = teacher.replace(named={**teacher.named, self._analyzed: shown})
            teacher = teacher.replace(logits=excited, **({"embedding": excited} if self._embeds else {}))
        embedding = self._entering(ours.embedding)
        terms = {
            name: kd(self.encoders[name](embedding), code, self.temperatures[name])
            for name, code in codes.items()
        }
        return {**self.base.terms(student, teacher, batch), **terms}

    def _entering(self, embedding: Tensor) -> Tensor:
        """The embedding as the analyzers and encoders read it; that of a classifier as it is."""
        return F.rms_norm(embedding, embedding.shape[1:], eps=1e-12) if self._embeds else embedding

    @property
    def _analyzers(self) -> dict[str, Analyzer]:
        found = {name: self.analyzers[name] for name in self.widths}
        return {name: each for name, each in found.items() if isinstance(each, Analyzer)}

    def _between_peers(self, outputs: Sequence[Outputs]) -> dict[str, Term]:
        """For each network and granularity, the mean divergence from the others' detached codes."""
        terms: dict[str, Term] = {}
        for name, temperature in self.temperatures.items():
            codes = [
                self.peer_encoders.get_submodule(f"{place}.{name}")(output.embedding)
                for place, output in enumerate(outputs)
            ]
            for place, own in enumerate(codes):
                others = [code.detach() for other, code in enumerate(codes) if other != place]
                value = torch.stack([kd(own, other, temperature) for other in others]).mean()
                label = f"peer{place}.{name}" if place else name
                terms[label] = Term(value, "own" if place else "distillation")
        return terms


def stable_excitation(teacher_logits: Tensor, low_logits: Tensor, high_logits: Tensor) -> Tensor:
    """What the student is shown under stable excitation: the mean of three (B, C) logits."""
    return (teacher_logits + low_logits + high_logits) / 3
