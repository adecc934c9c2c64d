"""Which files a data set is made of, and which split each belongs to."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.errors import LimbeckError

FORMATS = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet", ".arrow": "arrow"}
VALIDATION = ("validation", "valid", "val", "dev")
"""What data sets call their validation split."""


def find(path: str, data_dir: Path | None) -> Path | None:
    """The file or directory that is meant; None for the name of a data set on the hub."""
    if path == "" and data_dir is None:
        raise LimbeckError('say which file, directory or data set to read, with path="..." or --data-dir')
    place = Path(path) if data_dir is None else data_dir / path
    if place.exists():
        return place
    if data_dir is not None or place.suffix in FORMATS or place.is_absolute() or path.startswith("."):
        raise LimbeckError(f"there is no file or directory {str(place)!r}")
    return None


def files_of(place: Path, test: str = "test") -> dict[str, list[Path]]:
    """The files of each split in a directory; a file is the train split."""
    if place.is_file():
        return {split: [place] for split in splits_in(["train"], repr(str(place)), test)}
    files: dict[str, list[Path]] = {}
    for file in sorted(place.iterdir()):
        if file.suffix in FORMATS:
            files.setdefault(file.stem.split("-")[0], []).append(file)
    if "train" not in files:
        *others, last = (f"train{suffix}" for suffix in FORMATS)
        raise LimbeckError(f"{str(place)!r} holds no {', '.join(others)} or {last}")
    return {split: files[name] for split, name in splits_in(files, repr(str(place)), test).items()}


def splits_in(found: Iterable[str], name: str, test: str = "test") -> dict[str, str]:
    """What the splits that are there are called: the train split, and perhaps validation and test.

    Args:
        found: the names of what it is parted in.
        name: of the data, for messages.
        test: what its test split is called, which has to be there if that is not "test".
    Raises:
        LimbeckError: if there is no train split, or no such test split.
    """
    there = list(found)
    for split in ("train", test):
        if split not in there and split != "test":
            raise LimbeckError(f"{name} has no split {split!r} but {', '.join(map(repr, there))}")
    validation = [each for each in VALIDATION if each in there and each != test]
    return {
        "train": "train",
        **({"validation": validation[0]} if validation else {}),
        **({"test": test} if test in there else {}),
    }


def format_of(files: Mapping[str, Sequence[Path]]) -> str:
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


def options(kind: str, as_text: Sequence[str]) -> dict[str, Any]:
    """How `datasets` should read files of a format, in which some columns are texts."""
    if kind != "csv":
        return {}
    # pandas would take a text such as "None" or "NA" for a missing value
    return {"na_filter": False, "converters": dict.fromkeys(as_text, str)}


def patterns(files: Mapping[str, Sequence[Path]]) -> dict[str, list[str]]:
    """The files as `datasets` takes them: it reads a name as a pattern."""
    return {split: [glob.escape(str(file)) for file in some] for split, some in files.items()}


def name_of(files: Sequence[Path]) -> str:
    """What messages call the rows of some files of one split."""
    first = files[0]
    return repr(str(first if len(files) == 1 else first.with_name(f"{first.stem.split('-')[0]}-*")))
