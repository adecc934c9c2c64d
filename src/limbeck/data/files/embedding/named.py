"""The data sets for embeddings by name: retrieval, pairs, sentences, similarity, cranfield, stsbenchmark."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any
from xml.etree import ElementTree

from limbeck.arguments import Count, Limits
from limbeck.data.files.discover import find
from limbeck.data.files.embedding import beir
from limbeck.data.files.embedding.collection import Collection, check_known
from limbeck.data.files.embedding.lines import judgments_in
from limbeck.data.files.embedding.pairs import read_pairs
from limbeck.data.files.embedding.scored import Pair, scored_source
from limbeck.data.files.embedding.sources import named, plain, source_of
from limbeck.data.files.rows import read
from limbeck.data.files.text import VocabularySize, texts_in
from limbeck.data.source import Source
from limbeck.errors import LimbeckError, unknown
from limbeck.tasks import Retrieval
from limbeck.tasks.parts.vectors import Score

Negatives = Annotated[int, Limits(ge=0)]
HeldOut = Annotated[float, Limits(ge=0, lt=1)]


def from_collection(
    path: str = "",
    run: str | None = None,
    negatives: Negatives = 0,
    texts: str | None = None,
    documents: bool = True,
    held_out: HeldOut = 0.1,
    validation_documents: Count | None = None,
    score: Score = "cosine",
    vocab_size: VocabularySize = 8000,
    max_length: Count = 64,
    data_dir: Path | None = None,
) -> Source:
    """Queries, documents and judgments in the layout of BEIR: `corpus.jsonl`, `queries.jsonl` and `qrels/`.

    A file in `qrels` is of the split that it is called, train, dev or test; the queries of a file with
    another name are parted. Its lines are query, document and score, as BEIR has them, or TREC's four
    columns.

    Args:
        path: the folder.
        run: a TREC run over these documents, such as `limbeck mine` writes; what it ranks for a query and is
            not relevant to it is a negative. Its path is not taken from `data_dir`.
        negatives: how many follow each relevant document of a training query.
        texts: a file like `queries.jsonl` with further queries to train on of which nothing is known, such as
            those that a language model wrote.
        documents: whether all documents are training texts without a label, and not only the relevant ones.
        held_out: share of the queries in no split that become the test split, and of the training queries
            that then become the validation split where there is none.
        validation_documents: how many documents a validation query is searched in, beside those that are
            judged; all if None.
        score: how embeddings are compared, "cosine" or "dot".
        vocab_size: tokens at most of the tokenizer for networks that bring none.
        max_length: tokens of a text at most for these networks.
        data_dir: the directory that `path` is in; `--data-dir` on the command line.
    """
    given = dict(locals())
    folder = find(path, data_dir)
    if folder is None:
        raise LimbeckError(f"there is no folder {path!r} with corpus.jsonl, queries.jsonl and qrels")
    _check_negatives(negatives, run)
    found = beir.read(folder, None if run is None else Path(run), None if texts is None else Path(texts))
    return _source(
        found,
        from_collection,
        "retrieval",
        given,
        negatives=negatives,
        documents=documents,
        validation_documents=validation_documents,
    )


def from_pairs(
    path: str = "",
    query: str = "query",
    positive: str = "positive",
    negative: str | Sequence[str] = (),
    negatives: Negatives | None = None,
    held_out: HeldOut = 0.1,
    score: Score = "cosine",
    vocab_size: VocabularySize = 8000,
    max_length: Count = 64,
    data_dir: Path | None = None,
) -> Source:
    """Pairs of a query and a text that answers it, with or without texts that do not.

    A split is searched in all of its own positives and negatives.

    Args:
        path: a file .csv, .json, .jsonl or .parquet; a directory with such a file `train` and maybe
            `validation` and `test`; or a data set of the Hugging Face hub.
        query: the column of the queries.
        positive: the column of the texts that answer them.
        negative: the columns of texts that do not answer them, or one column of lists of such texts.
        negatives: how many follow each positive in training; as many as the row with the fewest has if None.
        held_out: share of the queries that become the test split, and then the validation split, where there
            is none.
        score: as in `retrieval`, like all that follow.
    """
    given = dict(locals())
    columns = (negative,) if isinstance(negative, str) else tuple(negative)
    found, count = read_pairs(path, data_dir, query, positive, columns, negatives)
    return _source(found, from_pairs, "pairs", given, negatives=count, documents=False)


def from_sentences(
    path: str = "",
    text: str = "text",
    score: Score = "cosine",
    vocab_size: VocabularySize = 8000,
    max_length: Count = 64,
    data_dir: Path | None = None,
) -> Source:
    """Sentences without labels, on which a teacher's embeddings are learned; they have nothing to measure by.

    Args:
        path: as in `pairs`; the rows of all splits are training texts.
        text: the column of the sentences.
        score: as in `retrieval`, like all that follow.
    """
    given = dict(locals())
    texts: dict[str, None] = {}
    for rows in read(path, data_dir, (text,), (text,)).values():
        count = 0
        for batch in rows.batches():
            texts |= dict.fromkeys(texts_in(batch, text, rows, count))
            count += len(next(iter(batch.values())))
    name = named("sentences", from_sentences, given)
    return plain([*texts], Retrieval(score=score), vocab_size, max_length, name=name)


def from_similarity(
    path: str = "",
    first: str = "sentence1",
    second: str = "sentence2",
    label: str = "score",
    held_out: HeldOut = 0.1,
    score: Score = "cosine",
    vocab_size: VocabularySize = 8000,
    max_length: Count = 64,
    data_dir: Path | None = None,
) -> Source:
    """Pairs of sentences with a score that says how alike they are.

    Args:
        path: as in `pairs`.
        first: the column of the one sentence.
        second: the column of the other.
        label: the column of the scores; a row without one is trained on without a label.
        held_out: share of the pairs that become the test split, and then the validation split, where there is
            none.
        score: as in `retrieval`, like all that follow.
    """
    given = dict(locals())
    splits: dict[str, list[Pair]] = {}
    for split, rows in read(path, data_dir, (first, second), (first, second, label)).items():
        splits[split] = []
        for batch in rows.batches():
            count = len(splits[split])
            if label not in batch:
                raise unknown(f"column of {rows.name}:", label, batch)
            ones, others = (texts_in(batch, column, rows, count) for column in (first, second))
            splits[split] += list(zip(ones, others, batch[label], strict=True))
    name = named("similarity", from_similarity, given)
    return scored_source(splits, held_out, score, vocab_size, max_length, name=name)


def cranfield(
    run: str | None = None,
    negatives: Negatives = 0,
    held_out: HeldOut = 0.3,
    score: Score = "cosine",
    vocab_size: VocabularySize = 8000,
    max_length: Count = 64,
    data_dir: Path | None = None,
) -> Source:
    """Abstracts on aerodynamics, 1,400 of them, and 225 queries with judgments.

    The judgments number the queries by their order in the file. A document is its title and its text, of
    which the title is the beginning already.

    Args:
        run: as in `retrieval`, like all that follow.
        data_dir: where `cran.all.1400.xml`, `cran.qry.xml` and `cranqrel.trec.txt` are.
    """
    given = dict(locals())
    place = _place(data_dir, "cran.all.1400.xml, cran.qry.xml and cranqrel.trec.txt")
    _check_negatives(negatives, run)
    documents = {
        _of(each, "docno"): _of(each, "text") for each in _elements(place / "cran.all.1400.xml", "doc")
    }
    asked = _elements(place / "cran.qry.xml", "top")
    queries = {str(number): _of(each, "title") for number, each in enumerate(asked, 1)}
    judgments: dict[str, dict[str, int]] = {}
    where = {}
    for query, document, grade, line in judgments_in(place / "cranqrel.trec.txt"):
        judgments.setdefault(query, {})[document] = min(grade, 1)
        where[query, document] = line
    found = Collection("Cranfield", queries, documents, {"all": judgments})
    check_known(found, where)
    if run is not None:
        found = replace(found, negatives=beir.negatives_in(Path(run), found.judgments, documents))
    return _source(found, cranfield, "cranfield", given, negatives=negatives, documents=True)


def stsbenchmark(
    score: Score = "cosine",
    vocab_size: VocabularySize = 8000,
    max_length: Count = 64,
    data_dir: Path | None = None,
) -> Source:
    """Pairs of sentences with a score of likeness from 0 to 5: 5,749 to train on, 1,500 and 1,379 more.

    Args:
        score: as in `retrieval`, like all that follow.
        data_dir: where `sts-train.csv`, `sts-dev.csv` and `sts-test.csv` are.
    """
    given = dict(locals())
    place = _place(data_dir, "sts-train.csv, sts-dev.csv and sts-test.csv")
    splits = {}
    for split, file in (("train", "sts-train.csv"), ("validation", "sts-dev.csv"), ("test", "sts-test.csv")):
        try:
            with (place / file).open(encoding="utf-8", newline="") as stream:
                rows = [*csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)]
        except OSError as error:
            raise LimbeckError(f"{str(place / file)!r} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise LimbeckError(f"{str(place / file)!r} is not UTF-8: {error}") from None
        for number, row in enumerate(rows, 1):
            if len(row) < 7:
                raise LimbeckError(
                    f"line {number} of {str(place / file)!r} has {len(row)} columns, and the score and the "
                    "two sentences are the fifth to the seventh"
                )
        splits[split] = [(row[5], row[6], row[4]) for row in rows]
    name = named("stsbenchmark", stsbenchmark, given)
    return scored_source(splits, 0, score, vocab_size, max_length, name=name)


def _source(
    found: Collection,
    make: Callable[..., Source],
    name: str,
    given: Mapping[str, Any],
    *,
    negatives: int,
    documents: bool,
    validation_documents: int | None = None,
) -> Source:
    """The source of a collection.

    Args:
        found: what was read.
        make: the function that was called for it, by `name`.
        name: of the data set.
        given: the arguments of that call.
        negatives: how many follow each relevant document, like all that follow as in `from_collection`.
    """
    return source_of(
        found,
        name=named(name, make, given),
        negatives=negatives,
        documents=documents,
        validation_documents=validation_documents,
        **{key: given[key] for key in ("held_out", "score", "vocab_size", "max_length")},
    )


def _place(data_dir: Path | None, files: str) -> Path:
    """The directory of a collection that is known by name."""
    if data_dir is None:
        raise LimbeckError(f"say where {files} are, with data_dir (--data-dir)")
    return data_dir


def _check_negatives(negatives: int, run: str | None) -> None:
    if bool(negatives) != (run is not None):
        raise LimbeckError(
            f"negatives={negatives} of a query are taken from a run, and "
            f"{'none is' if run is None else 'one is'} given; give run=FILE and negatives=1 or more, or "
            "neither"
        )


def _elements(file: Path, tag: str) -> list[ElementTree.Element]:
    """The elements of a file of TREC, which may have no root of its own."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise LimbeckError(f"{str(file)!r} cannot be read: {error.strerror}") from None
    text = re.sub(r"<\?xml.*?\?>|</?xml>|</?root>", "", text)
    text = re.sub(r"&(?!amp;|lt;|gt;|quot;|apos;)", "&amp;", text)
    try:
        return [*ElementTree.fromstring(f"<xml>{text}</xml>").iter(tag)]
    except ElementTree.ParseError as error:
        raise LimbeckError(f"{str(file)!r} is no XML: {error}") from None


def _of(element: ElementTree.Element, tag: str) -> str:
    return " ".join((element.findtext(tag) or "").split())
