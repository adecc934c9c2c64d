"""Rows that are had by position, mapped into memory from an Arrow file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from limbeck.data.files.discover import (
    FORMATS,
    VALIDATION,
    files_of,
    find,
    format_of,
    name_of,
    options,
    patterns,
    splits_in,
)
from limbeck.data.files.rows import Rows, on_the_hub, reading
from limbeck.errors import LimbeckError

PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def read_mapped(
    path: str, data_dir: Path | None, test: str, memory: int, as_text: Sequence[str] = ()
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
    """
    place = find(path, data_dir)
    if place is None:
        return on_the_hub(path, test)
    if (place / "dataset_dict.json").is_file() or (place / "dataset_info.json").is_file():
        return _saved(place, test)
    tables = place.is_file() or any(
        file.suffix in FORMATS and file.stem.split("-")[0] == "train" for file in place.iterdir()
    )
    return _tables(place, test, memory, as_text) if tables else _folders(place, test)


def _saved(place: Path, test: str) -> dict[str, Rows]:
    import datasets

    with reading(repr(str(place))):
        found = datasets.load_from_disk(str(place))
    if isinstance(found, datasets.Dataset):
        found = {"train": found}
    splits = splits_in(found, repr(str(place)), test)
    return {split: Rows(repr(str(place / theirs)), found[theirs]) for split, theirs in splits.items()}


def _folders(place: Path, test: str) -> dict[str, Rows]:
    parts = {child.name: child for child in place.iterdir() if child.is_dir()}
    if not parts.keys() & {"train", *VALIDATION, "test", test}:
        parts = {"train": place}
    splits = splits_in(sorted(parts), repr(str(place)), test)
    files = {split: _by_class(parts[theirs]) for split, theirs in splits.items()}
    classes = [name for name, some in files["train"].items() if some]
    if not classes:
        raise LimbeckError(
            f"{str(parts['train'])!r} holds neither a folder of images for each class nor a train.csv, "
            "train.parquet or the like"
        )
    return {split: _listed(parts[splits[split]], some, classes) for split, some in files.items()}


def _by_class(part: Path) -> dict[str, list[str]]:
    """The images in each folder, all in the order of their names."""
    folders = sorted(child for child in part.iterdir() if child.is_dir() and child.name[0] != ".")
    return {
        folder.name: [str(file) for file in sorted(folder.rglob("*")) if file.suffix.lower() in PICTURES]
        for folder in folders
    }


def _listed(part: Path, files: Mapping[str, Sequence[str]], classes: Sequence[str]) -> Rows:
    import datasets

    for name in files:
        if files[name] and name not in classes:
            raise LimbeckError(f"the folder {str(part / name)!r} is of no class that the train split has")
    rows = [(file, classes.index(name)) for name, some in files.items() for file in some]
    if not rows:
        raise LimbeckError(f"{str(part)!r} holds no folder of images for each class")
    features = {"image": datasets.Value("string"), "label": datasets.ClassLabel(names=list(classes))}
    columns = {"image": [file for file, _ in rows], "label": [label for _, label in rows]}
    return Rows(repr(str(part)), datasets.Dataset.from_dict(columns, datasets.Features(features)))


def _tables(place: Path, test: str, memory: int, as_text: Sequence[str]) -> dict[str, Rows]:
    import datasets

    files = files_of(place, test)
    kind = format_of(files)
    every = [file for some in files.values() for file in some]
    small = sum(file.stat().st_size for file in every) <= memory
    try:
        # What is mapped stays readable when the directory is gone.
        with reading(repr(str(place))), TemporaryDirectory() as cache, _quiet():
            found = datasets.load_dataset(
                kind,
                data_files=patterns(files),
                cache_dir=cache if small else None,
                **options(kind, as_text),
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
