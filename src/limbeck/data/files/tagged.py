"""Sentences whose words have a tag each: CoNLL files, and files and data sets with a sentence a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Tokenizer

from limbeck.arguments import Count
from limbeck.data.build import assemble
from limbeck.data.files import conll, tagged_rows
from limbeck.data.files.discover import FORMATS, called, files_of, find
from limbeck.data.files.labels import alike
from limbeck.data.files.rows import portions, read
from limbeck.data.files.sentences import Sentence, names_of, padded, tag_ids
from limbeck.data.files.text import VocabularySize
from limbeck.data.files.tokens import encode_words, fit_words, normalizer, train_tokenizer
from limbeck.data.registry import written
from limbeck.data.source import Source
from limbeck.data.split import Split, copies
from limbeck.data.storage.texts import Corpus, Texts
from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED
from limbeck.tasks import TokenClassification


class _Found(NamedTuple):
    """What files hold.

    Attributes:
        sentences: those of each split.
        declared: names of the tags that the data declares, in the order of their numbers.
        hub: name of the data set on the hub, where it is from there.
    """

    sentences: dict[str, list[Sentence]]
    declared: tuple[str, ...] = ()
    hub: str | None = None


def from_tagged(
    path: str = "",
    words: str | None = None,
    tags: str | None = None,
    column: int | None = None,
    vocab_size: VocabularySize = 8000,
    max_length: Count = 128,
    lowercase: bool = False,
    names: Sequence[str] = (),
    data_dir: Path | None = None,
) -> Source:
    """Sentences with a tag for each word, for token classification, as named entities and parts of speech.

    A network answers to the tokens of a sentence, and the answer to a word is that to its first token.
    Networks with a tokenizer of their own read its tokens, others those of a tokenizer that is trained on the
    training split; both are given the words as they are. What of a sentence is behind the most tokens that a
    network reads is lost for it.

    Args:
        path: a CoNLL file, or one .csv, .json, .jsonl or .parquet; a directory with such a file `train` and
            maybe `validation` and `test`; or a data set of the Hugging Face hub. Without them, a tenth of the
            training split is held out for the test, then as much of the rest for validation.
        words: the column of the lists of words; "tokens" unless given. Not for CoNLL files.
        tags: the column of the lists of tags, names or numbers; "ner_tags" or "tags" unless given. Not for
            CoNLL files. A sentence may have none, and so may a word, by None or -100.
        column: of CoNLL files, the column of the tags, counted from 0, the word, or from the end; the last
            unless given.
        vocab_size: tokens at most of the tokenizer that is trained here.
        max_length: its tokens of a sentence at most.
        lowercase: whether capitals are the same as small letters to it.
        names: of the tags, in their order; as in the data if none is given.
        data_dir: the directory that `path` is in; `--data-dir` on the command line.
    """
    given = {
        "path": path,
        "words": words,
        "tags": tags,
        "column": column,
        "vocab_size": vocab_size,
        "max_length": max_length,
        "lowercase": lowercase,
        "names": names,
    }
    name = written("tagged", from_tagged, given)
    place = find(path, data_dir, (*FORMATS, *conll.SUFFIXES))
    files = None if place is None else _conll_files(place)
    if files is not None:
        _check_unused(
            {"words": words, "tags": tags}, "a CoNLL file has its words and tags in columns without names"
        )
        found = _Found(
            {
                split: [*conll.sentences(some, -1 if column is None else column, tagged=not names)]
                for split, some in files.items()
            }
        )
    else:
        _check_unused(
            {"column": column}, "it is for CoNLL files, and this data has columns with names, tags=..."
        )
        found = _in_rows(path, data_dir, words or tagged_rows.WORDS, tags, names)
    return _source(name, found, names, vocab_size, max_length, lowercase)


def _conll_files(place: Path) -> dict[str, list[Path]] | None:
    """The CoNLL files of each split; None where there are files of another format."""
    if place.is_file():
        return None if place.suffix.lower() in FORMATS else {"train": [place]}
    there = {file.suffix.lower() for file in place.iterdir() if called([file.stem.split("-")[0]], ("train",))}
    ours, others = sorted(there & set(conll.SUFFIXES)), sorted(there & set(FORMATS))
    if len([*ours, *others]) > 1:
        listed = " and ".join(f"train{suffix}" for suffix in (*ours, *others))
        raise LimbeckError(
            f"{str(place)!r} holds {listed}; give the path of one, or a directory with one of them"
        )
    if others:
        return None
    return files_of(place, formats=ours or (*conll.SUFFIXES, *FORMATS))


def _in_rows(path: str, data_dir: Path | None, words: str, tags: str | None, names: Sequence[str]) -> _Found:
    splits = read(path, data_dir)
    sentences = {
        split: [*tagged_rows.sentences(rows, words, tags, names, tagged=not names)]
        for split, rows in splits.items()
    }
    hub = path if find(path, data_dir) is None else None
    return _Found(sentences, tagged_rows.declared_by(splits, tags), hub)


def _check_unused(given: Mapping[str, object], why: str) -> None:
    for name, value in given.items():
        if value is not None:
            raise LimbeckError(f"leave out {name}={value!r}: {why}")


def _source(
    name: str, found: _Found, names: Sequence[str], vocab_size: int, max_length: int, lowercase: bool
) -> Source:
    train = found.sentences["train"]
    known = names_of(train, found.declared, names)
    ids = tag_ids(found.sentences, known, "names=[...]" if names else train[0].source)
    same = normalizer(lowercase).normalize_str
    made = portions(
        {split: TokenClassification.strata(padded(some)) for split, some in ids.items()},
        0.1,
        groups=copies(same(" ".join(each.words)).encode() for each in train),
    )
    chosen = {
        split: [found.sentences[of][row] for row in rows.tolist()] for split, (of, rows) in made.items()
    }
    tokenizer = train_tokenizer(
        [" ".join(each.words) for each in chosen["train"]], vocab_size, max_length, lowercase
    )
    fit_words(tokenizer, [each.words for some in chosen.values() for each in some], max_length)
    parts = {
        split: Split.whole(
            _texts(tokenizer, some),
            _targets([ids[made[split][0]][row] for row in made[split][1].tolist()]),
            TokenClassification,
        )
        for split, some in chosen.items()
    }
    source = assemble(
        parts["train"],
        parts.get("validation"),
        parts.get("test"),
        names=known,
        views="none",
        kind="text",
        name=name,
    )
    return replace(
        source,
        facts={"vocab_size": tokenizer.get_vocab_size(), "per_token": True},
        files={"tokenizer.json": tokenizer.to_str(pretty=True)},
        preparation="token ids of words by tokenizer.json and a mask of 1 where there is a token, both 0 "
        "after it; the answer to a word is that to its first token",
        hub=found.hub,
        notes=(*alike(known), *source.notes),
    )


def _texts(tokenizer: Tokenizer, sentences: Sequence[Sentence]) -> Texts:
    words = [each.words for each in sentences]
    corpus = Corpus([" ".join(each) for each in words], words=words)
    return Texts(encode_words(tokenizer, words), corpus=corpus)


def _targets(ids: Sequence[Sequence[int]]) -> torch.Tensor:
    """(N, W) tags of the sentences, (N, 0) where no word has one."""
    targets = padded(ids)
    return targets if (targets != UNLABELED).any() else targets[:, :0]
