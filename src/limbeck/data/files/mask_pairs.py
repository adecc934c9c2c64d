"""Which image and which mask belong together: folders with the same names in them, or two patterns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from limbeck.data.files.discover import is_split, natural, splits_in
from limbeck.data.files.folders import PICTURES
from limbeck.errors import LimbeckError

IMAGES = ("images", "image", "imgs", "JPEGImages")
MASKS = ("masks", "mask", "labels", "annotations", "SegmentationClass")
"""What folders are called, the first that is there."""

_ENDINGS = ("annot", "_annot", "_mask", "_masks", "_label", "_labels")
"""What the folder of the masks has behind the name of that of the images, as `train` and `trainannot`."""

_LISTS = (Path(), Path("ImageSets/Segmentation"))
"""Where files are that list the images of a split, such as `train.txt`."""


class Pair(NamedTuple):
    """An image and its mask."""

    image: Path
    mask: Path


def in_folders(place: Path, test: str) -> dict[str, list[Pair]]:
    """The pairs of each split in a directory, in one of these layouts.

        images/ masks/                  all for training, or as train.txt, val.txt, ... list the names
        images/train/ masks/train/      and so on with the other splits
        train/images/ train/masks/
        train/ trainannot/

    Args:
        place: the directory.
        test: what the test split is called.
    Raises:
        LimbeckError: where there is none of these, and for an image without a mask.
    """
    images, masks = _named(place, IMAGES), _named(place, MASKS)
    if images and masks:
        if _split_folders(images, test):
            return _beside(images, masks, test)
        return _listed(place, images, masks, test)
    inside = {
        name: (theirs, its)
        for name, folder in _split_folders(place, test).items()
        if (theirs := _named(folder, IMAGES)) and (its := _named(folder, MASKS))
    }
    if inside:
        chosen = splits_in(inside, repr(str(place)), test)
        return {split: _pairs(*inside[name]) for split, name in chosen.items()}
    for ending in _ENDINGS:
        there = [name for name in _split_folders(place, test) if (place / f"{name}{ending}").is_dir()]
        if there:
            chosen = splits_in(there, repr(str(place)), test)
            return {split: _pairs(place / name, place / f"{name}{ending}") for split, name in chosen.items()}
    raise LimbeckError(
        f"{str(place)!r} holds no folders of images and masks that are known by their names: images/ and "
        "masks/, with train/ and so on in both or around both, or train/ and trainannot/; name the files, "
        'images="{split}/*.jpg", masks="{split}_labels/*.png"'
    )


def by_patterns(place: Path, images: str, masks: str, test: str) -> dict[str, list[Pair]]:
    """The pairs of each split whose names two patterns have; what stands for `*` is the same in both.

    Args:
        place: the directory that the patterns begin in.
        images: the pattern of the images, perhaps with `{split}` for the name of the split.
        masks: that of the masks.
        test: what the test split is called.
    """
    ours, theirs = (_matches(place, pattern) for pattern in (images, masks))
    for pattern, found in ((images, ours), (masks, theirs)):
        if not found:
            raise LimbeckError(f"no file in {str(place)!r} has a name like {pattern!r}")
    splits: dict[str, list[Pair]] = {}
    for (split, *rest), file in ours.items():
        mask = theirs.get((split, *rest))
        if mask is None:
            raise LimbeckError(
                f"the image {str(file)!r} has no mask: of the files like {masks!r} none has the same "
                f"{' and '.join(map(repr, rest))}"
            )
        splits.setdefault(split, []).append(Pair(file, mask))
    chosen = splits_in(splits, repr(str(place)), test)
    return {split: splits[name] for split, name in chosen.items()}


def _matches(place: Path, pattern: str) -> dict[tuple[str, ...], Path]:
    """The files with such names, by the split and by what stands for each `*`."""
    parts = re.split(r"(\*+|\{split\})", pattern)
    splits = parts.count("{split}")
    if splits > 1:
        raise LimbeckError(f"the pattern {pattern!r} names {{split}} twice; once says it all")
    text = "".join(
        "(?P<split>[^/]*)" if part == "{split}" else "([^/]*)" if part.startswith("*") else re.escape(part)
        for part in parts
    )
    files: dict[tuple[str, ...], Path] = {}
    for file in sorted(place.glob(pattern.replace("{split}", "*")), key=lambda file: natural(str(file))):
        found = re.fullmatch(text, file.relative_to(place).as_posix())
        if found and file.is_file():
            at = found.re.groupindex.get("split")
            stars = [each for number, each in enumerate(found.groups(), 1) if number != at]
            key = (found["split"] if at else "train", *stars)
            files[key] = file
    return files


def _named(place: Path, names: Sequence[str]) -> Path | None:
    return next((place / name for name in names if (place / name).is_dir()), None)


def _split_folders(place: Path, test: str) -> dict[str, Path]:
    folders = [child for child in sorted(place.iterdir()) if child.is_dir()]
    return {child.name: child for child in folders if is_split(child.name, test)}


def _beside(images: Path, masks: Path, test: str) -> dict[str, list[Pair]]:
    """The pairs of folders of splits in two folders."""
    chosen = splits_in(_split_folders(images, test), repr(str(images)), test)
    for name in chosen.values():
        if not (masks / name).is_dir():
            raise LimbeckError(f"there is a folder {str(images / name)!r} and no {str(masks / name)!r}")
    return {split: _pairs(images / name, masks / name) for split, name in chosen.items()}


def _listed(place: Path, images: Path, masks: Path, test: str) -> dict[str, list[Pair]]:
    """The pairs as files list them; all for training where there is no list.

    A line names an image, with or without its folder and its ending, and perhaps its mask behind it. Images
    that no list names need no mask.
    """
    lists = next((found for each in _LISTS if (found := _lists(place / each, test))), None)
    if lists is None:
        return {"train": _pairs(images, masks)}
    ours, theirs = _Names(images), _Names(masks)
    chosen = splits_in(lists, repr(str(place)), test)
    splits: dict[str, list[Pair]] = {}
    for split, name in chosen.items():
        for line in lists[name].read_text(encoding="utf-8").splitlines():
            if not line.strip():
                continue
            image, mask = _both(line, ours, theirs) or (ours.find(line), None)
            if image is None:
                raise LimbeckError(f"{str(lists[name])!r} names {line.strip()!r}, and there is no such image")
            splits.setdefault(split, []).append(Pair(image, mask or theirs.of(image, images)))
        if split not in splits:
            raise LimbeckError(f"{str(lists[name])!r} names no image")
    return splits


class _Names:
    """The images in a folder by what lists call them.

    Args:
        folder: with the images, in folders below, too.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._files = folder, dict(below(folder))
        self._by_stem = {file.stem: file for file in self._files.values()}

    def find(self, text: str) -> Path | None:
        """The file that is meant, by its place in the folder or by its name alone."""
        name = PurePosixPath(text.strip())
        if name.suffix.lower() in PICTURES:
            name = name.with_suffix("")
        return self._files.get(name.as_posix()) or self._by_stem.get(name.name)

    def of(self, image: Path, images: Path) -> Path:
        """The mask of an image in another folder.

        Raises:
            LimbeckError: if there is none.
        """
        name = image.relative_to(images).with_suffix("")
        if (mask := self._files.get(name.as_posix())) is None:
            raise LimbeckError(
                f"the image {str(image)!r} has no mask; there should be one at "
                f"{str(self.folder / name) + '.png'!r}"
            )
        return mask


def _both(line: str, images: _Names, masks: _Names) -> tuple[Path, Path] | None:
    """The image and the mask that a line names; None where it names an image alone."""
    words = line.split()
    if len(words) != 2 or any(Path(word).suffix.lower() not in PICTURES for word in words):
        return None
    image, mask = images.find(words[0]), masks.find(words[1])
    return None if image is None or mask is None else (image, mask)


def _lists(folder: Path, test: str) -> Mapping[str, Path]:
    files = sorted(folder.glob("*.txt")) if folder.is_dir() else []
    found = {file.stem: file for file in files if is_split(file.stem, test)}
    return found if "train" in found else {}


def _pairs(images: Path, masks: Path) -> list[Pair]:
    """The images in one folder with the masks of the same names in another, in folders below as above."""
    known = _Names(masks)
    pairs = [Pair(file, known.of(file, images)) for _, file in below(images)]
    if not pairs:
        raise LimbeckError(f"the folder {str(images)!r} holds no images")
    return pairs


def below(folder: Path) -> Iterator[tuple[str, Path]]:
    """The images in a folder, by their names without endings."""
    files = (file for file in folder.rglob("*") if file.suffix.lower() in PICTURES)
    for file in sorted(files, key=lambda file: natural(str(file.relative_to(folder)))):
        relative = file.relative_to(folder)
        if not any(part.startswith(".") for part in relative.parts):
            yield relative.with_suffix("").as_posix(), file
