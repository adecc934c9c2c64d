"""Which files a data set is made of, and which split each belongs to."""

from __future__ import annotations

import csv
import glob
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from limbeck.errors import LimbeckError

FORMATS = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet", ".arrow": "arrow"}
VALIDATION = ("validation", "valid", "val", "dev")
"""What data sets call their validation split; the first that is there is taken."""

_TRAIN, _TEST = ("train", "training"), ("test", "testing")
_BESIDE = {"set", "data", "dataset", "images", "split"}
"""Words that names of splits have beside them, as in `training_set`."""


def find(path: str, data_dir: Path | None, formats: Collection[str] = tuple(FORMATS)) -> Path | None:
    """The file or directory that is meant; None for the name of a data set on the hub.

    Args:
        path: a file, a directory or a name.
        data_dir: the directory that it is in, if it is no name.
        formats: endings of names that are those of files.
    """
    if path == "" and data_dir is None:
        raise LimbeckError(
            'say which file, directory or data set to read, with path="..." or data_dir (--data-dir)'
        )
    place = Path(path) if data_dir is None else data_dir / path
    if place.exists():
        return place
    if data_dir is not None or place.suffix.lower() in formats or place.is_absolute() or path.startswith("."):
        raise LimbeckError(f"there is no file or directory {str(place)!r}")
    return None


def natural(name: str) -> tuple[Any, ...]:
    """The key of the one order of names: numbers in them by value, letters without regard to case."""
    parts = re.split(r"(\d+)", name.casefold())
    return ([(int(part), "") if number % 2 else (-1, part) for number, part in enumerate(parts)], name)


def files_of(
    place: Path, test: str = "test", formats: Collection[str] = tuple(FORMATS)
) -> dict[str, list[Path]]:
    """The files of each split in a directory; a file is the train split.

    Args:
        place: the directory, or the file.
        test: what the test split is called.
        formats: endings of the files that are looked at.
    """
    if place.is_file():
        return {split: [place] for split in splits_in(["train"], repr(str(place)), test)}
    files: dict[str, list[Path]] = {}
    for file in sorted(place.iterdir()):
        if file.suffix.lower() in formats and not file.name.startswith("."):
            files.setdefault(file.stem.split("-")[0], []).append(file)
    if called(files, _TRAIN) is None:
        *others, last = (f"train{suffix}" for suffix in formats)
        raise LimbeckError(f"{str(place)!r} holds no {', '.join(others)} or {last}")
    return {split: files[name] for split, name in splits_in(files, repr(str(place)), test).items()}


def splits_in(found: Iterable[str], name: str, test: str = "test") -> dict[str, str]:
    """What the splits that are there are called: the train split, and perhaps validation and test.

    A split is found by its name, or else without regard to case, as `Training`, or as in `training_set`.

    Args:
        found: the names of what it is parted in.
        name: of the data, for messages.
        test: what its test split is called, which has to be there if that is not "test".
    Raises:
        LimbeckError: if there is no train split, or no such test split, or two names mean the same split.
    """
    there = list(found)
    wanted = {"train": called(there, _TRAIN, name), "test": called(there, _tests(test), name)}
    for split, asked in (("train", "train"), ("test", test)):
        if wanted[split] is None and asked != "test":
            raise LimbeckError(f"{name} has no split {asked!r} but {', '.join(map(repr, there))}")
    rest = [each for each in there if each != wanted["test"]]
    validation = next(filter(None, (called(rest, (each,), name) for each in VALIDATION)), None)
    wanted = {"train": wanted["train"], "validation": validation, "test": wanted["test"]}
    return {split: theirs for split, theirs in wanted.items() if theirs is not None}


def is_split(name: str, test: str = "test") -> bool:
    """Whether a name is that of a split."""
    return called([name], (*_TRAIN, *VALIDATION, *_TEST, *_tests(test))) is not None


def _tests(test: str) -> Sequence[str]:
    return _TEST if test == "test" else (test,)


def called(found: Iterable[str], names: Sequence[str], data: str = "the data") -> str | None:
    """Which of the names found means a split that is called one of `names`; None if none does.

    Raises:
        LimbeckError: if none is the first of `names` and several mean it.
    """
    there = list(found)
    if names[0] in there:
        return names[0]
    wanted = {name.casefold() for name in names}
    alike = [each for each in there if each.casefold() in wanted or _words(each) & wanted]
    if len(alike) > 1:
        listed = " and ".join(map(repr, alike))
        raise LimbeckError(f"{data} has {listed}, which may both be its split {names[0]!r}; name one so")
    return alike[0] if alike else None


def _words(name: str) -> set[str]:
    """The one word of a name beside words such as "set"; nothing if there are more, or fewer."""
    words = set(re.findall(r"[^\W\d_]+", name.casefold())) - _BESIDE
    return words if len(words) == 1 else set()


def format_of(files: Mapping[str, Sequence[Path]]) -> str:
    """The one format of all files, none of which is empty."""
    every = [file for some in files.values() for file in some]
    for file in every:
        if file.suffix.lower() not in FORMATS:
            raise LimbeckError(f"{str(file)!r} should be a file of {', '.join(FORMATS)}")
        if FORMATS[file.suffix.lower()] != FORMATS[every[0].suffix.lower()]:
            raise LimbeckError(f"{str(every[0])!r} and {str(file)!r} should be files of one format")
        if not file.stat().st_size:
            raise LimbeckError(f"{str(file)!r} is empty")
    return FORMATS[every[0].suffix.lower()]


def options(
    files: Mapping[str, Sequence[Path]], as_text: Sequence[str], only: Sequence[str] = ()
) -> dict[str, Any]:
    """How `datasets` should read files of one format.

    Args:
        files: of each split.
        as_text: columns of a CSV that are texts, also where they look like numbers.
        only: columns of a CSV to read, so that no other can be at fault; all if none is named.
    Raises:
        LimbeckError: for a CSV whose rows have more fields than its first line names.
    """
    if format_of(files) != "csv":
        return {}
    # pandas would take a text such as "None" or "NA" for a missing value
    chosen: dict[str, Any] = {"na_filter": False, "converters": dict.fromkeys(as_text, str)}
    every = [file for some in files.values() for file in some]
    ending = [_ends_in_commas(file) for file in every]  # each is looked at
    if any(ending):
        chosen["index_col"] = False  # else pandas takes the first column for names of the rows
    if only and all(set(only) <= set(_first_lines(file)[0]) for file in every):
        chosen["usecols"] = list(dict.fromkeys(only))
    return chosen


def _first_lines(file: Path) -> tuple[list[str], list[str]]:
    """The names of the columns of a CSV, and the fields of its first row; none if they cannot be read."""
    with _opened(file) as lines:
        rows = (row for row in csv.reader(lines) if row)
        try:
            return next(rows, []), next(rows, [])
        except csv.Error:  # a field of more than 128 KiB
            return [], []


def _ends_in_commas(file: Path) -> bool:
    """Whether the rows of a CSV have more fields than its first line names, and these are empty."""
    names, first = _first_lines(file)
    if len(first) <= len(names):
        return False
    with _opened(file) as lines:
        for number, row in enumerate(row for row in csv.reader(lines) if row):
            if number and any(field.strip() for field in row[len(names) :]):
                raise LimbeckError(
                    f"row {number} of {str(file)!r} has {len(row)} fields, but the first line names"
                    f" {len(names)} columns; give each column a name, or take the others away"
                )
    return True


def _opened(file: Path) -> TextIO:
    return file.open(newline="", encoding="utf-8-sig", errors="replace")


def patterns(files: Mapping[str, Sequence[Path]]) -> dict[str, list[str]]:
    """The files as `datasets` takes them: it reads a name as a pattern."""
    return {split: [glob.escape(str(file)) for file in some] for split, some in files.items()}


def name_of(files: Sequence[Path]) -> str:
    """What messages call the rows of some files of one split."""
    first = files[0]
    return repr(str(first if len(files) == 1 else first.with_name(f"{first.stem.split('-')[0]}-*")))
