"""Measures of rankings, as `ir-measures` (and trec_eval in it) computes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from limbeck.optional import imported

EXTRA = "retrieval"

MEASURES = {"ndcg10": "nDCG@10", "recall100": "R@100", "mrr10": "RR@10", "map": "AP@1000"}
"""What `ir-measures` calls the metrics of retrieval."""

QUERIES = 500
"""Queries whose rankings are Python's numbers at a time."""

DEPTHS = {"ndcg10": 10, "recall100": 100, "mrr10": 10, "map": 1000}
"""How many documents of a ranking each metric looks at."""


def measured(
    ranking: tuple[Tensor, Tensor],
    queries: Sequence[int],
    documents: Sequence[int],
    judgments: Mapping[int, Mapping[int, int]],
    metrics: Sequence[str],
) -> dict[str, list[float]]:
    """Each metric of each query, in the order of the queries.

    A document without a judgment counts as one that is not relevant. The gain of nDCG is the grade itself,
    as trec_eval has it, and so is the order of documents of equal scores: by their numbers as texts, the
    last first.

    Args:
        ranking: scores and positions among the documents, (Q, depth), the highest score first.
        queries: number of each query.
        documents: number of each document.
        judgments: grades of documents by query, at least one above 0 for each query.
        metrics: names of `MEASURES`.
    """
    package = imported("ir_measures", EXTRA)
    measures = {package.parse_measure(MEASURES[name]): name for name in metrics}
    found: dict[str, dict[str, float]] = {name: {} for name in metrics}
    for start in range(0, len(queries), QUERIES):
        rows = slice(start, start + QUERIES)
        run = {
            str(query): _in_order([str(documents[place]) for place in row], values)
            for query, row, values in zip(
                queries[rows], ranking[1][rows].tolist(), ranking[0][rows].tolist(), strict=True
            )
        }
        qrels = {
            str(query): {str(document): grade for document, grade in judgments[query].items()}
            for query in queries[rows]
        }
        for each in package.iter_calc([*measures], qrels, run):
            found[measures[each.measure]][each.query_id] = float(each.value)
    return {name: [values.get(str(query), 0.0) for query in queries] for name, values in found.items()}


def _in_order(documents: Sequence[str], scores: Sequence[float]) -> dict[str, float]:
    """The documents in trec_eval's order, with scores of which no two are equal, as measures differ there."""
    ranked = sorted(zip(scores, documents, strict=True), reverse=True)
    return {document: float(-place) for place, (_, document) in enumerate(ranked)}
