"""Collections in the layout of BEIR, with judgments as BEIR or TREC has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from limbeck.data.files.embedding.collection import Collection, Judgments, check_known, check_parted
from limbeck.data.files.embedding.lines import judgments_in, ranking_in, texts_in
from limbeck.errors import LimbeckError

SPLITS = {
    "train": "train",
    "dev": "validation",
    "val": "validation",
    "validation": "validation",
    "test": "test",
}
"""The splits by the names that files of judgments have."""


def read(folder: Path, run: Path | None = None, texts: Path | None = None) -> Collection:
    """A collection.

    Args:
        folder: with `corpus.jsonl`, `queries.jsonl` and `qrels/`, in which a file for each split lies, such
            as `train.tsv`, or one of another name, whose queries are in no split.
        run: a TREC run, whose documents are negatives where they are not relevant.
        texts: further queries, of which nothing is known, in the form of `queries.jsonl`.
    Raises:
        LimbeckError: naming the file, and the line at fault.
    """
    if not folder.is_dir():
        raise LimbeckError(
            f"there is no folder {str(folder)!r}; a collection is a folder with corpus.jsonl, queries.jsonl "
            "and qrels"
        )
    documents, _ = texts_in(folder / "corpus.jsonl", titled=True)
    queries = queries_in(folder / "queries.jsonl")
    judgments: dict[str, dict[str, dict[str, int]]] = {}
    where: dict[tuple[str, str], str] = {}
    for file in sorted((folder / "qrels").glob("[!.]*")):
        each = judgments.setdefault(SPLITS.get(file.stem, "all"), {})
        for query, document, grade, place in judgments_in(file):
            grades = each.setdefault(query, {})
            if grades.setdefault(document, grade) != grade:
                raise LimbeckError(
                    f"{place} grades the document {document!r} for the query {query!r} with {grade}, and a "
                    f"line before it with {grades[document]}"
                )
            where.setdefault((query, document), place)
    if not judgments:
        raise LimbeckError(f"the folder {str(folder / 'qrels')!r} holds no judgments, such as test.tsv")
    collection = Collection(
        name=repr(str(folder)),
        queries=queries,
        documents=documents,
        judgments=judgments,
        negatives={} if run is None else negatives_in(run, judgments, documents),
        texts=() if texts is None else tuple(queries_in(texts).values()),
    )
    check_known(collection, where)
    check_parted(judgments, collection.name)
    return collection


def queries_in(file: Path) -> Mapping[str, str]:
    """The texts of queries by id; none of them may be empty."""
    queries, empty = texts_in(file)
    if empty:
        raise LimbeckError(f"the query {empty[0]!r} of {str(file)!r} is empty; give it a text")
    return queries


def negatives_in(
    run: Path, judgments: Mapping[str, Judgments], documents: Mapping[str, str]
) -> dict[str, list[str]]:
    """The documents of a ranking that are not relevant to the query, as far as is known, by query.

    Args:
        run: a TREC run.
        judgments: of each split.
        documents: texts by id.
    Raises:
        LimbeckError: for a line that is none of a run, and a document that is not in the corpus.
    """
    grades = {query: its for each in judgments.values() for query, its in each.items()}
    found = {}
    for query, ranked in ranking_in(run).items():
        if strange := [document for document in ranked if document not in documents]:
            raise LimbeckError(
                f"the run {str(run)!r} ranks the document {strange[0]!r}, which is not in the corpus"
            )
        found[query] = [document for document in ranked if not grades.get(query, {}).get(document, 0)]
    return found
