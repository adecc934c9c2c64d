"""Rows of CSV, JSON and Parquet files, and of data sets of the Hugging Face hub."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from limbeck.data.files import json_lines
from limbeck.data.files.discover import files_of, find, format_of, name_of, options, patterns, splits_in
from limbeck.data.split import held_out
from limbeck.errors import LimbeckError, listed, unknown

_BATCH = 1000


@dataclass(frozen=True)
class Rows:
    """The rows of one split.

    Attributes:
        name: what messages call it.
        dataset: it as `datasets` has it.
        folder: where files are that rows name.
        notes: sentences on what was left out when it was read.
        files: that hold the rows; none where they are in no table.
    """

    name: str
    dataset: Any
    folder: Path = Path()
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    def batches(self) -> Iterator[Mapping[str, list[Any]]]:
        """Up to 1,000 rows at a time, as the values of each column.

        Raises:
            LimbeckError: for a file that is not what its name says, and where there is no row.
        """
        with reading(self.name, self.files):
            batch = None
            for batch in self.dataset.iter(_BATCH):
                yield batch
        if batch is None:
            raise LimbeckError(f"{self.name} holds no rows")

    def check_columns(self, *columns: str) -> None:
        """Refuses a column that is not there."""
        for column in columns:
            if column not in self.dataset.column_names:
                raise self.no_column(column, self.dataset.column_names)
        if not len(self.dataset):
            raise LimbeckError(f"{self.name} holds no rows")

    def no_column(self, column: str, there: Iterable[str]) -> LimbeckError:
        """The error for a column that is not there.

        Args:
            column: its name, that of the argument which names it where that is not given.
            there: the columns there are.
        """
        if column not in ("text", "label", "image", "mask"):
            return unknown(f"column of {self.name}:", column, there)
        return LimbeckError(
            f"{self.name} has no column {column!r}; name the one that it is, {column}=..., among "
            f"{listed(sorted(there))}"
        )

    def values(self, column: str, numbers: Sequence[int]) -> list[Any]:
        """What some rows, counted from 0, have in a column, as it is stored."""
        found: list[Any] = self._stored[list(numbers)][column].to_pylist()
        return found

    @cached_property
    def _stored(self) -> Any:
        return self.dataset.with_format("arrow")

    def classes(self, column: str) -> tuple[str, ...] | None:
        """The class names that a data set declares for the numbers in a column, or in lists in it."""
        feature = (self.dataset.features or {}).get(column)
        names = getattr(getattr(feature, "feature", feature), "names", None)
        return tuple(names) if names else None

    def stored(self, column: str) -> Iterator[Any]:
        """What each row has in a column, as it is stored."""
        for batch in self._stored.select_columns([column]).iter(_BATCH):
            yield from batch[column].to_pylist()


def read(
    path: str, data_dir: Path | None, as_text: Sequence[str] = (), only: Sequence[str] = ()
) -> dict[str, Rows]:
    """The splits there are, "train" always, "validation" and "test" where they are found.

    Args:
        path: a file, which is the train split; a directory with a file `train.csv`, or `.json`, `.jsonl` or
            `.parquet`, or several `train-*.parquet`, and such files of the other splits; or the name of a
            data set on the hub.
        data_dir: where `path`, then a file or a directory, is; "" is the directory itself.
        as_text: columns whose values in a CSV are text also where they look like numbers.
        only: columns of a CSV to read; all if none is named.
    Raises:
        LimbeckError: if there is no such thing, or it holds no train split.
    """
    place = find(path, data_dir)
    return on_the_hub(path) if place is None else _on_disk(place, as_text, only)


def _on_disk(place: Path, as_text: Sequence[str], only: Sequence[str]) -> dict[str, Rows]:
    files = files_of(place)
    kind, chosen = format_of(files), options(files, as_text, only)
    # Streamed, because a copy in the cache of `datasets` would outlive the file; a lock it makes even so.
    every = [file for some in files.values() for file in some]
    with reading(repr(str(place)), every), TemporaryDirectory() as cache:
        found = load_files(kind, data_files=patterns(files), streaming=True, cache_dir=cache, **chosen)
    return {split: Rows(name_of(some), found[split], files=tuple(some)) for split, some in files.items()}


def load_files(kind: str, **options: Any) -> Any:
    """`datasets.load_dataset` of local files, without its request to a server that counts uses."""
    import datasets  # imports in a second, which other data should not pay for

    counts = datasets.config.HF_UPDATE_DOWNLOAD_COUNTS
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    try:
        return datasets.load_dataset(kind, **options)
    finally:
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = counts


def on_the_hub(name: str, test: str = "test") -> dict[str, Rows]:
    """The splits of a data set on the Hugging Face hub, which calls its test split `test`."""
    import datasets

    try:
        with reading(f"{name!r} is no file, and the data set of that name on the Hugging Face hub"):
            found = datasets.load_dataset(name)
    except LimbeckError as error:
        raise LimbeckError(f"{error}; a copy of its files is read with data_dir (--data-dir)") from None
    splits = splits_in(found, f"the data set {name!r}", test)
    return {split: Rows(f"the {theirs} split of {name!r}", found[theirs]) for split, theirs in splits.items()}


def of_files(place: Path, **columns: Sequence[Path]) -> Rows:
    """Images in files of their own, in columns of their names.

    Args:
        place: the directory, for messages.
        **columns: the files, such as `image=`.
    """
    import datasets

    features = datasets.Features({column: datasets.Value("string") for column in columns})
    names = {column: [*map(str, files)] for column, files in columns.items()}
    return Rows(repr(str(place)), datasets.Dataset.from_dict(names, features))


def portions(
    strata: Mapping[str, Tensor],
    share: float,
    validation: float | None = None,
    groups: Tensor | None = None,
) -> dict[str, tuple[str, Tensor]]:
    """What training, validation and test are made of: for each, a split that was found and rows of it.

    Args:
        strata: (N,) of the splits that were found, "train" always; see `limbeck.tasks.Task.strata`.
        share: of each stratum of the training rows that is held out for test, and then of what is left for
            validation, where they were not found; always the same rows (see `limbeck.data.split.held_out`).
        validation: another share for validation; 0 holds nothing out.
        groups: (N,) of the training rows, equal for copies of one sample, which are never parted.
    """
    made = {split: (split, torch.arange(len(ids))) for split, ids in strata.items()}
    for split, fraction in (("test", share), ("validation", share if validation is None else validation)):
        if split in made or not fraction:
            continue
        rows = made["train"][1]
        kept, held = held_out(strata["train"][rows], fraction, None if groups is None else groups[rows])
        if len(held):
            made["train"], made[split] = ("train", rows[kept]), ("train", rows[held])
    return made


@contextmanager
def reading(name: str, files: Iterable[Path] = ()) -> Iterator[None]:
    """Says in one message what cannot be read, and silences the reader's own.

    Args:
        name: what messages call it.
        files: that are read; what is wrong with one in JSON is looked for.
    """
    from datasets.exceptions import DatasetsError

    logs = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            # pandas says so of rows that end in commas, which are looked at before
            warnings.filterwarnings("ignore", "Length of header or names does not match")
            yield
    except LimbeckError:
        raise
    except (DatasetsError, OSError, ValueError, RuntimeError, AttributeError, TypeError) as error:
        if (found := json_lines.problem(files)) is not None:
            raise LimbeckError(found) from None
        reason = str(error).strip() or type(error).__name__
        raise LimbeckError(f"{name} cannot be read: {reason.splitlines()[0]}") from None
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
