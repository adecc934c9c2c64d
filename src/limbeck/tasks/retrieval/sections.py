"""What a report and a model card say of rankings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from limbeck.tasks.measuring import Agreement, Findings
from limbeck.tasks.retrieval.findings import RetrievalAgreement, RetrievalFindings
from limbeck.tasks.sections import Section, Table


def sections(found: Mapping[str, Findings], agreement: Agreement | None) -> Sequence[Section]:
    """What a page shows of rankings.

    Args:
        found: findings by role.
        agreement: agreement of student and teacher; None without a teacher.
    """
    each = {role: its for role, its in found.items() if isinstance(its, RetrievalFindings)}
    first = next(iter(each.values()))
    rows: list[list[str | None]] = [
        ["nDCG@10 of the middle query", *(f"{its.ndcg[0.5]:.3f}" for its in each.values())],
        [
            "nDCG@10 that a quarter of the queries is below",
            *(f"{its.ndcg[0.25]:.3f}" for its in each.values()),
        ],
        [
            "queries with nothing relevant in the first ten",
            *(f"{100 * its.missed:.1f} %" for its in each.values()),
        ],
        [
            "bytes of a document in an index of float32",
            *(f"{its.bytes_per_document:,}" for its in each.values()),
        ],
        ["milliseconds of exact search a query", *(f"{its.search_ms:.3g}" for its in each.values())],
        ["numbers of an embedding", *(f"{its.dimensions:,}" for its in each.values())],
    ]
    text = f"{first.queries:,} queries are searched for among {first.documents:,} documents."
    if isinstance(agreement, RetrievalAgreement) and agreement.agreement is not None:
        text += (
            f" Of the teacher's first ten documents, {100 * agreement.agreement:.1f} % are among the "
            f"student's first ten; for {100 * agreement.first:.1f} % of the queries both have the same "
            "document first."
        )
    table = Table(
        ["", *each], rows, notes="Search is by inner products with all documents, without an index."
    )
    return [Section("Rankings", text, [table])]


def weaknesses(found: RetrievalFindings) -> tuple[str, ...]:
    """What a model card says of a student's weak points: sentences of Markdown."""
    return (
        f"For {100 * found.missed:.1f} % of the queries none of its first ten documents is relevant; for "
        "a quarter "
        f"of them nDCG@10 is below {found.ndcg[0.25]:.3f}.",
    )
