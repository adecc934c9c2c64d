"""Encoders as they are served: a text goes in, its embedding comes out."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from benchmarks.embeddings.texts import Collection, Pairs, Queries
from limbeck.tasks.parts.vectors import prepared
from limbeck.tasks.retrieval.measures import measured
from limbeck.tasks.retrieval.search import search
from limbeck.tasks.similarity.meter import correlation, ranks

AT_ONCE = 32
"""Texts in a batch."""

ROUNDS = 15


@dataclass(frozen=True)
class Encoder:
    """A network with its tokenizer.

    Attributes:
        network: takes `input_ids` and `attention_mask`.
        tokenizer: cuts and pads.
    """

    network: nn.Module
    tokenizer: Tokenizer

    def __post_init__(self) -> None:
        self.network.eval()

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """(B, D) embeddings of a batch."""
        found = self.tokenizer.encode_batch([*texts])
        ids = torch.tensor([each.ids for each in found])
        mask = torch.tensor([each.attention_mask for each in found])
        vectors: Tensor = self.network(input_ids=ids, attention_mask=mask)
        return vectors

    def all(self, texts: Sequence[str]) -> Tensor:
        """(N, D) embeddings, of unit length, of texts in batches of about one length."""
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        parts = [
            self.encode([texts[place] for place in order[start : start + AT_ONCE]])
            for start in range(0, len(order), AT_ONCE)
        ]
        return prepared(torch.cat(parts)[torch.tensor(order).argsort()], "cosine")


def quality(encoder: Encoder, known: Collection) -> dict[str, float]:
    """nDCG@10 on Cranfield's validation and test queries and Spearman's on STS-B's test pairs, in %."""
    documents = encoder.all(known.documents)
    found = {
        f"ndcg10_{which}": ndcg(encoder, documents, known.numbers, known.queries[which])
        for which in ("validation", "test")
    }
    found["spearman_test"] = spearman(encoder, known.pairs["test"])
    return {name: 100 * value for name, value in found.items()}


def ndcg(encoder: Encoder, documents: Tensor, numbers: Sequence[int], queries: Queries) -> float:
    """Mean nDCG@10 of queries that are searched for in all documents."""
    ranking = search(encoder.all(queries.texts), documents, 10)
    values = measured(ranking, queries.numbers, numbers, queries.judgments, ["ndcg10"])["ndcg10"]
    return statistics.fmean(values)


def spearman(encoder: Encoder, pairs: Pairs) -> float:
    """Spearman's correlation of the cosines with the scores."""
    cosines = (encoder.all(pairs.first) * encoder.all(pairs.second)).sum(1).double()
    return correlation(ranks(cosines), ranks(torch.tensor(pairs.scores, dtype=torch.float64)))


def speeds(encoders: Mapping[str, Encoder], queries: Sequence[str]) -> dict[str, dict[str, float]]:
    """How fast queries become embeddings, from text: the encoders in turn, round after round.

    The median over the rounds of queries per second in batches, of milliseconds for one query alone, and of
    the ratio to the first encoder, which is measured beside it in each round.

    Args:
        encoders: by name; the others are compared with the first.
        queries: texts.
    """
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in encoders}
    for _ in range(ROUNDS + 1):  # the first is a warm-up
        for name, encoder in encoders.items():
            began = perf_counter()
            for start in range(0, len(queries), AT_ONCE):
                encoder.encode(queries[start : start + AT_ONCE])
            batched = perf_counter() - began
            began = perf_counter()
            for query in queries[:AT_ONCE]:
                encoder.encode([query])
            rounds[name].append((len(queries) / batched, (perf_counter() - began) / AT_ONCE))
    first = rounds[next(iter(encoders))][1:]
    found = {}
    for name, measured_ in rounds.items():
        pairs = list(zip(measured_[1:], first, strict=True))
        found[name] = {
            "queries_per_second": statistics.median(mine[0] for mine, _ in pairs),
            "times": statistics.median(mine[0] / its[0] for mine, its in pairs),
            "ms_per_query": 1000 * statistics.median(mine[1] for mine, _ in pairs),
            "times_alone": statistics.median(its[1] / mine[1] for mine, its in pairs),
        }
    return found
