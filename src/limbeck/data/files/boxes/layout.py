"""Which files of a directory are the images and the boxes of which split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from limbeck.data.files.boxes.annotated import Annotated, Found, pictures
from limbeck.data.files.boxes.coco import is_coco, read_coco
from limbeck.data.files.boxes.voc import read_voc
from limbeck.data.files.boxes.yolo import names_in, read_yolo
from limbeck.data.files.discover import is_split, splits_in
from limbeck.errors import LimbeckError

Format: TypeAlias = Literal["auto", "coco", "voc", "yolo"]
FORMATS: tuple[Format, ...] = ("coco", "voc", "yolo")

_IMAGES = ("JPEGImages", "images", "imgs", "image")
_BOXES: Mapping[str, Sequence[str]] = {
    "voc": ("Annotations", "annotations", "labels", "xml"),
    "yolo": ("labels", "labels_yolo", "annotations"),
}
_ENDINGS = {"voc": ".xml", "yolo": ".txt"}
_READERS: Mapping[str, Callable[[Path, Path], Annotated]] = {"voc": read_voc, "yolo": read_yolo}
_LISTS = (Path("ImageSets/Main"), Path())
_WORDS = {"instances", "annotations", "coco", "bbox", "_annotations"}


def read(place: Path, form: Format, test: str) -> Found:
    """The images of each split with their boxes.

    Args:
        place: the directory; or a COCO JSON, whose images are beside it or in folders there.
        form: one of `FORMATS`, or "auto" for the one that the files have.
        test: what the test split is called.
    Raises:
        LimbeckError: where no files are found, and for what is wrong in one.
    """
    if form == "auto":
        form = _format_of(place)
    if form == "coco":
        return _coco(place, test)
    if place.is_file():
        raise LimbeckError(f"{str(place)!r} is a file, and {form} has a directory of images and of boxes")
    splits = _pairs(place, form, test)
    return Found(
        {split: [_READERS[form](*pair) for pair in some] for split, some in splits.items()},
        names_in(place) if form == "yolo" else (),
    )


def _format_of(place: Path) -> Format:
    if place.is_file():
        return "coco"
    if any(is_coco(file) for file in _json_files(place)):
        return "coco"
    for form in ("voc", "yolo"):
        folders = [place / name for name in _BOXES[form]]
        inside = [child for child in sorted(place.iterdir()) if child.is_dir()]
        here = [*folders, place, *(child / name for child in inside for name in ("", *_BOXES[form]))]
        if any(_holds(folder, _ENDINGS[form]) for folder in here if folder.is_dir()):
            return form
    raise LimbeckError(
        f"{str(place)!r} holds no boxes that are known by their files: COCO JSON with images, annotations, "
        'and categories, VOC XML or YOLO text; say which they are, format="coco", "voc" or "yolo"'
    )


def _holds(folder: Path, ending: str) -> bool:
    """Whether a folder holds files with an ending, or folders of splits that do; lists of names are none."""
    files = [*folder.glob(f"*{ending}"), *folder.glob(f"*/*{ending}")]
    return any(not is_split(file.stem) and file.name not in ("classes.txt",) for file in files)


def _json_files(place: Path) -> list[Path]:
    return sorted(file for pattern in ("*.json", "*/*.json") for file in place.glob(pattern))


def _coco(place: Path, test: str) -> Found:
    """The splits of a directory: a JSON for each, named after it or in a folder that is; or one JSON."""
    files = [place] if place.is_file() else [file for file in _json_files(place) if is_coco(file)]
    by_split: dict[str, Path] = {}
    for file in files:
        if (name := _split_of(file, place, test)) is not None:
            by_split.setdefault(name, file)
    if not by_split and len(files) == 1:
        by_split = {"train": files[0]}
    if not by_split:
        listed = ", ".join(repr(file.name) for file in files) or "none"
        raise LimbeckError(
            f"{str(place)!r} should hold a COCO JSON for each split, as annotations/instances_train.json or "
            f"train/_annotations.coco.json; found {listed}"
        )
    splits: dict[str, list[Annotated]] = {}
    names: tuple[str, ...] = ()
    root = place.parent if place.is_file() else place
    for split, name in splits_in(by_split, repr(str(place)), test).items():
        file = by_split[name]
        stem = file.stem.split("_", 1)[-1]
        folders = [file.parent, root / name, root / stem, root / "images" / name, root / "images" / stem]
        folders += [root / "images", root]
        splits[split], its = read_coco(file, list(dict.fromkeys(folders)))
        if names and its != names:
            raise LimbeckError(
                f"{str(file)!r} has the categories {', '.join(its)}, and the training split "
                f"{', '.join(names)}; they should be the same, with the same order of ids"
            )
        names = names or its
    return Found(splits, names)


def _split_of(file: Path, place: Path, test: str) -> str | None:
    """The name of the split that a COCO JSON is of; None if it says none."""
    words = [word for word in file.stem.replace("-", "_").split("_") if word and word not in _WORDS]
    for name in (*words, file.parent.name if file.parent != place else ""):
        bare = name.rstrip("0123456789")
        if bare and is_split(bare, test):
            return bare
    return None


def _pairs(place: Path, form: str, test: str) -> dict[str, list[tuple[Path, Path]]]:
    """The images of each split, and where the boxes of each are."""
    images, boxes = _named(place, _IMAGES), _named(place, _BOXES[form])
    if images is not None and boxes is not None:
        folders = _split_folders(images, test)
        if folders:
            chosen = splits_in(folders, repr(str(images)), test)
            return {split: _beside(images / name, boxes / name, form) for split, name in chosen.items()}
        return _listed(place, _beside(images, boxes, form), test)
    folders = _split_folders(place, test)
    if not folders:
        return _listed(place, _beside(images or place, boxes or images or place, form), test)
    chosen = splits_in(folders, repr(str(place)), test)
    return {
        split: _beside(
            _named(folders[name], _IMAGES) or folders[name],
            _named(folders[name], _BOXES[form]) or folders[name],
            form,
        )
        for split, name in chosen.items()
    }


def _beside(images: Path, boxes: Path, form: str) -> list[tuple[Path, Path]]:
    """The images in one folder, each with the file of the same name in another."""
    ending = _ENDINGS[form]
    pairs = [(file, boxes / file.relative_to(images).with_suffix(ending)) for file in pictures(images)]
    if not pairs:
        raise LimbeckError(f"the folder {str(images)!r} holds no images")
    if not any(file.is_file() for _, file in pairs):
        raise LimbeckError(
            f"no image in {str(images)!r} has boxes; there should be files such as {str(pairs[0][1])!r}"
        )
    return pairs


def _listed(place: Path, pairs: list[tuple[Path, Path]], test: str) -> dict[str, list[tuple[Path, Path]]]:
    """The images as files list their names; all for training where there is no list."""
    for folder in _LISTS:
        files = sorted((place / folder).glob("*.txt")) if (place / folder).is_dir() else []
        lists = {file.stem: file for file in files if is_split(file.stem, test)}
        if "train" in lists:
            break
    else:
        return {"train": pairs}
    known = {image.stem: (image, file) for image, file in pairs}
    splits: dict[str, list[tuple[Path, Path]]] = {}
    for split, name in splits_in(lists, repr(str(place)), test).items():
        for line in filter(None, map(str.strip, lists[name].read_text().splitlines())):
            stem = Path(line).stem if Path(line).suffix else line
            if stem not in known:
                raise LimbeckError(f"{str(lists[name])!r} names {line!r}, and there is no such image")
            splits.setdefault(split, []).append(known[stem])
    return splits


def _named(place: Path, names: Sequence[str]) -> Path | None:
    return next((place / name for name in names if (place / name).is_dir()), None)


def _split_folders(place: Path, test: str) -> dict[str, Path]:
    folders = [child for child in sorted(place.iterdir()) if child.is_dir()]
    return {child.name: child for child in folders if is_split(child.name, test)}
