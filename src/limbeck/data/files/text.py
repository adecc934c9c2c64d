"""Texts: from files, from the Hugging Face hub, and Banking77."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import Field

from limbeck.arguments import Count
from limbeck.data.build import assemble
from limbeck.data.files.discover import find
from limbeck.data.files.ids import check_unique, ids_in
from limbeck.data.files.rows import Rows, portions, read
from limbeck.data.files.table import nameless
from limbeck.data.files.targets import LABEL, target_reader
from limbeck.data.files.tokens import LEAST_VOCABULARY, encode, normalizer, train_tokenizer
from limbeck.data.files.weighing import WeightReader
from limbeck.data.registry import written
from limbeck.data.source import Source
from limbeck.data.split import Split, copies
from limbeck.data.storage.texts import Corpus, Texts
from limbeck.errors import LimbeckError

VocabularySize: TypeAlias = Annotated[int, Field(ge=LEAST_VOCABULARY)]


def from_text(
    path: str = "",
    text: str = "text",
    label: str | Sequence[str] = LABEL,
    vocab_size: VocabularySize = 8000,
    max_length: Count = 64,
    lowercase: bool = True,
    task: str = "classification",
    separator: str | None = None,
    names: Sequence[str] = (),
    id: str | None = None,
    weights: str | None = None,
    data_dir: Path | None = None,
) -> Source:
    """Texts with labels, as token ids of a tokenizer that is trained on the training split.

    Networks are called as `network(input_ids=..., attention_mask=...)`, both (B, L) int64 and 0 where a text
    has ended; L is the length of the longest training text. A run saves the tokenizer as `tokenizer.json`.

    Args:
        path: a file .csv, .json, .jsonl or .parquet; a directory with such a file `train` and maybe
            `validation` and `test`; or a data set of the Hugging Face hub. Without them, a tenth of the
            training split is held out for the test, then as much of the rest for validation, with every class
            in proportion. A file of texts alone has no labels: a teacher answers for them.
        text: the column of the texts.
        label: the column of the labels, or several: class names or numbers for classification; for
            multilabel, several columns of 0 and 1, or one of lists of names; for regression, columns of
            numbers. Where it is empty a text has no label.
        vocab_size: tokens at most.
        max_length: tokens of a text at most; what is longer is cut off.
        lowercase: whether capitals are the same as small letters.
        task: what the labels are for: classification, multilabel or regression.
        separator: what parts the names in one field, for multilabel, such as "|".
        names: of the outputs, in their order; as in the data if none is given.
        id: the column that says what each text is called, by which a file of a teacher's answers names it;
            without it such a file has the texts.
        weights: the column that says how much each training sample counts in the terms that fit the labels,
            such as `ce`: finite numbers of at least 0, of which only the ratios matter.
        data_dir: the directory that `path` is in; `--data-dir` on the command line.
    """
    given = {
        "path": path,
        "text": text,
        "label": label,
        "vocab_size": vocab_size,
        "max_length": max_length,
        "lowercase": lowercase,
        "task": task,
        "separator": separator,
        "names": names,
        "id": id,
        "weights": weights,
    }
    name = written("text", from_text, given)
    reader = target_reader(task, label, separator, names)
    inputs = [text] if id is None else [text, id]
    reader.check_apart(text, "texts", "label")
    weighing = WeightReader(weights, (*inputs, *reader.columns))
    read_as_text = (*inputs, *reader.columns)
    splits = read(path, data_dir, read_as_text, (*read_as_text, *weighing.columns))
    texts: dict[str, list[str]] = {split: [] for split in splits}
    ids: dict[str, list[str]] = {split: [] for split in splits}
    for split, rows in splits.items():
        for batch in rows.batches():
            reader.add(split, batch, rows, [*inputs, *weighing.columns, *filter(nameless, batch)])
            weighing.add(split, batch, rows)
            ids[split] += [] if id is None else ids_in(batch, id, rows, len(texts[split]))
            texts[split] += texts_in(batch, text, rows, len(texts[split]))
    check_unique(ids, splits)
    targets = reader.finish(splits)
    same = normalizer(lowercase).normalize_str
    made = portions(
        {split: reader.task.strata(found) for split, found in targets.of.items()},
        0.1,
        groups=copies(same(each).encode() for each in texts["train"]),
    )
    chosen = {split: [texts[of][row] for row in rows.tolist()] for split, (of, rows) in made.items()}
    called = {split: [ids[of][row] for row in rows.tolist() if id] for split, (of, rows) in made.items()}
    tokenizer = train_tokenizer(chosen["train"], vocab_size, max_length, lowercase)
    parts = {
        split: Split.whole(
            Texts(encode(tokenizer, chosen[split]), corpus=Corpus(chosen[split], called[split])),
            targets.of[of][rows],
            reader.task,
        )
        for split, (of, rows) in made.items()
    }
    source = assemble(
        replace(parts["train"], weights=weighing.finish(made["train"][1])),
        parts.get("validation"),
        parts.get("test"),
        names=targets.names,
        views="none",
        kind="text",
        name=name,
    )
    return replace(
        source,
        facts={"vocab_size": tokenizer.get_vocab_size()},
        files={"tokenizer.json": tokenizer.to_str(pretty=True)},
        preparation="input_ids by tokenizer.json; attention_mask is 1 for tokens and 0 for padding",
        hub=path if find(path, data_dir) is None else None,
        notes=(*targets.notes, *source.notes),
    )


def banking77(
    vocab_size: VocabularySize = 8000, max_length: Count = 64, data_dir: Path | None = None
) -> Source:
    """Customers' questions to a bank, each with one of 77 intents: 10,003 to train on and 3,080 for test.

    Class ids are those of the public data set. A tenth of the training questions is held out for validation.

    Args:
        vocab_size: tokens at most.
        max_length: tokens of a question at most; what is longer is cut off.
        data_dir: where `train.csv` and `test.csv` of the original publication are; without it the data is had
            from the Hugging Face hub.
    """
    name = written("banking77", banking77, {"vocab_size": vocab_size, "max_length": max_length})
    path, label = ("mteb/banking77", "label_text") if data_dir is None else ("", "category")
    source = from_text(path, label=label, vocab_size=vocab_size, max_length=max_length, data_dir=data_dir)
    return replace(source, name=name)


def texts_in(batch: Mapping[str, list[Any]], column: str, rows: Rows, start: int) -> list[str]:
    """The texts of some rows.

    Args:
        batch: of `rows`, counted from `start`, as values by column.
        column: column of the texts.
    Raises:
        LimbeckError: if there is no such column, or a field of it holds no text.
    """
    if column not in batch:
        raise rows.no_column(column, batch)
    for number, value in enumerate(batch[column], start + 1):
        if value is None or (isinstance(value, str) and not value.strip()):
            raise LimbeckError(f"the column {column!r} of {rows.name} is empty in row {number}")
        if not isinstance(value, str):
            raise LimbeckError(
                f"the column {column!r} of {rows.name} holds {value!r} in row {number}, no text"
            )
    return batch[column]
