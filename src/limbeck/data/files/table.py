"""Rows of numbers: from files, and scikit-learn's small data sets."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limbeck.data.build import assemble
from limbeck.data.checks import offsets
from limbeck.data.files.discover import find
from limbeck.data.files.rows import Rows, portions, read
from limbeck.data.files.targets import LABEL, Targets, target_reader
from limbeck.data.files.weighing import WeightReader
from limbeck.data.registry import written
from limbeck.data.source import Source
from limbeck.data.split import Split, copies
from limbeck.data.storage.base import Resident, digests
from limbeck.errors import LimbeckError, unknown
from limbeck.tasks import Task, named

_INDEX_NAMES = {"id", "idx", "index", "row", "row_id", "row_number", "rowid"}
_COUNTED = 10
"""Rows from which on a column that counts them is taken for that."""


def from_table(
    path: str = "",
    label: str | Sequence[str] = LABEL,
    columns: Sequence[str] = (),
    task: str = "classification",
    separator: str | None = None,
    names: Sequence[str] = (),
    weights: str | None = None,
    data_dir: Path | None = None,
) -> Source:
    """Rows of numbers with labels, (N, F) float32; a network standardizes them by the training split.

    A column that numbers the rows is left out, unless it is named in `columns` or the only one. A column
    whose differences float32 would lose, such as times in seconds, has a whole number subtracted; `notes` and
    `preparation` of the source say so.

    Args:
        path: a file .csv, .json, .jsonl or .parquet; a directory with such a file `train` and maybe
            `validation` and `test`; or a data set of the Hugging Face hub. Without them, a fifth of the
            training split is held out for the test, then as much of the rest for validation, with every class
            in proportion.
        label: the column of the labels, or several: class names or numbers for classification; for
            multilabel, several columns of 0 and 1, or one of lists of names; for regression, columns of
            numbers. Where it is empty a row has no label.
        columns: those to learn from; all but the label if none is named.
        task: what the labels are for: classification, multilabel or regression.
        separator: what parts the names in one field, for multilabel, such as "|".
        names: of the outputs, in their order; as in the data if none is given.
        weights: the column that says how much each training sample counts in the terms that fit the labels,
            such as `ce`: finite numbers of at least 0, of which only the ratios matter.
        data_dir: the directory that `path` is in; `--data-dir` on the command line.
    """
    given = {
        "path": path,
        "label": label,
        "columns": columns,
        "task": task,
        "separator": separator,
        "names": names,
        "weights": weights,
    }
    name = written("table", from_table, given)
    reader = target_reader(task, label, separator, names)
    weighing = WeightReader(weights, (*columns, *reader.columns))
    besides = (*reader.columns, *weighing.columns)
    for column in columns:
        if column in reader.columns:
            raise LimbeckError(f"the label {column!r} is no column to learn from")
    splits = read(path, data_dir, reader.columns, (*columns, *besides) if columns else ())
    features: dict[str, Tensor] = {}
    chosen, unnamed = tuple(columns), tuple[str, ...]()
    for split, rows in splits.items():
        parts, start = [], 0
        for batch in rows.batches():
            reader.add(split, batch, rows, (*columns, *weighing.columns) if columns else ())
            weighing.add(split, batch, rows)
            if not chosen:
                chosen, unnamed = _besides(besides, batch, rows)
            parts.append(_numbers(batch, chosen, rows, start))
            start += len(parts[-1])
        features[split] = torch.cat(parts)
    kept, notes = (chosen, ()) if columns else _without_index(features, chosen, unnamed)
    places = [chosen.index(column) for column in kept]
    features = {split: values[:, places] for split, values in features.items()}
    targets = reader.finish(splits)
    source = _source(name, features, targets, kept, reader.task, weighing)
    return replace(
        source,
        hub=path if find(path, data_dir) is None else None,
        notes=(*notes, *(note for rows in splits.values() for note in rows.notes), *source.notes),
    )


def breast_cancer() -> Source:
    """569 tumors, each in 30 numbers taken from an image of its cells: malignant or benign."""
    return _bundled("breast_cancer")


def diabetes() -> Source:
    """442 patients, each in 10 numbers such as age and blood pressure; how far the disease is in a year."""
    return _bundled("diabetes", ("progression",), "regression", scaled=False)


def iris() -> Source:
    """150 irises of 3 species: length and width of sepal and petal."""
    return _bundled("iris")


def linnerud() -> Source:
    """20 men: weight, waist and pulse by how many chin-ups, sit-ups and jumps they do."""
    return _bundled("linnerud", task="regression")


def wine() -> Source:
    """178 wines from 3 growers, each in 13 numbers of a chemical analysis."""
    return _bundled("wine")


def _bundled(name: str, names: Sequence[str] = (), task: str = "classification", **options: bool) -> Source:
    from sklearn import datasets  # imports in a second, which other data should not pay for

    found: Any = getattr(datasets, f"load_{name}")(**options)
    meant = named(task)
    targets = meant.as_targets(found.target, len(found.data), "training")
    return _source(
        name,
        {"train": torch.from_numpy(found.data).double()},
        Targets(tuple(names) or tuple(map(str, found.target_names)), {"train": targets}, ()),
        [str(column) for column in found.feature_names],
        meant,
    )


def _source(
    name: str,
    features: Mapping[str, Tensor],
    targets: Targets,
    columns: Sequence[str],
    task: type[Task],
    weighing: WeightReader | None = None,
) -> Source:
    """A source of tables (N, F) float64."""
    shift = offsets(features["train"])
    inputs = {
        split: (values - shift).float() if shift.any() else values.float()
        for split, values in features.items()
    }
    made = portions(
        {split: task.strata(found) for split, found in targets.of.items()},
        0.2,
        groups=copies(digests(inputs["train"])),
    )
    parts = {
        split: Split.whole(Resident(inputs[of][rows]), targets.of[of][rows], task)
        for split, (of, rows) in made.items()
    }
    weights = None if weighing is None else weighing.finish(made["train"][1])
    source = assemble(
        replace(parts["train"], weights=weights),
        parts.get("validation"),
        parts.get("test"),
        names=targets.names,
        views="none",
        kind="table",
        name=name,
    )
    said = [
        f"{column} minus {offset:.0f}" if offset else column
        for column, offset in zip(columns, shift.tolist(), strict=True)
    ]
    notes = [
        f"networks take {text}, as float32 would lose its differences" for text in said if " minus " in text
    ]
    return replace(
        source,
        preparation=f"the numbers of the columns {', '.join(said)}, in this order",
        columns=tuple(said),
        notes=(*targets.notes, *notes, *source.notes),
    )


def _besides(
    labels: Sequence[str], batch: Mapping[str, Sequence[Any]], rows: Rows
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns besides the labels: those to read, and those without a name, which are left out."""
    columns = tuple(column for column in batch if column not in labels)
    if not columns:
        listed = ", ".join(map(repr, labels))
        raise LimbeckError(f"{rows.name} has no column besides the label {listed}")
    own = tuple(column for column in columns if not nameless(column))
    return (own, tuple(filter(nameless, columns))) if own else (columns, ())


def _without_index(
    features: Mapping[str, Tensor], columns: Sequence[str], unnamed: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns to learn from, and sentences on those that number the rows.

    Args:
        features: (N, F) of each split.
        columns: F names.
        unnamed: columns without a name, which are left out already.
    """
    counting = [
        column
        for place, column in enumerate(columns)
        if _numbers_rows(column, {split: values[:, place] for split, values in features.items()})
    ]
    notes = []
    if unnamed:
        notes.append(
            f"the columns {', '.join(map(repr, unnamed))} have no name of their own and are left out"
        )
    if not counting:
        return tuple(columns), tuple(notes)
    listed = ", ".join(map(repr, counting))
    if len(counting) == len(columns):
        notes.append(f"the columns {listed} number the rows, and there are no others to learn from")
        return tuple(columns), tuple(notes)
    notes.append(
        f"the columns {listed} number the rows and are left out; columns=[...] names those to learn from"
    )
    return tuple(column for column in columns if column not in counting), tuple(notes)


def _numbers_rows(column: str, values: Mapping[str, Tensor]) -> bool:
    """Whether a column has each number from 0 or 1 on once, or is called "id" and differs by row."""
    for numbers in (values["train"], torch.cat(list(values.values()))):
        ordered = numbers.sort().values
        if len(numbers) < _COUNTED or (ordered.diff() == 0).any() or (ordered != ordered.round()).any():
            continue
        first, last = int(ordered[0]), int(ordered[-1])
        if column.casefold() in _INDEX_NAMES or (first in (0, 1) and last - first == len(ordered) - 1):
            return True
    return False


def nameless(column: str) -> bool:
    """Whether a column has a name that pandas makes up, for the index of its rows or a field without one."""
    return re.fullmatch(r"|Unnamed: \d+|__index_level_\d+__", column) is not None


def _numbers(batch: Mapping[str, Sequence[Any]], columns: Sequence[str], rows: Rows, start: int) -> Tensor:
    """Some rows, counted from `start`, as (B, F) float64."""
    for column in columns:
        if column not in batch:
            raise unknown(f"column of {rows.name}:", column, batch)
    features = [
        [_number(value, column, number, rows) for number, value in enumerate(batch[column], start + 1)]
        for column in columns
    ]
    return torch.tensor(features, dtype=torch.float64).T


def _number(value: Any, column: str, number: int, rows: Rows) -> float:
    if value is None or value == "":
        raise LimbeckError(f"the column {column!r} of {rows.name} is empty in row {number}")
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise LimbeckError(
            f"the column {column!r} of {rows.name} should hold numbers, not {value!r} as in row {number};"
            " name those to learn from, columns=[...], or write it as numbers"
        ) from None
    if not math.isfinite(found):
        raise LimbeckError(f"the column {column!r} of {rows.name} holds {value} in row {number}")
    return found
