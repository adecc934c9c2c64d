"""Classified rows of numbers: from files, and scikit-learn's small data sets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limbeck.data.build import from_tensors
from limbeck.data.files.discover import find
from limbeck.data.files.labels import class_ids, labels_in
from limbeck.data.files.rows import Rows, portions, read
from limbeck.data.registry import written
from limbeck.data.source import Source
from limbeck.errors import LimbeckError, unknown


def from_table(
    path: str = "", label: str = "label", columns: Sequence[str] = (), data_dir: Path | None = None
) -> Source:
    """Rows of numbers with a label each, (N, F) float32; a network standardizes them by the training split.

    Args:
        path: a file .csv, .json, .jsonl or .parquet; a directory with such a file `train` and maybe
            `validation` and `test`; or a data set of the Hugging Face hub. Without them, a fifth of each
            class of the training split is held out for the test, then as much of the rest for validation.
        label: the column of the class names or numbers; where it is empty a row has no label.
        columns: those to learn from; all but the label if none is named.
        data_dir: the directory that `path` is in; `--data-dir` on the command line.
    """
    name = written("table", from_table, locals())
    if label in columns:
        raise LimbeckError(f"the label {label!r} is no column to learn from")
    splits = read(path, data_dir, (label,))
    features: dict[str, Tensor] = {}
    labels: dict[str, list[str | None]] = {split: [] for split in splits}
    for split, rows in splits.items():
        parts = []
        for batch in rows.batches():
            start = len(labels[split])
            labels[split] += labels_in(batch, label, rows, start)
            columns = columns or _besides(label, batch, rows)
            parts.append(_numbers(batch, columns, rows, start))
        features[split] = torch.cat(parts)
    classes, targets = class_ids(labels, splits, label)
    source = _source(name, features, targets, classes, columns)
    return replace(source, hub=path if find(path, data_dir) is None else None)


def breast_cancer() -> Source:
    """569 tumors, each in 30 numbers taken from an image of its cells: malignant or benign."""
    return _bundled("breast_cancer")


def iris() -> Source:
    """150 irises of 3 species: length and width of sepal and petal."""
    return _bundled("iris")


def wine() -> Source:
    """178 wines from 3 growers, each in 13 numbers of a chemical analysis."""
    return _bundled("wine")


def _bundled(name: str) -> Source:
    from sklearn import datasets  # imports in a second, which other data should not pay for

    found: Any = getattr(datasets, f"load_{name}")()
    features, targets = torch.from_numpy(found.data).float(), torch.from_numpy(found.target).long()
    return _source(
        name,
        {"train": features},
        {"train": targets},
        [str(label) for label in found.target_names],
        [str(column) for column in found.feature_names],
    )


def _source(
    name: str,
    features: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    classes: Sequence[str],
    columns: Sequence[str],
) -> Source:
    pairs = {
        split: (features[of][rows], targets[of][rows]) for split, (of, rows) in portions(targets, 0.2).items()
    }
    source = from_tensors(
        *pairs["train"],
        validation=pairs.get("validation"),
        test=pairs.get("test"),
        class_names=classes,
        kind="table",
        name=name,
    )
    return replace(source, preparation=f"the numbers of the columns {', '.join(columns)}, in this order")


def _besides(label: str, batch: Mapping[str, Sequence[Any]], rows: Rows) -> list[str]:
    columns = [column for column in batch if column != label]
    if not columns:
        raise LimbeckError(f"{rows.name} has no column besides the label {label!r}")
    return columns


def _numbers(batch: Mapping[str, Sequence[Any]], columns: Sequence[str], rows: Rows, start: int) -> Tensor:
    """Some rows, counted from `start`, as (B, F) float32."""
    for column in columns:
        if column not in batch:
            raise unknown(f"column of {rows.name}:", column, batch)
    features = [
        [_number(value, column, number, rows) for number, value in enumerate(batch[column], start + 1)]
        for column in columns
    ]
    return torch.tensor(features, dtype=torch.float32).T


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
