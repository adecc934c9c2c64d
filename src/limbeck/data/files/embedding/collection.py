"""A collection: queries, documents, and which document is relevant to which query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from limbeck.data.split import held_out
from limbeck.errors import LimbeckError

Judgments = Mapping[str, Mapping[str, int]]
"""Grades of documents by query, each by its id; above 0 if the document is relevant."""


@dataclass(frozen=True)
class Collection:
    """What was read.

    Attributes:
        name: what messages call it.
        queries: texts by id.
        documents: texts by id.
        judgments: of each split that was found, "train", "validation" or "test"; "all" where none is named.
        negatives: documents that are not relevant to a query although they may look so, by the query's id,
            the most alike first.
        beside: documents that came with a query and a relevant one as negatives, a sequence for each row of
            the data, by the ids of the two; they are taken before those above.
        texts: queries of which nothing is known, such as synthetic ones.
        searched: ids of the documents that a split is searched in, by split; all documents where it is not
            named.
        notes: sentences on what was left out.
    """

    name: str
    queries: Mapping[str, str]
    documents: Mapping[str, str]
    judgments: Mapping[str, Judgments]
    negatives: Mapping[str, Sequence[str]] = field(default_factory=dict)
    beside: Mapping[tuple[str, str], Iterable[Sequence[str]]] = field(default_factory=dict)
    texts: Sequence[str] = ()
    searched: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def relevant(self) -> Collection:
        """The collection without the queries that have no relevant document; a note counts them."""
        kept = {
            split: {query: grades for query, grades in each.items() if max(grades.values(), default=0) > 0}
            for split, each in self.judgments.items()
        }
        lost = sum(len(each) - len(kept[split]) for split, each in self.judgments.items())
        unjudged = set(self.queries) - {query for each in self.judgments.values() for query in each}
        notes = []
        if lost:
            notes.append(f"{lost:,} queries have no relevant document among their judgments and are left out")
        if unjudged and any(self.judgments.values()):
            notes.append(f"{len(unjudged):,} queries have no judgment and are left out")
        return replace(self, judgments=kept, notes=(*self.notes, *notes))

    def parted(self, share: float) -> Collection:
        """The collection with a validation and a test split.

        Where judgments name no split, a share of the queries becomes the test split; where there is none for
        validation, as large a share of the training queries does. The same queries are taken every time.

        Args:
            share: in [0, 1); 0 holds nothing out.
        """
        made = {split: dict(each) for split, each in self.judgments.items() if split != "all"}
        if "all" in self.judgments:
            made["train"] = {**self.judgments["all"], **made.get("train", {})}
        for split in ("test", "validation"):
            queries = [*made.get("train", {})]
            if split in made or len(queries) < 2 or not share:
                continue
            _, held = held_out(torch.zeros(len(queries), dtype=torch.int64), share)
            chosen = [queries[row] for row in held.tolist()]
            made[split] = {query: made["train"].pop(query) for query in chosen}
        return replace(self, judgments={split: each for split, each in made.items() if each})


def check_known(collection: Collection, where: Mapping[tuple[str, str], str]) -> None:
    """Refuses judgments of queries and documents that are not there.

    Args:
        collection: the collection.
        where: the file and line of each judgment, by query and document.
    """
    for (query, document), place in where.items():
        if query not in collection.queries:
            raise LimbeckError(
                f"{place} judges the query {query!r}, which is not among the queries of {collection.name}; "
                "add its text, or remove the line"
            )
        if document not in collection.documents:
            raise LimbeckError(
                f"{place} judges the document {document!r}, which is not in the corpus of {collection.name}; "
                "add its text, or remove the line"
            )


def check_parted(judgments: Mapping[str, Mapping[str, object]], name: str) -> None:
    """Refuses a query that is in two splits: it would be trained on and measured with.

    Args:
        judgments: by split and query.
        name: of the collection, for the message.
    """
    seen: dict[str, str] = {}
    for split, queries in judgments.items():
        for query in queries:
            if (other := seen.setdefault(query, split)) != split:
                raise LimbeckError(
                    f"the query {query[:40]!r} of {name} is in the splits {other} and {split}; leave it "
                    "in one"
                )
