"""Matryoshka representation learning: the first numbers of an embedding are one too.

Kusupati et al., NeurIPS 2022, arXiv:2205.13147.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from torch import nn

from limbeck.arguments import Count, Limits, NonNegative
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method, inner_first, training_reads
from limbeck.methods.declarations import Context, LossTerms
from limbeck.outputs import Batch, Outputs

Dims = Annotated[Sequence[Count], Limits(min_length=1)]


BEYOND_LOSSES = ("claims", "collect", "deploy", "gradient_rule", "phases")
"""What a method may define beside a loss."""


class Matryoshka(Method):
    """Wraps an objective: it is minimized for the whole embedding and for the first numbers of it (Eq. 1).

        L = sum_d w_d base_d(s[:d], t),   d in `dims` and the whole

    The whole has the weight 1 where `dims` does not name it.

    For each number of dimensions d there is a copy of the objective, base_d, with parts of its own. It is
    shown the first d numbers of the student's embedding s; the teacher's, t, stays whole. So a loss that
    compares the two is given a projection for each (`cosine`, `embedding_mse`), and one that compares scores
    compares those of the cut embeddings. Its terms are those of the objective with the number of dimensions
    behind them, such as "matryoshka.cosine_64".

    Args:
        base: the objective, such as `cosine` or `contrastive + listwise`.
        dims: numbers of dimensions, without or with the whole.
        weights: of each of `dims`; 1 each if not given.
    """

    rows = "vectors"
    fits_labels = True
    recipe = "matryoshka(cosine, dims=[64])"

    def __init__(self, base: Method, *, dims: Dims, weights: Sequence[NonNegative] | None = None) -> None:
        super().__init__()
        if len({*dims}) < len(dims):
            raise LimbeckError(f"matryoshka: dims names {[*dims]}, each number of dimensions once")
        if weights is not None and len(weights) != len(dims):
            raise LimbeckError(f"matryoshka: there are {len(dims)} dims and {len(weights)} weights")
        for method in inner_first(base):
            if any(getattr(type(method), name) is not getattr(Method, name) for name in BEYOND_LOSSES):
                raise LimbeckError(
                    f"matryoshka cuts the student's embedding for losses, and {method.name} does more than "
                    "that; put it beside matryoshka, not inside"
                )
        self.base = [base]  # a list, so that it is no part: only its copies learn
        self.dims, self.weights = [*dims], [1.0] * len(dims) if weights is None else [*weights]
        self.reads = training_reads(base)
        self.from_pairs = all(not each.reads.teacher or each.from_pairs for each in inner_first(base))
        self.min_samples = max(method.min_samples for method in inner_first(base))
        self.min_together = max(method.min_together for method in inner_first(base))

    def bind(self, context: Context) -> None:
        """Makes and binds a copy of the objective for each number of dimensions."""
        width = context.student.embedding.shape[1]
        if wide := [dim for dim in self.dims if dim > width]:
            raise LimbeckError(
                f"matryoshka: the student's embedding has {width} numbers, so its first {wide[0]} are not "
                "there"
            )
        self.cuts = [*zip(self.dims, self.weights, strict=True)]
        if width not in self.dims:
            self.cuts.insert(0, (width, 1.0))
        self.copies = nn.ModuleList(copy.deepcopy(self.base[0]) for _ in self.cuts)
        for (dim, _), each in zip(self.cuts, self.copies, strict=True):
            assert isinstance(each, Method)
            for method in inner_first(each):
                method.bind(replace(context, student=cut(context.student, dim)))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The terms of the objective for each number of dimensions."""
        found = {}
        for (dim, weight), each in zip(self.cuts, self.copies, strict=True):
            assert isinstance(each, Method)
            for name, term in each.terms(cut(student, dim), teacher, batch).items():
                found[f"{name}_{dim}"] = term.scaled(weight)
        return found


def cut(outputs: Outputs, dim: int) -> Outputs:
    """The outputs with the first `dim` numbers of the embedding, which is what the network answers."""
    fields = {name: outputs[name][:, :dim] for name in ("logits", "embedding") if name in outputs}
    return outputs.replace(**fields)
