"""Rows that are had by position, mapped into memory from an Arrow file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from limbeck.data.files.discover import (
    FORMATS,
    called,
    files_of,
    find,
    format_of,
    name_of,
    options,
    patterns,
    splits_in,
)
from limbeck.data.files.folders import folders
from limbeck.data.files.rows import Rows, load_files, on_the_hub, reading
from limbeck.errors import LimbeckError


def read_mapped(
    path: str,
    data_dir: Path | None,
    test: str,
    memory: int,
    as_text: Sequence[str] = (),
    only: Sequence[str] = (),
) -> dict[str, Rows]:
    """The splits there are, as `limbeck.data.files.rows.read` finds them, and in two forms more.

    These are a directory that `datasets` has saved, and one with a folder of images for each class, which may
    be in a folder for each split; there the column of the images is `image`, that of the classes `label`.

    Args:
        path: a file, a directory, or a data set of the hub; in `data_dir` if that is given.
        data_dir: where to look.
        test: what the test split is called there.
        memory: bytes of files up to which no copy of theirs is kept in the cache of `datasets`.
        as_text: columns whose values in a CSV are text also where they look like numbers.
        only: columns of a CSV to read; all if none is named.
    """
    place = find(path, data_dir)
    if place is None:
        return on_the_hub(path, test)
    if _is_saved(place):
        return _saved(place, test)
    if holds_rows(place):
        return _tables(place, test, memory, as_text, only)
    return folders(place, test)


def holds_rows(place: Path) -> bool:
    """Whether there are rows with columns in a place: a file, or a directory with such files or saved by
    `datasets`."""
    if place.is_file() or _is_saved(place):
        return True
    tables = {file.stem.split("-")[0] for file in place.iterdir() if file.suffix.lower() in FORMATS}
    return called(tables, ("train", "training")) is not None


def _is_saved(place: Path) -> bool:
    return any((place / name).is_file() for name in ("dataset_dict.json", "dataset_info.json"))


def _saved(place: Path, test: str) -> dict[str, Rows]:
    import datasets

    with reading(repr(str(place))):
        found = datasets.load_from_disk(str(place))
    if isinstance(found, datasets.Dataset):
        found = {"train": found}
    splits = splits_in(found, repr(str(place)), test)
    return {split: Rows(repr(str(place / theirs)), found[theirs]) for split, theirs in splits.items()}


def _tables(
    place: Path, test: str, memory: int, as_text: Sequence[str], only: Sequence[str]
) -> dict[str, Rows]:
    files = files_of(place, test)
    kind, chosen = format_of(files), options(files, as_text, only)
    every = [file for some in files.values() for file in some]
    small = sum(file.stat().st_size for file in every) <= memory
    try:
        # What is mapped stays readable when the directory is gone.
        with reading(repr(str(place)), every), TemporaryDirectory() as cache, _quiet():
            found = load_files(
                kind,
                data_files=patterns(files),
                cache_dir=cache if small else None,
                **chosen,
            )
    except LimbeckError:
        if kind == "parquet":
            for file in every:
                _check_parquet(file)
        raise
    return {split: Rows(name_of(some), found[split], some[0].parent) for split, some in files.items()}


def _check_parquet(file: Path) -> None:
    """Says which row of a broken file cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 1
    try:
        for batch in pq.ParquetFile(file).iter_batches(1):
            row += len(batch)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise LimbeckError(f"{str(file)!r} cannot be read from row {row} on: {reason}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars of `datasets`."""
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
