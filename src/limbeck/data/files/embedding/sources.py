"""Sources of texts for embeddings: the texts of a data set as samples, and the source around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from limbeck.data.files.embedding.collection import Collection
from limbeck.data.files.embedding.rows import Places, search_split, training_rows
from limbeck.data.files.tokens import encode, train_tokenizer
from limbeck.data.registry import written
from limbeck.data.source import Source
from limbeck.data.split import Split
from limbeck.data.storage.base import spread
from limbeck.data.storage.many_texts import ManyTexts
from limbeck.data.storage.texts import Corpus, Texts
from limbeck.data.views import parse
from limbeck.errors import LimbeckError
from limbeck.growing import Growing
from limbeck.tasks import Retrieval, Task
from limbeck.tasks.parts.vectors import Score

AT_ONCE = 4096
"""Texts that are made into tokens at a time."""

LEARNED = 20_000
"""Texts, at most, that the data's own tokenizer is trained on."""


def samples_of(
    texts: Sequence[str],
    learned: Sequence[int],
    vocab_size: int,
    max_length: int,
    kinds: Sequence[str] = (),
    ids: Sequence[str] = (),
) -> tuple[Texts, Mapping[str, Any]]:
    """The texts as token ids of a tokenizer that is trained on some of them, and what a source says of that.

    Args:
        texts: all texts.
        learned: positions of those that the tokenizer may be trained on, of which at most `LEARNED` are
        taken.
        vocab_size: tokens at most.
        max_length: tokens of a text at most.
        kinds: of what kind each text is, "query" or "document".
        ids: what the data calls each of them.
    """
    chosen = [learned[row] for row in spread(len(learned), LEARNED).tolist()]
    tokenizer = train_tokenizer([texts[place] for place in chosen], vocab_size, max_length, lowercase=True)
    samples = Texts(_encoded(tokenizer, texts), corpus=Corpus(texts, ids, kinds=kinds))
    return samples, {
        "facts": {"vocab_size": tokenizer.get_vocab_size()},
        "files": {"tokenizer.json": tokenizer.to_str(pretty=True)},
        "preparation": "token ids by tokenizer.json and a mask of 1 where there is a token, both 0 after it",
    }


def _encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> dict[str, Tensor]:
    """What `encode` makes of the texts; in a temporary file where it is large."""
    made: dict[str, Growing] = {}
    for start in range(0, len(texts), AT_ONCE):
        for name, rows in encode(tokenizer, texts[start : start + AT_ONCE]).items():
            made.setdefault(name, Growing()).add(rows)
    return {name: rows.read() for name, rows in made.items()}


def source_of(
    collection: Collection,
    *,
    name: str,
    held_out: float,
    negatives: int,
    documents: bool,
    validation_documents: int | None,
    score: Score,
    vocab_size: int,
    max_length: int,
) -> Source:
    """The source of a collection; the arguments are those of `from_collection`."""
    collection = collection.relevant().parted(held_out)
    queries = [query for each in collection.judgments.values() for query in each]
    texts = ManyTexts(collection.queries[query] for query in queries)
    texts.extend(collection.texts)
    first = len(texts)
    full: list[str] = []
    empty: list[str] = []
    for each, text in collection.documents.items():
        (full if text else empty).append(each)
        texts.extend([text] if text else [])
    places = Places(
        queries={query: place for place, query in enumerate(queries)},
        documents={each: first + place for place, each in enumerate([*full, *empty])},
        texts=range(len(queries), first),
        count=len(texts),
    )
    held = {
        places.queries[query]
        for split, each in collection.judgments.items()
        if split != "train"
        for query in each
    }
    samples, facts = samples_of(
        texts,
        [place for place in range(len(texts)) if place not in held],
        vocab_size,
        max_length,
        kinds=["query" if place < first else "document" for place in range(len(texts))],
        ids=[*queries, *(f"text-{number}" for number in range(len(collection.texts))), *full],
    )
    targets, index, together, remarks = training_rows(collection, places, negatives, documents=documents)
    if not len(targets):
        raise LimbeckError(
            f"{collection.name} has nothing to train on: no query is for training, and no document is, as "
            f"{'all of them are empty' if documents else 'documents=false leaves them out'}"
        )
    notes = [*collection.notes, *remarks]
    if empty:
        notes.append(
            f"{len(empty):,} of the {len(collection.documents):,} documents are empty; they are not "
            "searched, and count as not found where they are relevant"
        )
    return Source(
        name=name,
        kind="text",
        train=Split(samples, targets, index, Retrieval, together),
        validation=search_split(collection, places, "validation", samples, validation_documents),
        test=search_split(collection, places, "test", samples),
        task=Retrieval(score=score),
        views=parse("none"),
        notes=tuple(notes),
        **facts,
    )


def named(name: str, make: Callable[..., Source], arguments: Mapping[str, Any]) -> str:
    """The call that makes a source again; `data_dir` is no part of it."""
    return written(name, make, {key: value for key, value in arguments.items() if key != "data_dir"})


def plain(texts: Sequence[str], task: Task, vocab_size: int, max_length: int, *, name: str) -> Source:
    """A source of texts of which nothing is known."""
    samples, facts = samples_of(texts, range(len(texts)), vocab_size, max_length)
    kind = type(task)
    targets = kind.as_targets(None, len(texts), "training")
    return Source(
        name=name,
        kind="text",
        train=Split(samples, targets, torch.arange(len(texts)), kind),
        validation=None,
        test=None,
        task=task,
        views=parse("none"),
        **facts,
    )
