"""Rows of CSV, JSON and Parquet files, and of data sets of the Hugging Face hub."""

from __future__ import annotations

import glob
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from limbeck.data.split import held_out
from limbeck.errors import LimbeckError

FORMATS = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
SPLITS = ("train", "validation", "test")

_BATCH = 1000


@dataclass(frozen=True)
class Rows:
    """The rows of one split.

    Attributes:
        name: what messages call it.
        dataset: it as `datasets` has it.
    """

    name: str
    dataset: Any

    def batches(self) -> Iterator[Mapping[str, list[Any]]]:
        """Up to 1,000 rows at a time, as the values of each column.

        Raises:
            LimbeckError: for a file that is not what its name says, and where there is no row.
        """
        with _reading(self.name):
            batch = None
            for batch in self.dataset.iter(_BATCH):
                yield batch
        if batch is None:
            raise LimbeckError(f"{self.name} holds no rows")

    def classes(self, column: str) -> tuple[str, ...] | None:
        """The class names that a data set declares for the numbers in a column."""
        names = getattr((self.dataset.features or {}).get(column), "names", None)
        return tuple(names) if names else None


def read(path: str, data_dir: Path | None, as_text: Sequence[str] = ()) -> dict[str, Rows]:
    """The splits there are, "train" always, "validation" and "test" where they are found.

    Args:
        path: a file, which is the train split; a directory with a file `train.csv`, or `.json`, `.jsonl` or
            `.parquet`, or several `train-*.parquet`, and such files of the other splits; or the name of a
            data set on the hub.
        data_dir: where `path`, then a file or a directory, is; "" is the directory itself.
        as_text: columns whose values in a CSV are text also where they look like numbers.
    Raises:
        LimbeckError: if there is no such thing, or it holds no train split.
    """
    if path == "" and data_dir is None:
        raise LimbeckError('say which file, directory or data set to read, with path="..." or --data-dir')
    place = Path(path) if data_dir is None else data_dir / path
    if place.exists():
        return _on_disk(place, as_text)
    if data_dir is not None or place.suffix in FORMATS or place.is_absolute() or path.startswith("."):
        raise LimbeckError(f"there is no file or directory {str(place)!r}")
    return _on_the_hub(path)


def _on_disk(place: Path, as_text: Sequence[str]) -> dict[str, Rows]:
    import datasets  # imports in a second, which other data should not pay for

    files = {"train": [place]} if place.is_file() else _files(place)
    kind = _format(files)
    # na_filter: pandas would take a text such as "None" or "NA" for a missing value
    options = {"na_filter": False, "converters": dict.fromkeys(as_text, str)} if kind == "csv" else {}
    patterns = {split: [glob.escape(str(file)) for file in some] for split, some in files.items()}
    # Streamed, because a copy in the cache of `datasets` would outlive the file; a lock it makes even so.
    with _reading(repr(str(place))), TemporaryDirectory() as cache:
        found = datasets.load_dataset(kind, data_files=patterns, streaming=True, cache_dir=cache, **options)
    names = {split: some[0] if len(some) == 1 else place / f"{split}-*" for split, some in files.items()}
    return {split: Rows(repr(str(names[split])), found[split]) for split in files}


def _on_the_hub(name: str) -> dict[str, Rows]:
    import datasets

    with _reading(f"{name!r} is no file, and the data set of that name on the Hugging Face hub"):
        found = datasets.load_dataset(name)
    if "train" not in found:
        raise LimbeckError(f"the data set {name!r} has no split 'train' but {', '.join(map(repr, found))}")
    return {split: Rows(f"the {split} split of {name!r}", found[split]) for split in SPLITS if split in found}


def portions(targets: Mapping[str, Tensor], share: float) -> dict[str, tuple[str, Tensor]]:
    """What training, validation and test are made of: for each, a split that was found and rows of it.

    Args:
        targets: (N,) class ids of the splits that were found, "train" always.
        share: of each class of the training rows that is held out for test, and then of what is left for
            validation, where they were not found; always the same rows (see `limbeck.data.split.held_out`).
    """
    made = {split: (split, torch.arange(len(ids))) for split, ids in targets.items()}
    for split in ("test", "validation"):
        rows = made["train"][1]
        kept, held = held_out(targets["train"][rows], share)
        if split not in made and len(held):
            made["train"], made[split] = ("train", rows[kept]), ("train", rows[held])
    return made


def _files(directory: Path) -> dict[str, list[Path]]:
    """The files of each split in a directory."""
    known = [file for file in sorted(directory.iterdir()) if file.suffix in FORMATS]
    files = {
        split: [file for file in known if file.stem == split or file.stem.startswith(f"{split}-")]
        for split in SPLITS
    }
    if not files["train"]:
        raise LimbeckError(f"{str(directory)!r} holds no train.csv, train.json, train.jsonl or train.parquet")
    return {split: some for split, some in files.items() if some}


def _format(files: Mapping[str, Sequence[Path]]) -> str:
    """The one format of all files, none of which is empty."""
    every = [file for some in files.values() for file in some]
    for file in every:
        if file.suffix not in FORMATS:
            raise LimbeckError(f"{str(file)!r} should be a file of {', '.join(FORMATS)}")
        if FORMATS[file.suffix] != FORMATS[every[0].suffix]:
            raise LimbeckError(f"{str(every[0])!r} and {str(file)!r} should be files of one format")
        if not file.stat().st_size:
            raise LimbeckError(f"{str(file)!r} is empty")
    return FORMATS[every[0].suffix]


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Says in one message what cannot be read, and silences the reader's own."""
    from datasets.exceptions import DatasetsError

    log = logging.getLogger("datasets")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    except LimbeckError:
        raise
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip() or type(error).__name__
        raise LimbeckError(f"{name} cannot be read: {reason.splitlines()[0]}") from None
    finally:
        log.setLevel(level)
