"""The terms of an objective for the rows of a large vocabulary, without the logits of all rows at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from limbeck.methods.base import Method, Objective, inner_first
from limbeck.methods.terms import Term
from limbeck.outputs import Batch, Outputs
from limbeck.projection import SCORES, Projection
from limbeck.ranked import Ranked

LARGE = 4096
"""Logits of a row from which on they are computed in chunks, where the objective allows."""
CHUNK = {"cpu": SCORES // 2, "cuda": 8 * SCORES}
"""Logits in a chunk, by the kind of device: 8 and 128 MiB in float32."""

Evaluate = Callable[[slice, Tensor], Mapping[str, Term]]
"""Gives the terms of some rows from their logits (P, C), each a mean over these rows."""


def in_chunks(objective: Objective) -> list[str] | None:
    """The labels of the summands whose rows can be computed a chunk at a time.

    These are the losses that are means of what each row gives by its logits alone. The other summands must
    do with the logits of a draw of rows, or with none.

    Returns: None if some summand needs the logits of all rows at once, or none can do with a chunk.
    """
    labels = []
    for label, (_, method) in zip(objective.labels, objective.summands, strict=True):
        reads = method.all_reads
        if _by_row(method):
            labels.append(label)
        elif {"logits"} & {*reads.student, *reads.teacher} and not (
            method.relates and not any(method.wrapped)
        ):
            return None
    return labels or None


def _by_row(method: Method) -> bool:
    return all(
        part.row_wise
        and part.per == "rows"
        and {*part.reads.student, *part.reads.teacher} <= {"logits"}
        and {*part.reads.batch} <= {"targets", "progress"}
        and not part.reads.further
        and not any(parameter.requires_grad for parameter in part.parameters())
        for part in inner_first(method)
        if not isinstance(part, Objective)
    )


class Chunked:
    """What an objective gives as `terms`, from what enters the last layers instead of logits.

    Args:
        objective: the objective.
        labels: those of its summands that are computed in chunks, see `in_chunks`.
        rows: rows of a chunk; as many as make `CHUNK` logits if None.
    """

    def __init__(self, objective: Objective, labels: Sequence[str], rows: int | None = None) -> None:
        self.objective, self.labels, self.rows = objective, tuple(labels), rows
        self.as_ranked = [
            label
            for label, (_, method) in zip(objective.labels, objective.summands, strict=True)
            if label in labels and (method.ranked or not method.all_reads.teacher)
        ]

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """The terms of the objective.

        Args:
            student: outputs as rows, with a `projection` in place of logits.
            teacher: outputs as rows, with a `projection` or logits; of several teachers, each.
            batch: the batch in rows.
        """
        projection: Projection = student["projection"]

        def evaluate(rows: slice, logits: Tensor) -> Mapping[str, Term]:
            made, piece = Outputs(logits=logits), _piece(batch, rows)
            answers = _some(teacher, rows, as_ranked=True)
            found = self.objective.terms_of(self.as_ranked, made, answers, piece)
            if others := [label for label in self.labels if label not in self.as_ranked]:
                found |= self.objective.terms_of(others, made, dense(answers), piece)
            return found

        size = self.rows or max(1, CHUNK.get(projection.hidden.device.type, CHUNK["cpu"]) // projection.width)
        found = chunked_terms(projection, size, evaluate)
        if others := [label for label in self.objective.labels if label not in self.labels]:
            given = _indexable(student, batch), _indexable(teacher, batch), batch
            found |= self.objective.terms_of(others, *given)
        place = {label: number for number, label in enumerate(self.objective.labels)}
        return dict(sorted(found.items(), key=lambda item: place[item[0].split(".")[0]]))


def chunked_terms(projection: Projection, size: int, evaluate: Evaluate) -> dict[str, Term]:
    """The terms of all rows, of which no more than `size` have their logits in memory at a time.

    The value and the gradient of each chunk are computed together, so that its logits are computed once. The
    gradient is that of the weighted sum of the terms. Where another one is asked for, such as that of one
    term, the chunks are computed again.

    Args:
        projection: of P rows.
        size: rows of a chunk.
        evaluate: see `Evaluate`; nothing but the logits may need a gradient in it.
    """
    chunks = _Chunks(projection, size, evaluate)
    values: Tensor = _Terms.apply(  # type: ignore[no-untyped-call]
        chunks, projection.hidden, projection.weight, projection.bias
    )
    return {
        name: replace(term, value=values[place]) for place, (name, term) in enumerate(chunks.terms.items())
    }


class _Chunks:
    """The chunks of a projection, to be run through for values and gradients."""

    def __init__(self, projection: Projection, size: int, evaluate: Evaluate) -> None:
        self.projection, self.size, self.evaluate = projection, size, evaluate
        self.learns = torch.is_grad_enabled()
        self.terms: dict[str, Term] = {}

    def factors(self) -> list[float]:
        """What each term is multiplied by in the sum that is minimized."""
        return [0.0 if term.kind == "monitor" else term.weight for term in self.terms.values()]

    def run(
        self, tensors: Sequence[Tensor | None], factors: Sequence[float] | None, learned: Sequence[bool]
    ) -> tuple[Tensor, list[Tensor | None]]:
        """The values (T,) of the terms, and the gradients of their sum.

        Args:
            tensors: what enters the layer, its weight and its bias, or None.
            factors: (T,) of the terms in that sum; as they weigh if None.
            learned: for each of the tensors whether its gradient is wanted.
        """
        hidden, weight, bias = tensors
        assert hidden is not None
        assert weight is not None
        projection = replace(self.projection, hidden=hidden, weight=weight, bias=bias)
        gradients = [
            torch.zeros_like(tensor, memory_format=torch.contiguous_format)
            if tensor is not None and wanted
            else None
            for tensor, wanted in zip(tensors, learned, strict=True)
        ]
        values: list[Tensor] = []
        for start in range(0, len(hidden), self.size):
            rows = slice(start, min(start + self.size, len(hidden)))
            part, share = hidden[rows].to(projection.dtype), (rows.stop - start) / len(hidden)
            raw = projection.raw(part).requires_grad_(any(learned))
            with torch.enable_grad():
                terms = self.evaluate(rows, projection.finished(raw))
                self.terms = self.terms or dict(terms)
                if any(learned):
                    total = sum(
                        factor * share * term.value
                        for factor, term in zip(factors or self.factors(), terms.values(), strict=True)
                        if factor and term.value.requires_grad
                    )
            values.append(torch.stack([term.value.detach() for term in terms.values()]) * share)
            if any(learned) and isinstance(total, Tensor):
                (slope,) = torch.autograd.grad(total, raw)
                del terms, total, raw  # before anything else is computed
                _add(gradients, rows, slope, part, weight.to(projection.dtype))
        return torch.stack(values).sum(0), gradients


def _add(
    gradients: Sequence[Tensor | None], rows: slice, slope: Tensor, part: Tensor, weight: Tensor
) -> None:
    """Adds what a chunk gives to the gradients of hidden states, weight and bias."""
    of_hidden, of_weight, of_bias = gradients
    if of_hidden is not None:
        of_hidden[rows] = slope @ weight
    if of_weight is not None and of_weight.dtype == slope.dtype:
        of_weight.addmm_(slope.T, part)
    elif of_weight is not None:
        of_weight += slope.T @ part
    if of_bias is not None:
        of_bias += slope.sum(0)


class _Terms(torch.autograd.Function):
    """The values of terms, whose gradient was computed with them."""

    @staticmethod
    def forward(ctx: Any, chunks: _Chunks, *tensors: Tensor | None) -> Tensor:
        learned = [chunks.learns and needed for needed in ctx.needs_input_grad[1:]]
        values, gradients = chunks.run(tensors, None, learned)
        ctx.save_for_backward(*tensors)
        ctx.chunks, ctx.gradients = chunks, gradients
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:
        wanted, had = given.tolist(), ctx.chunks.factors()
        scale = next((w / h for w, h in zip(wanted, had, strict=True) if h), 0.0)
        same = all(abs(w - scale * h) <= 1e-6 * abs(w) for w, h in zip(wanted, had, strict=True))
        gradients, ctx.gradients = ctx.gradients, None  # whoever gets them need not copy what nobody else has
        if not same or gradients is None:  # a second backward
            _, gradients = ctx.chunks.run(ctx.saved_tensors, wanted, ctx.needs_input_grad[1:])
        elif scale != 1:
            gradients = [None if each is None else each * scale for each in gradients]
        return None, *gradients


def dense(outputs: Outputs) -> Outputs:
    """What a teacher says with the logits of all rows, where it left them to be computed."""
    lazy = {"projection", "ranked"} & outputs.keys()
    if not lazy and "named" not in outputs:
        return outputs
    made = _some(outputs, slice(None)) if lazy else outputs
    fields = {name: made[name] for name in ("logits", "known") if name in made}
    if "named" in outputs:
        fields["named"] = {name: dense(each) for name, each in outputs.named.items()}
    return outputs.replace(**fields)


def _some(outputs: Outputs, rows: slice, *, as_ranked: bool = False) -> Outputs:
    """What a teacher says of some rows: logits, and which of them it knows or answers; of several, each.

    Args:
        outputs: of all rows.
        rows: which.
        as_ranked: leave the most probable tokens as they are where a teacher tells these, without logits.
    """
    fields: dict[str, Any] = {
        name: outputs[name][rows]
        for name in ("logits", "known", "answered")
        if name in outputs and outputs[name] is not None
    }
    if "projection" in outputs:
        with torch.no_grad():
            fields["logits"] = outputs["projection"][rows]
    if "ranked" in outputs:
        answers: Ranked = outputs["ranked"]
        if as_ranked and not answers.padded and "answered" not in fields:
            fields["ranked"] = answers.map(lambda tensor: tensor[rows])
        else:
            fields["logits"], fields["known"] = answers.dense(rows)
    if "named" in outputs:
        fields["named"] = {
            name: _some(each, rows, as_ranked=as_ranked) for name, each in outputs.named.items()
        }
    return Outputs(**fields)


def _piece(batch: Batch, rows: slice) -> Batch:
    """A batch of some of its rows: their targets, and nothing that belongs to samples."""
    targets = None if batch.targets is None else batch.targets[rows]
    whole = batch.rows
    some = None
    if whole is not None:
        sample = None if whole.sample is None else whole.sample[rows]
        notes = {name: each[rows] for name, each in whole.notes.items()}
        some = replace(whole, count=rows.stop - rows.start, targets=targets, sample=sample, notes=notes)
    return replace(batch, targets=targets, rows=some, related=None)


def _indexable(outputs: Outputs, batch: Batch) -> Outputs:
    """Outputs from which a method takes the logits of related rows; all, where there is no draw of them."""
    fields: dict[str, Any] = {}
    if "projection" in outputs:
        projection = outputs["projection"]
        fields["logits"] = projection[:] if batch.related is None else projection
    if "named" in outputs:
        fields["named"] = {name: _indexable(each, batch) for name, each in outputs.named.items()}
    return outputs.replace(**fields) if fields else outputs
