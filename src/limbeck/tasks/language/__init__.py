"""Language models: the next token at each position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.tasks.base import Task
from limbeck.tasks.language.findings import LanguageFindings
from limbeck.tasks.language.meter import LanguageComparison, LanguageMeter, predicted
from limbeck.tasks.language.sections import sections, weaknesses
from limbeck.tasks.measuring import Agreement, Findings, Meter, Metric
from limbeck.tasks.rows import Rows, masked
from limbeck.tasks.sections import Section
from limbeck.tasks.targets import as_tensor, same_size


@dataclass(frozen=True)
class Language(Task):
    """Targets are (N, L) int64: at each position the id of the next token, which a network predicts from the
    tokens up to that position.

    The data has shifted them: position t of the targets is position t + 1 of the text. `UNLABELED` is at
    positions where nothing is to be predicted, such as padding, prompts and the ends of documents. A
    network gives (B, L, V) logits; a head that is wider than the vocabulary, as padded ones are, is cut to
    it. One row is one predicted token.

    Args:
        vocab_size: V, the ids that the tokenizer has, at least 2.
        end: the id that ends a document, where the tokenizer has one.
    """

    name = "language"
    hub_tag: ClassVar[str | None] = "text-generation"
    one_row_per_sample: ClassVar[bool] = False
    even: ClassVar[bool] = False
    dense: ClassVar[bool] = True
    distance: ClassVar[str] = "mean KL(teacher, student) of a predicted token in nats"
    findings = LanguageFindings
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("nll", "NLL", higher=False),
        Metric("perplexity", "perplexity", higher=False),
        Metric("bits_per_byte", "bits per byte", higher=False),
        Metric("accuracy", "token accuracy", 100, "%"),
    )
    names: ClassVar[tuple[str, ...]] = ()  # type: ignore[misc] # the tokenizer has them, and no record does

    vocab_size: int
    end: int | None = None

    def __post_init__(self) -> None:
        if self.vocab_size < 2:
            raise LimbeckError(f"a vocabulary should have at least 2 ids, not {self.vocab_size}")

    @classmethod
    def of(cls, names: Sequence[str] | None, width: int | None, targets: Tensor) -> Language:
        """The task of a vocabulary.

        Raises:
            LimbeckError: without the size of the vocabulary, which no text tells, and for names.
        """
        if names is not None:
            raise LimbeckError(
                "the outputs of a language model are called by its tokenizer; leave out the names"
            )
        if width is None:
            raise LimbeckError("the size of the vocabulary is not known; give num_classes, the ids there are")
        return cls(width)

    @classmethod
    def of_width(cls, width: int) -> Language:
        """The task of as many ids as the head of a network has outputs."""
        return cls(width)

    @property
    def width(self) -> int:
        """The ids there are."""
        return self.vocab_size

    @property
    def summary(self) -> str:
        """For example "a vocabulary of 512 tokens"."""
        return f"a vocabulary of {self.vocab_size:,} tokens"

    def fits(self, width: int) -> bool:
        """Whether a head has an output for every id; it may have more."""
        return width >= self.vocab_size

    @staticmethod
    def width_of(logits: Tensor) -> int:
        """The size of the last axis."""
        return logits.shape[-1]

    @classmethod
    def as_targets(cls, targets: Any, size: int, which: str) -> Tensor:
        """(N, L) int64; (N, 0) for None."""
        if targets is None:
            return torch.empty(size, 0, dtype=torch.int64)
        ids = as_tensor(targets, which, "token ids, (N, L) integers")
        if ids.ndim != 2 or ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
            raise LimbeckError(
                f"the {which} targets should be the id of the next token at each position, (N, L) integers, "
                f"not {ids.dtype} of shape {tuple(ids.shape)}"
            )
        same_size(ids, size, which)
        return ids.long()

    def check(self, targets: Tensor, which: str) -> None:
        """Refuses a target that is neither an id nor `UNLABELED`."""
        wrong = ((targets < 0) | (targets >= self.vocab_size)) & (targets != UNLABELED)
        if wrong.any():
            sample, place = wrong.nonzero()[0].tolist()
            raise LimbeckError(
                f"the {which} target {int(targets[sample, place])} of sample {sample} at position {place} is "
                f"no token id: with {self.summary} it should be 0 to {self.vocab_size - 1}, or {UNLABELED} "
                "where nothing is to be predicted"
            )

    def check_batch(self, targets: Tensor, size: int) -> None:
        """Refuses anything but (B, L) int64."""
        if targets.dtype != torch.int64 or targets.ndim != 2 or len(targets) != size:
            raise LimbeckError(
                f"the targets of a batch of {size} must be int64 of shape ({size}, L), the id of the next "
                f"token at each position, not {str(targets.dtype).removeprefix('torch.')} of shape "
                f"{tuple(targets.shape)}"
            )

    def check_outputs(self, logits: Tensor, role: str) -> None:
        """Refuses anything but (B, L, V), or with more outputs than V."""
        if logits.ndim != 3 or not self.fits(logits.shape[-1]):
            raise LimbeckError(
                f"the logits of the {role} have the shape {tuple(logits.shape)}, and a language model with "
                f"{self.summary} gives scores for every position, (B, L, {self.vocab_size}) or wider"
            )

    @classmethod
    def labeled(cls, targets: Tensor) -> Tensor:
        """Which samples have a token to be predicted."""
        return (targets != UNLABELED).any(1)

    def rows(self, batch: Batch, outputs: Outputs) -> Rows:
        """The predicted tokens; without targets, those at all positions that are no padding."""
        if "projection" in outputs:
            some = outputs["projection"].hidden
        else:
            some = outputs["logits"] if "logits" in outputs else outputs["embedding"]
        if batch.targets is not None and batch.targets.shape != some.shape[:2]:
            raise LimbeckError(
                f"the targets of a batch have the shape {tuple(batch.targets.shape)}, and the network "
                f"answers in the shape {tuple(some.shape)}; it should answer at each of their positions"
            )
        rows = masked(predicted(batch, some), batch.targets)
        labels = rows.targets
        if labels is not None and batch.written is not None and rows.sample is not None:
            labels = labels.masked_fill(batch.written[rows.sample], UNLABELED)
        return replace(
            rows,
            targets=labels,
            logits=lambda logits: rows.logits(logits[..., : self.vocab_size]),
            width=self.vocab_size,
            notes={name: rows.logits(each.unsqueeze(-1)).squeeze(-1) for name, each in batch.notes.items()},
        )

    def count(self, batch: Batch) -> Tensor | int:
        """The tokens that are predicted."""
        if batch.targets is not None:
            return (batch.targets != UNLABELED).sum()
        if isinstance(batch.inputs, Tensor):
            return batch.inputs.numel()
        mask = batch.inputs.get("attention_mask")
        return next(iter(batch.inputs.values())).numel() if mask is None else mask.bool().sum()

    def meter(self, *, quick: bool = False) -> LanguageMeter:
        """Sums up losses and right predictions."""
        return LanguageMeter(self.vocab_size)

    def comparison(self) -> LanguageComparison:
        """Agreement and divergence of the predictions."""
        return LanguageComparison(self.vocab_size)

    def measure(self, meter: Meter, validation: Meter | None) -> LanguageFindings:
        """Loss and accuracy, also by length of the context; nothing is chosen on the validation split."""
        assert isinstance(meter, LanguageMeter)
        return meter.findings()

    def at_chance(self, metrics: Mapping[str, float], targets: Tensor) -> bool:
        """Whether the NLL is that of a network that knows how frequent each token is, or above."""
        counts = targets[targets != UNLABELED].bincount().double()
        share = counts[counts > 0] / counts.sum()
        return metrics["nll"] >= float(-(share * share.log()).sum())

    def weaknesses(self, found: Findings) -> tuple[str, ...]:
        """That its text may be untrue, and the length of the context where it is worst."""
        assert isinstance(found, LanguageFindings)
        return tuple(weaknesses(found))

    def sections(self, found: Mapping[str, Findings], agreement: Agreement | None) -> Sequence[Section]:
        """Losses, also by length of the context, and the agreement with the teacher."""
        return sections(found, agreement)

    def recipe(self, *, teacher: bool) -> str:
        """Text and teacher in equal parts, both at temperature 1, at which a language model is measured and
        sampled from: the defaults of DistillKit, and the temperature of the loss in GKD (arXiv:2306.13649).
        """
        return "0.5*ce + 0.5*kd(temperature=1)" if teacher else "ce"
