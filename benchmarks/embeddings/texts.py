"""What is trained on and measured on: Cranfield, and the sentences of STS-B."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck import data
from limbeck.data import Source, Split
from limbeck.data.storage.base import spread
from limbeck.data.storage.texts import Texts
from limbeck.files import write_text
from limbeck.outputs import UNLABELED

SENTENCES = 3000


@dataclass(frozen=True)
class Queries:
    """Queries with the documents that are relevant to them.

    Attributes:
        numbers: of the queries.
        texts: of the queries.
        judgments: grades of documents by query, both by number.
    """

    numbers: list[int]
    texts: list[str]
    judgments: dict[int, dict[int, int]]

    def first(self, count: int) -> Queries:
        """The first of them."""
        kept = self.numbers[:count]
        return Queries(kept, self.texts[:count], {number: self.judgments[number] for number in kept})


@dataclass(frozen=True)
class Pairs:
    """Pairs of sentences with a score.

    Attributes:
        first: one sentence of each pair.
        second: the other.
        scores: from 0 to 5.
    """

    first: list[str]
    second: list[str]
    scores: list[float]


@dataclass(frozen=True)
class Collection:
    """All there is.

    Attributes:
        ids: of the documents.
        numbers: of the documents, as judgments have them.
        documents: their texts.
        queries: by split.
        pairs: of STS-B, by split.
    """

    ids: list[str]
    numbers: list[int]
    documents: list[str]
    queries: dict[str, Queries]
    pairs: dict[str, Pairs]

    def write(self, folder: Path) -> None:
        """Writes what is trained on in the layout of BEIR, with the training sentences of STS-B beside it."""
        train, ids = self.queries["train"], dict(zip(self.numbers, self.ids, strict=True))
        documents = zip(self.ids, self.documents, strict=True)
        queries = zip(train.numbers, train.texts, strict=True)
        _json_lines(folder / "corpus.jsonl", [{"_id": name, "text": text} for name, text in documents])
        _json_lines(folder / "queries.jsonl", [{"_id": f"q{name}", "text": text} for name, text in queries])
        judged = [
            f"q{query}\t{ids[document]}\t{grade}"
            for query, grades in train.judgments.items()
            for document, grade in grades.items()
        ]
        (folder / "qrels").mkdir(exist_ok=True)
        write_text(folder / "qrels" / "train.tsv", "\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n")
        sentences = [{"_id": f"s{place}", "text": text} for place, text in enumerate(self.sentences)]
        _json_lines(folder / "sentences.jsonl", sentences)

    def tiny(self) -> Collection:
        """A few queries with their documents, and a few pairs, to see that all works."""
        queries = {which: each.first(2) for which, each in self.queries.items()}
        needed = {number for each in queries.values() for some in each.judgments.values() for number in some}
        rows = [row for row, number in enumerate(self.numbers) if number in needed]
        return Collection(
            [self.ids[row] for row in rows],
            [self.numbers[row] for row in rows],
            [self.documents[row] for row in rows],
            queries,
            {
                which: Pairs(each.first[:20], each.second[:20], each.scores[:20])
                for which, each in self.pairs.items()
            },
        )

    @property
    def sentences(self) -> list[str]:
        """Some of the training sentences of STS-B, evenly over all of them, each once."""
        found = [*dict.fromkeys([*self.pairs["train"].first, *self.pairs["train"].second])]
        return [found[place] for place in spread(len(found), SENTENCES).tolist()]


def collection(shared: Path) -> Collection:
    """Reads Cranfield and STS-B; documents without a text are left out.

    Args:
        shared: folder of the data files.
    """
    found = data.load("cranfield", shared / "retrieval" / "cranfield")
    scored = data.load("stsbenchmark", shared / "similarity" / "stsbenchmark")
    samples, sentences = found.train.samples, scored.train.samples
    assert isinstance(samples, Texts)
    assert isinstance(sentences, Texts)
    corpus = samples.corpus
    documents = [place for place, kind in enumerate(corpus.kinds) if kind == "document"]
    return Collection(
        ids=[corpus.ids[place] for place in documents],
        numbers=documents,
        documents=[corpus.texts[place] for place in documents],
        queries={which: _queries(split, corpus.texts) for which, split in _splits(found).items()},
        pairs={which: _pairs(split, sentences.corpus.texts) for which, split in _splits(scored).items()},
    )


def _splits(source: Source) -> dict[str, Split]:
    assert source.validation is not None
    assert source.test is not None
    return {"train": source.train, "validation": source.validation, "test": source.test}


def _queries(split: Split, texts: Sequence[str]) -> Queries:
    judgments: dict[int, dict[int, int]] = {}
    known = split.targets if split.judgments is None else split.judgments
    for query, document, grade in known.tolist():
        if query != UNLABELED and document != UNLABELED:
            judgments.setdefault(query, {})[document] = grade
    return Queries([*judgments], [texts[query] for query in judgments], judgments)


def _pairs(split: Split, texts: Sequence[str]) -> Pairs:
    places = split.index.tolist()
    return Pairs(
        [texts[place] for place in places[::2]],
        [texts[place] for place in places[1::2]],
        split.targets[::2, 1].tolist(),
    )


def _json_lines(file: Path, records: Sequence[dict[str, Any]]) -> None:
    write_text(file, "".join(json.dumps(record) + "\n" for record in records))
