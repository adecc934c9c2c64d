"""What is found out about a network that finds documents: the records."""

from __future__ import annotations

from limbeck.tasks.measuring import Agreement, Findings


class RetrievalFindings(Findings):
    """What is found out about one network on one split.

    Attributes:
        queries: how many queries it was measured on.
        documents: how many documents it searched.
        dimensions: numbers of an embedding.
        bytes_per_document: what a document takes in an index of float32.
        search_ms: milliseconds that exact search takes a query, without its embedding.
        zero_queries: queries whose embedding has length 0; they find nothing that means anything.
        zero_documents: documents whose embedding has length 0.
        missed: share of the queries without a relevant document among the first ten.
        ndcg: nDCG@10 by the share of queries that are below it: the quartiles.
    """

    queries: int
    documents: int
    dimensions: int
    bytes_per_document: int
    search_ms: float
    zero_queries: int
    zero_documents: int
    missed: float
    ndcg: dict[float, float]


class RetrievalAgreement(Agreement):
    """How close the rankings of student and teacher are.

    Attributes:
        first: share of the queries for which both have the same document first.
    """

    first: float
