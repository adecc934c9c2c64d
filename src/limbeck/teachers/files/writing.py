"""Files of answers as limbeck writes them: one to fill, and what a cache holds."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.data import views
from limbeck.data.source import Source
from limbeck.data.views.order import place_of
from limbeck.errors import LimbeckError
from limbeck.files import write_text
from limbeck.teachers.files.matching import named_in
from limbeck.teachers.store import Store, read_header

WRITTEN = (".jsonl", ".csv")
"""The endings of files that limbeck writes."""


def check_place(path: Path, *, overwrite: bool) -> None:
    """Refuses a place for a file of answers, before any are made.

    Raises:
        LimbeckError: for another ending than `WRITTEN`, and for a file that is there.
    """
    if path.suffix.lower() not in WRITTEN:
        raise LimbeckError(f"answers are written to a file {' or '.join(WRITTEN)}, not to {str(path)!r}")
    if path.exists() and not overwrite:
        raise LimbeckError(
            f"{str(path)!r} exists and may have answers in it; choose another --out, or say --overwrite"
        )


def template(source: Source) -> Iterator[dict[str, Any]]:
    """A row with an empty label for each training sample.

    Raises:
        LimbeckError: for data of another task than choosing one class for each sample.
    """
    if not (source.task.scores == "classes" and source.task.one_row_per_sample):
        raise LimbeckError(
            f"a file of answers teaches to choose one class for each sample, and {source.name} is for "
            f"{source.task.name}; give a run or a network as the teacher"
        )
    return ({**names, "label": ""} for names in named_in(source))


def of_cache(file: Path, source: Source) -> Iterator[dict[str, Any]]:
    """The logits in the file of a cache about each training sample as it is, without augmentation.

    A sample without such an answer is left out. A logit is what the cache holds, in float16.

    Args:
        file: of the cache.
        source: the data that it is about.
    Raises:
        LimbeckError: for a file that holds something else, and for other data.
    """
    header = read_header(file)
    key = {} if header is None else header["key"]
    if header is None or key.get("field") != "logits":
        what = f"the {key['field']} of a teacher" if header else "nothing that can be read"
        raise LimbeckError(f"the cache {file.stem} holds {what}, and answers are made of logits")
    if key["data"] != source.train.samples.full_fingerprint():
        raise LimbeckError(
            f"the cache {file.stem} is about other data than {source.name}; name the data that it was made "
            "on, with --data"
        )
    task = source.task
    if not (task.scores == "classes" and task.one_row_per_sample and key["width"] == len(task.names)):
        raise LimbeckError(
            f"the cache {file.stem} has {key['width']} logits of a sample, and {source.name} is for "
            f"{task.name} with {len(task.names)} names; a file has answers about one class for each sample"
        )
    store = Store(file, key, key["width"], header.get("about", {}), header.get("probe", ()))
    policy, index = views.parse(key["views"]), source.train.index.cpu()
    place = place_of(index, index.new_full(index.shape, policy.base), policy.count)
    found, there = store.read((place * key["samples"] + index).numpy())
    for names, values in zip(_where(named_in(source), there), found[there], strict=True):
        yield {**names, "logits": dict(zip(task.names, map(float, values), strict=True))}


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows of one form, whole or not at all; what is by class has a column for each in a CSV."""
    if path.suffix.lower() == ".jsonl":
        write_text(path, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
        return
    flat = [_flat(row) for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    write_text(path, text.getvalue())


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in row.items():
        made |= (
            {f"{name}.{each}": its for each, its in value.items()}
            if isinstance(value, dict)
            else {name: value}
        )
    return made


def _where(names: Sequence[Mapping[str, str]], there: np.ndarray[Any, Any]) -> list[Mapping[str, str]]:
    return [each for each, known in zip(names, there.tolist(), strict=True) if known]
