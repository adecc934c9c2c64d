"""Measures language models: one alone, and a student beside its teacher."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.projection import SCORES
from limbeck.tasks.language.findings import Context, LanguageFindings
from limbeck.tasks.measuring import Agreement, Comparison, Meter


class LanguageMeter(Meter):
    """Measures one language model on the tokens that are predicted.

    It keeps sums alone, and looks at a bounded number of scores at a time.

    Args:
        vocab_size: the ids there are; what a head has beyond them is left out.
    """

    def __init__(self, vocab_size: int) -> None:
        self._width = vocab_size
        self._tokens = self._right = self._samples = 0
        self._bytes: int | None = 0
        self._loss = 0.0
        self._counts = torch.zeros(0, dtype=torch.int64)
        self._losses = torch.zeros(0, dtype=torch.float64)

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Takes in logits (B, L, V) and targets (B, L)."""
        self._samples += len(batch)
        if batch.targets is None:
            return
        targets = batch.targets
        valid = targets != UNLABELED
        place = bins(positions(batch, targets))
        last = int(place.max()) + 1 if place.numel() else 0
        self._counts, self._losses = (_grown(each, last) for each in (self._counts, self._losses))
        for logits, chosen in predictions(outputs.logits, valid, self._width):
            wanted = targets[chosen]
            loss = F.cross_entropy(logits, wanted, reduction="none").double().cpu()
            self._tokens += len(wanted)
            self._loss += float(loss.sum())
            self._right += int((logits.argmax(1) == wanted).sum())
            where = place[chosen].cpu()
            self._counts += where.bincount(minlength=len(self._counts))
            self._losses.index_add_(0, where, loss)
        if batch.bytes is None or self._bytes is None:
            self._bytes = None
        else:
            self._bytes += int(batch.bytes.sum())

    def compute(self) -> dict[str, float]:
        """`nll`, `perplexity`, `bits_per_byte` where the data tells the bytes, and `accuracy`."""
        self._check()
        nll = self._loss / self._tokens
        found = {"nll": nll, "perplexity": math.exp(nll) if nll < 700 else math.inf}
        if self._bytes:
            found["bits_per_byte"] = self._loss / math.log(2) / self._bytes
        return {**found, "accuracy": self._right / self._tokens}

    def findings(self) -> LanguageFindings:
        """All there is to say; see `limbeck.tasks.Task.measure`."""
        self._check()
        contexts = [
            Context(first=1 << number, last=(2 << number) - 1, tokens=count, nll=loss / count)
            for number, (count, loss) in enumerate(
                zip(self._counts.tolist(), self._losses.tolist(), strict=True)
            )
            if count
        ]
        return LanguageFindings(
            tokens=self._tokens,
            bytes=self._bytes or None,
            nll=self._loss / self._tokens,
            accuracy=self._right / self._tokens,
            contexts=tuple(contexts),
        )

    def _check(self) -> None:
        if not self._tokens:
            raise LimbeckError(f"no token of the {self._samples} samples is to be predicted")


class LanguageComparison(Comparison):
    """Measures how a student agrees with its teacher on the tokens that are predicted.

    Args:
        vocab_size: the ids there are; what a head has beyond them is left out.
    """

    def __init__(self, vocab_size: int) -> None:
        self._width = vocab_size
        self._tokens = self._alike = 0
        self._distance = 0.0

    def update(self, student: Outputs, teacher: Outputs, batch: Batch) -> None:
        """Takes in logits (B, L, V) of both; without targets, all tokens that are no padding count."""
        valid = predicted(batch, student.logits)
        pairs = zip(
            predictions(student.logits, valid, self._width),
            predictions(teacher.logits, valid, self._width),
            strict=True,
        )
        for (ours, _), (theirs, _) in pairs:
            self._tokens += len(ours)
            self._alike += int((ours.argmax(1) == theirs.argmax(1)).sum())
            divergence = F.kl_div(
                ours.log_softmax(1), theirs.log_softmax(1), reduction="none", log_target=True
            )
            self._distance += float(divergence.sum(1).double().sum())

    def compute(self) -> Agreement:
        """The share of the predictions with the same most probable token, and the mean divergence."""
        if not self._tokens:
            raise LimbeckError("no token is predicted, so student and teacher cannot be compared")
        return Agreement(agreement=self._alike / self._tokens, distance=self._distance / self._tokens)


def predicted(batch: Batch, logits: Tensor) -> Tensor:
    """(B, L) bool, the positions at which a token is to be predicted; without targets, all but padding."""
    if batch.targets is not None:
        return batch.targets != UNLABELED
    mask = None if isinstance(batch.inputs, Tensor) else batch.inputs.get("attention_mask")
    if mask is None:
        return torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)
    return mask.bool()


def predictions(logits: Tensor, valid: Tensor, width: int) -> Iterator[tuple[Tensor, tuple[Tensor, Tensor]]]:
    """The scores of the valid positions, so many at a time as fit in `SCORES`.

    Args:
        logits: (B, L, V or more).
        valid: (B, L) bool.
        width: V.
    Returns: scores (P, V) in float32 at least, and the positions (P,) and (P,) along both axes.
    """
    sample, place = valid.nonzero(as_tuple=True)
    some = max(1, SCORES // width)
    for part, where in zip(torch.split(sample, some), torch.split(place, some), strict=True):
        scores = logits[part, where, :width]
        yield scores.to(torch.promote_types(scores.dtype, torch.float32)), (part, where)


def positions(batch: Batch, targets: Tensor) -> Tensor:
    """(B, L) int64 place of each token in its document, from 0."""
    given = None if isinstance(batch.inputs, Tensor) else batch.inputs.get("position_ids")
    if given is not None:
        return given
    return torch.arange(targets.shape[1], device=targets.device).expand_as(targets)


def bins(position: Tensor) -> Tensor:
    """The number n of the range 2^n to 2^(n+1) - 1 of tokens that a prediction at a position is made from."""
    return (position + 1).double().log2().floor().long()


def _grown(sums: Tensor, size: int) -> Tensor:
    return torch.cat([sums, sums.new_zeros(max(0, size - len(sums)))])
