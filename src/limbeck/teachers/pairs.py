"""A teacher that reads a query and a document together: a cross-encoder, live or through a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from limbeck.data.pair_tokens import SIDES, PairTokens
from limbeck.data.source import Source
from limbeck.data.storage.base import digest, spread
from limbeck.data.storage.texts import Texts
from limbeck.errors import LimbeckError
from limbeck.files import cache_directory
from limbeck.outputs import UNLABELED, Batch, Inputs, Outputs, size_of
from limbeck.tasks import Retrieval
from limbeck.teachers.answers import Answers
from limbeck.teachers.asked import AskedNetwork
from limbeck.teachers.base import Teacher

POINTS = {"logits": "", "embedding": "pooled"}
AT_ONCE = 64
"""Pairs in a forward pass."""


class PairTeacher(Teacher):
    """A cross-encoder that scores each training query with its candidates.

    Of a row that is a candidate it gives `scores` (B,), NaN for any other, and where that is asked for
    `pairs` (B, 2, D), the embeddings of query and document by dual pooling. What is kept of them is in files
    as that of other teachers is, in float16, by pair: "logits" are the scores, "embedding" the embeddings.

    Args:
        network: a `limbeck.models.encoders.CrossEncoder`; it is put in eval mode, otherwise never changed.
        source: data for retrieval.
        tokens: what the network reads of a pair.
        keeps: those of "logits" and "embedding" that are kept.
        pooled: whether the embeddings are asked for.
        rebuild: makes the network again; with it, the network is unloaded as long as the files answer.
        directory: where the files are; by default `teachers` under `$LIMBECK_CACHE`.
    Attributes:
        pairs_known: (N, 2) int64 places of the query and of the document of each pair, among the samples.
    Raises:
        LimbeckError: for data without queries that have candidates, or without texts.
    """

    pairs = True
    gives = ("scores", "pairs")

    def __init__(
        self,
        network: nn.Module,
        source: Source,
        tokens: PairTokens,
        keeps: Sequence[str] = (),
        *,
        pooled: bool = False,
        rebuild: Callable[[], nn.Module] | None = None,
        directory: Path | None = None,
    ) -> None:
        self._place_of_query, self.pairs_known = _pairs_of(source)
        samples = source.train.samples
        assert isinstance(samples, Texts)
        self._texts, self._size = samples.texts(), len(samples)
        self._keys = self.pairs_known[:, 0] * self._size + self.pairs_known[:, 1]
        self._tokens = tokens
        self.fields: tuple[str, ...] = ("logits", "embedding") if pooled else ("logits",)
        self.keeps = tuple(keeps)
        self.cached = self.fields if {*self.fields} <= {*keeps} else ()
        example = self._inputs(spread(len(self.pairs_known), 4))
        self._asked = AskedNetwork(network, POINTS, rebuild, example)
        self._asked.told(None, False)
        self._asked.open(example, self.fields, self.fields)
        self.digest = self._asked.name
        self._answers = Answers(
            directory or cache_directory() / "teachers",
            {
                "teacher": self._asked.name,
                "data": samples.full_fingerprint(),
                "pairs": digest({"pairs": self.pairs_known}),
                "samples": len(self.pairs_known),
                "views": "none",
                "preparation": tokens.key,
            },
            {"data": source.name},
            samples=len(self.pairs_known),
            views=1,
            in_use=1,
            fields=self._asked.fields,
        )

    @property
    def shown(self) -> int:
        """How many pairs the network was shown."""
        return self._asked.shown

    def open(self, example: Inputs, fields: Sequence[str]) -> None:
        """Has nothing to get ready."""

    def sample(self, inputs: Inputs) -> Outputs:
        """Outputs of the right shapes."""
        size = size_of(inputs)
        made = self._made(torch.zeros(size), torch.zeros(size, 2, self._width))
        return made.replace(embedding=torch.zeros(size, self._width))

    def __call__(self, batch: Batch) -> Outputs:
        """What is known of the candidates in a batch.

        Raises:
            LimbeckError: for a batch that does not say which training texts it holds, and pairs that are not
                among the training data.
        """
        if batch.index is None or batch.targets is None:
            raise LimbeckError(
                "the teacher scores the pairs of the training data, and this batch does not say which texts "
                "it holds; give its index and its targets"
            )
        device, rows, places = batch.index.device, *self._places(batch.targets.cpu(), batch.index.cpu())
        scores = torch.full((len(batch.index),), torch.nan)
        pooled = torch.zeros(len(batch.index), 2, self._width)
        if len(rows):
            answers = self.ask(places, device)
            scores[rows] = answers["logits"][:, 0]
            if self._pooled:
                pooled[rows] = answers["embedding"].view(len(rows), 2, -1)
        return self._made(scores.to(device), pooled.to(device))

    def missing(self, places: Tensor, device: torch.device) -> Tensor:
        """Which of some pairs (B,) the files do not know: (B,) bool."""
        precision = self._asked.precision(device)
        there = [self._answers.read(field, precision, places.numpy())[1] for field in self.fields]
        return torch.from_numpy(~np.all(there, axis=0))

    def ask(self, places: Tensor, device: torch.device) -> dict[str, Tensor]:
        """The answers about pairs (B,) by field, (B, width) float32 on the CPU, from the files if kept."""
        if not self.cached:
            return self._live(places, device)
        rows, precision = places.numpy(), self._asked.precision(device)
        kept = {field: self._answers.read(field, precision, rows) for field in self.fields}
        unknown = ~np.all([there for _, there in kept.values()], axis=0)
        if unknown.any():
            for field, answer in self._rounded(places[torch.from_numpy(unknown)], device).items():
                self._answers.write(field, precision, rows[unknown], answer)
                kept[field][0][unknown] = answer  # also if the files cannot be written
        return {field: torch.from_numpy(values).float() for field, (values, _) in kept.items()}

    def release(self) -> None:
        """Unloads the network, if it can be made again and the files may answer."""
        if self.cached:
            self._asked.release()

    def apply(self, function: Callable[[Tensor], Tensor]) -> None:
        """Moves the network, also one that is made later."""
        self._asked.apply(function)

    @property
    def _pooled(self) -> bool:
        return "embedding" in self.fields

    @property
    def _width(self) -> int:
        """D, the width of an embedding; 1 where none is asked for."""
        return self._asked.fields["embedding"].width // 2 if self._pooled else 1

    def _made(self, scores: Tensor, pooled: Tensor) -> Outputs:
        outputs = Outputs(scores=scores)
        return outputs.replace(pairs=pooled) if self._pooled else outputs

    def _live(self, places: Tensor, device: torch.device) -> dict[str, Tensor]:
        """What the network answers, (B, width) by field."""
        parts = [self._asked.live(Batch(inputs)) for inputs in self._in_batches(places, device)]
        return {field: torch.cat([part[field].float().cpu() for part in parts]) for field in self.fields}

    def _rounded(self, places: Tensor, device: torch.device) -> dict[str, NDArray[np.float16]]:
        """The same as it is kept."""
        parts = [
            self._asked.ask(inputs, np.ones(len(inputs[SIDES]), dtype=np.bool_), self.fields)
            for inputs in self._in_batches(places, device)
        ]
        return {field: np.concatenate([part[field] for part in parts]) for field in self.fields}

    def _in_batches(self, places: Tensor, device: torch.device) -> Iterator[dict[str, Tensor]]:
        for some in torch.split(places, AT_ONCE):
            yield {name: tensor.to(device) for name, tensor in self._inputs(some).items()}

    def _inputs(self, places: Tensor) -> dict[str, Tensor]:
        pairs = self.pairs_known[places].tolist()
        return self._tokens.read(
            [self._texts[query] for query, _ in pairs], [self._texts[document] for _, document in pairs]
        )

    def _places(self, targets: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """The rows that are candidates, and the places of their pairs."""
        rows = _candidates(targets).nonzero().flatten()
        numbers = targets[rows, 0]
        inside = numbers < len(self._place_of_query)
        keys = self._place_of_query[numbers.where(inside, 0)] * self._size + index[rows]
        places = torch.searchsorted(self._keys, keys).clamp(max=len(self._keys) - 1)
        if not bool((inside & (self._keys[places] == keys)).all()):
            raise LimbeckError("the batch has a query with a candidate that the training data does not have")
        return rows, places


def _candidates(targets: Tensor) -> Tensor:
    return (targets[:, 0] != UNLABELED) & (targets[:, 1] != UNLABELED)


def _pairs_of(source: Source) -> tuple[Tensor, Tensor]:
    """The place of each query by its number, and the places of query and document of each pair, sorted."""
    samples, targets, index = source.train.samples, source.train.targets, source.train.index
    if not isinstance(source.task, Retrieval) or not isinstance(samples, Texts):
        raise LimbeckError(
            f"a cross-encoder scores queries with documents, and {source.name} is for {source.task.name}; "
            "give data for retrieval"
        )
    of_query = (targets[:, 0] != UNLABELED) & (targets[:, 1] == UNLABELED)
    rows = _candidates(targets)
    if not rows.any():
        raise LimbeckError(
            f"a cross-encoder scores queries with documents, and {source.name} has no training query with a "
            "candidate"
        )
    place = torch.full((int(targets[:, 0].max()) + 1,), -1)
    place[targets[of_query, 0]] = index[of_query]
    pairs = torch.stack([place[targets[rows, 0]], index[rows]], 1)
    return place, torch.unique(pairs, dim=0)
