"""A folder of images for each class, which may be in a folder for each split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from limbeck.data.files.discover import is_split, natural, splits_in
from limbeck.data.files.rows import Rows
from limbeck.errors import LimbeckError

PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")

_LITTER = ("__macosx", "desktop.ini", "thumbs.db")
"""What systems leave in folders, beside hidden files."""


@dataclass(frozen=True)
class _Part:
    """What is in the folder of a split.

    Attributes:
        images: the files of each class, in the order of their names.
        unread: the other files of each class.
        loose: files beside the folders of the classes.
    """

    folder: Path
    images: Mapping[str, Sequence[Path]]
    unread: Mapping[str, Sequence[Path]]
    loose: Sequence[Path]


def folders(place: Path, test: str) -> dict[str, Rows]:
    """The splits in a directory, with the columns `image`, names of files, and `label`, declared classes.

    Hidden files and folders are no part of the data, such as the copies in `.ipynb_checkpoints`.

    Args:
        place: with a folder for each class, or a folder for each split with these in it.
        test: what the test split is called there.
    Raises:
        LimbeckError: for a class without an image that can be read, and one that the train split has not.
    """
    there = {child.name: child for child in _visible(place) if child.is_dir()}
    parts = {name: child for name, child in there.items() if is_split(name, test) and _holds_folders(child)}
    beside = sorted(there.keys() - parts.keys(), key=natural)
    if not parts:
        parts, beside = {"train": place}, []
    splits = splits_in(sorted(parts), repr(str(place)), test)
    found = {split: _part(parts[theirs]) for split, theirs in splits.items()}
    train = found["train"]
    if not any(train.images.values()) and not any(train.unread.values()):
        raise LimbeckError(
            f"{str(train.folder)!r} holds neither a folder of images for each class nor a train.csv, "
            "train.parquet or the like"
        )
    for name, files in train.images.items():
        if not files:
            raise _no_images(train.folder / name, train.unread[name])
    classes = sorted(train.images, key=natural)
    unused = [*beside, *sorted(parts.keys() - set(splits.values()), key=natural)]
    notes = (f"{str(place)!r} has other folders, which are not read: {_some(unused)}",) if unused else ()
    return {split: _listed(part, classes, notes if split == "train" else ()) for split, part in found.items()}


def _part(folder: Path) -> _Part:
    images: dict[str, list[Path]] = {}
    unread: dict[str, list[Path]] = {}
    loose = []
    for child in _visible(folder):
        if not child.is_dir():
            loose.append(child)
            continue
        files = sorted(_files_below(child))
        images[child.name] = [file for file in files if file.suffix.lower() in PICTURES]
        unread[child.name] = [file for file in files if file.suffix.lower() not in PICTURES]
    return _Part(folder, images, unread, loose)


def _visible(folder: Path) -> list[Path]:
    """What a folder holds, in the order of the names, without what is hidden."""
    return sorted(
        child for child in folder.iterdir() if child.name[0] != "." and child.name.lower() not in _LITTER
    )


def _files_below(folder: Path) -> Iterator[Path]:
    for child in _visible(folder):
        if child.is_dir():
            yield from _files_below(child)
        else:
            yield child


def _holds_folders(folder: Path) -> bool:
    """Whether a folder may be that of a split, and not of a class that is called `train`."""
    inside = _visible(folder)
    return any(child.is_dir() for child in inside) or not inside


def _listed(part: _Part, classes: Sequence[str], notes: Sequence[str]) -> Rows:
    import datasets

    for name, files in part.images.items():
        if name not in classes:
            where = f"the folder {str(part.folder / name)!r}"
            if files:
                raise LimbeckError(f"{where} is of no class that the train split has")
            notes = [*notes, f"{where} holds no images and is of no class that the train split has"]
    # In the order of the folders' names as text, so that positions are what they always were.
    rows = [(str(file), classes.index(name)) for name, files in part.images.items() for file in files]
    if not rows:
        raise LimbeckError(f"{str(part.folder)!r} holds no folder of images for each class")
    features = {"image": datasets.Value("string"), "label": datasets.ClassLabel(names=list(classes))}
    columns = {"image": [file for file, _ in rows], "label": [label for _, label in rows]}
    table = datasets.Dataset.from_dict(columns, datasets.Features(features))
    return Rows(repr(str(part.folder)), table, notes=(*notes, *_left_out(part, classes)))


def _left_out(part: _Part, classes: Sequence[str]) -> Iterator[str]:
    """Sentences on the files that are not read, and on classes of the train split that are not there."""
    place = repr(str(part.folder))
    unread = [file for files in part.unread.values() for file in files]
    if unread:
        yield f"{len(unread)} files in {place} are no images that can be read: {_extensions(unread)}"
    if loose := [file for file in part.loose if file.suffix.lower() in PICTURES]:
        yield f"{len(loose)} images in {place} are in no folder of a class and are not read: {_some(loose)}"
    if absent := [name for name in classes if not part.images.get(name)]:
        yield f"{place} has no images of {len(absent)} of the {len(classes)} classes: {_some(absent)}"


def _no_images(folder: Path, unread: Sequence[Path]) -> LimbeckError:
    if not unread:
        return LimbeckError(
            f"the folder {str(folder)!r} of a class is empty; put images in it or take it away"
        )
    return LimbeckError(
        f"the folder {str(folder)!r} of a class holds no image that can be read, but {_extensions(unread)};"
        f" images may be {', '.join(PICTURES)}"
    )


def _extensions(files: Sequence[Path]) -> str:
    """For example: 10 of .heic, 2 of .txt, such as 'a.heic'."""
    counts = Counter(file.suffix.lower() for file in files).most_common()
    listed = ", ".join(f"{count} of {suffix or 'no extension'}" for suffix, count in counts)
    return f"{listed}, such as {files[0].name!r}"


def _some(names: Sequence[str | Path]) -> str:
    shown = [repr(name.name if isinstance(name, Path) else name) for name in names[:5]]
    return ", ".join([*shown, f"and {len(names) - 5} more"] if len(names) > 5 else shown)
