"""Rows: the decisions that a network makes for a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from limbeck.hashing import mix
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.retold import Counterparts, Retold

STAND_INS = 4
"""Rows that stand in where a batch has no valid one; methods that compare rows need a few."""


def _same(tensor: Tensor) -> Tensor:
    return tensor


@dataclass(frozen=True)
class Rows:
    """How the outputs for one batch become rows; one row is one decision of the network.

    Whatever compares logits sees (P, C) scores and (P,) targets, whether a row is a sample, a pixel or a
    token.

    Attributes:
        count: P, the valid rows; padding and ignored positions are none.
        targets: (P,) what each row should be; None without labels.
        sample: (P,) int64 position in the batch of the sample that each row belongs to; None where row i is
            sample i.
        logits: turns what a network returned for the batch into (P, C).
        embedding: turns the input of the layer that makes the logits into (E, D), a row for each place that
            has an embedding of its own: E is P, or the number of samples where a sample's rows share one.
        decisions: turns the outputs (E, width) of a head that read those embeddings into rows (P, C).
        width: C, where a network may have more logits than the task has; None where it has as many.
        boxes: (P, 4) the box that each row should have, NaN where it is none; None for tasks without boxes.
        notes: (P,) what the method that made the batch has noted of each row, by name.
    """

    count: int
    targets: Tensor | None
    sample: Tensor | None = None
    logits: Callable[[Tensor], Tensor] = _same
    embedding: Callable[[Tensor], Tensor] = _same
    decisions: Callable[[Tensor], Tensor] = _same
    width: int | None = None
    boxes: Tensor | None = None
    notes: Mapping[str, Tensor] = field(default_factory=dict)

    def numbers(self, index: Tensor | None) -> Tensor | None:
        """(P,) int64 a number for each row, the same however a batch is split.

        It is the index of the sample where a row is a sample, and a hash of that and the row's place
        elsewhere; None without an index.
        """
        if index is None or self.sample is None:
            return index
        return mix(index[self.sample], within(self.sample))

    def of(self, outputs: Outputs) -> Outputs:
        """The outputs of a network with logits and embedding as rows; stages stay as they are, by sample.

        Logits that are maps are kept as `maps`, too, for methods that compare them position by position.
        """
        if "retold" in outputs:
            return self._retold(outputs)
        fields: dict[str, Any] = {
            name: getattr(self, name)(outputs[name]) for name in ("logits", "embedding") if name in outputs
        }
        if "logits" in outputs and outputs.logits.ndim == 4:
            fields["maps"] = outputs.logits
        if "ranked" in outputs:
            fields["ranked"] = outputs["ranked"].map(self.embedding)
        if "projection" in outputs:
            projection = outputs["projection"].map(self.embedding)
            fields["projection"] = projection if self.width is None else projection.cut(self.width)
        return outputs.replace(**fields) if fields else outputs

    def _retold(self, outputs: Outputs) -> Outputs:
        """The outputs of a teacher that reads other tokens, which has rows of its own (Q, C)."""
        texts: Retold = outputs["retold"]
        assert self.sample is not None, "a sample has many tokens"
        learned = texts.targets != UNLABELED
        places = torch.arange(texts.pairs.shape[1], device=learned.device).expand_as(texts.pairs)
        place = self.embedding(places.unsqueeze(-1)).squeeze(-1)
        return outputs.replace(
            logits=outputs.logits[learned][:, : texts.vocabulary.task.width],
            retold=Counterparts.of(texts, self.sample, place, learned),
        )

    def batch(self, batch: Batch) -> Batch:
        """The batch with the targets and weights of the rows, and with these rows as `batch.rows`."""
        weights = batch.weights
        if weights is not None and self.sample is not None:
            weights = weights[self.sample]
        return replace(batch, targets=self.targets, weights=weights, rows=self)


def rows_of(batch: Batch) -> Rows:
    """The rows of a batch as a method sees it; its samples where nobody has made rows of it."""
    return Rows(len(batch), batch.targets) if batch.rows is None else batch.rows


def masked(valid: Tensor, targets: Tensor | None) -> Rows:
    """The rows of a task that decides at every position, of which some are valid.

    Where none is, a few rows stand in, without a target, and `count` is 0: they count for nothing.

    Args:
        valid: (B, ...) bool, the positions: (B, H, W) pixels or (B, L) tokens.
        targets: (B, ...) class ids of the same positions; None without labels.
    Returns: rows whose `logits` and `embedding` take maps (B, C, H, W), or sequences (B, L, C).
    """
    places = valid.flatten().nonzero().flatten()
    count = len(places)
    chosen = places if count else torch.arange(min(STAND_INS, valid.numel()), device=valid.device)
    labels = None
    if targets is not None:
        labels = targets.flatten()[chosen] if count else targets.new_full((len(chosen),), UNLABELED)

    def of(tensor: Tensor) -> Tensor:
        last = tensor if valid.ndim == 2 else tensor.movedim(1, -1)
        return last.flatten(0, -2) if count == valid.numel() else last.flatten(0, -2)[chosen]

    return Rows(count, labels, chosen // valid[0].numel(), logits=of, embedding=of)


def yes_or_no(batch: Batch, width: int, targets: Tensor | None) -> Rows:
    """The rows of a task that answers yes or no `width` times for a sample, with a logit z for each.

    One row is one (sample, output) pair with the two logits (0, z), so that the softmax of a row is
    (1 - sigmoid(z), sigmoid(z)): cross-entropy over rows is the binary one, and `kd` is the divergence of
    Bernoulli distributions. The rows of a sample are neighbors.

    Args:
        batch: as the loader gave it.
        width: how many outputs the head of a network has.
        targets: (B, width) of 0, 1 and `UNLABELED`; None without labels.
    Returns: rows whose `logits` and `decisions` take (B, width).
    """
    first = batch.inputs if isinstance(batch.inputs, Tensor) else next(iter(batch.inputs.values()))
    sample = torch.arange(len(batch), device=first.device).repeat_interleave(width)
    labels = None if targets is None else targets.flatten()
    return Rows(len(sample), labels, sample, logits=_pairs, decisions=_pairs)


def _pairs(logits: Tensor) -> Tensor:
    """(B, L) logits z as rows (B * L, 2) of the two logits (0, z)."""
    return torch.stack((torch.zeros_like(logits), logits), -1).flatten(0, 1)


def within(sample: Tensor) -> Tensor:
    """(P,) number of each row within its sample (P,); the rows of a sample are neighbors."""
    place = torch.arange(len(sample), device=sample.device)
    first = torch.ones_like(sample, dtype=torch.bool)
    first[1:] = sample[1:] != sample[:-1]
    return place - torch.where(first, place, 0).cummax(0).values
