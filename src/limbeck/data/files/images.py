"""Images, from files and from the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor

from limbeck.arguments import Count
from limbeck.data.build import assemble
from limbeck.data.files.arrow import read_mapped
from limbeck.data.files.decoding import Decoder
from limbeck.data.files.discover import find
from limbeck.data.files.readable import contents_of, readable
from limbeck.data.files.rows import portions
from limbeck.data.files.table import nameless
from limbeck.data.files.targets import LABEL, target_reader
from limbeck.data.files.weighing import WeightReader
from limbeck.data.memory import budget
from limbeck.data.registry import written
from limbeck.data.source import PIXELS, Source
from limbeck.data.split import Split, copies, keep_labels, stratified
from limbeck.data.storage.base import Samples
from limbeck.data.storage.streamed import decoded
from limbeck.data.views import Crop
from limbeck.errors import LimbeckError
from limbeck.tasks import Task

Held: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


def from_images(
    path: str = "",
    image: str = "image",
    label: str | Sequence[str] = LABEL,
    test: str = "test",
    size: Count | None = None,
    gray: bool = False,
    train: Count | None = None,
    labeled: Count | None = None,
    seed: int = 0,
    validation: Held = 0.1,
    memory: str = "auto",
    task: str = "classification",
    separator: str | None = None,
    names: Sequence[str] = (),
    on_error: Literal["raise", "skip"] = "raise",
    weights: str | None = None,
    data_dir: Path | None = None,
) -> Source:
    """Images of one shape with labels, (N, 3, H, W) uint8.

    They are decoded once where they fit the memory, and for every batch, by several threads, where they do
    not; the same comes of both. Training crops with a padding of an eighth of a side, and mirrors.

    Args:
        path: a directory with a folder of images for each class, perhaps in folders `train`, `validation` and
            `test`; a directory with files `train.csv`, .json, .jsonl, .parquet or .arrow, and maybe the same
            of the other splits, or one such file; a directory that `datasets` has saved; or a data set of
            the Hugging Face hub. A validation split may be `valid`, `val` or `dev` as well. Without a test
            split, a tenth of each class is held out of the training split.
        image: the column of the images: encoded, or the names of files.
        label: the column of the labels, or several: class names or numbers for classification; for
            multilabel, several columns of 0 and 1, or one of lists of names; for regression, columns of
            numbers. Where it is empty an image has no label.
        test: what the split that final figures are measured on is called there.
        size: pixels a side: an image is scaled until its shorter side has as many, and its middle cut out.
        gray: one channel, (N, 1, H, W).
        train: how many training images to use, every class in proportion; all by default.
        labeled: how many of them keep their label, every class in proportion; all by default.
        seed: of the choice of `train` and `labeled`.
        validation: the share of each class that is held out of the training split where there is no
            validation split; 0 holds nothing out.
        memory: what decoded images may take, such as "4 GiB"; half of the free memory by default.
        task: what the labels are for: classification, multilabel or regression.
        separator: what parts the names in one field, for multilabel, such as "|".
        names: of the outputs, in their order; as in the data if none is given.
        on_error: "skip" leaves out images that cannot be read, up to 1 % of all, and lists them in `skipped`
            of the source; to find them takes a pass over all images.
        weights: the column that says how much each training sample counts in the terms that fit the labels,
            such as `ce`: finite numbers of at least 0, of which only the ratios matter.
        data_dir: the directory that `path` is in; `--data-dir` on the command line.
    """
    given = {
        "path": path,
        "image": image,
        "label": label,
        "test": test,
        "size": size,
        "gray": gray,
        "train": train,
        "labeled": labeled,
        "seed": seed,
        "validation": validation,
        "task": task,
        "separator": separator,
        "names": names,
        "on_error": on_error,
        "weights": weights,
    }
    room = budget(memory)
    reader = target_reader(task, label, separator, names)
    weighing = WeightReader(weights, (image, *reader.columns))
    read_as_text = (image, *reader.columns)
    splits = read_mapped(
        path, data_dir, test, room, as_text=read_as_text, only=(*read_as_text, *weighing.columns)
    )
    reader.check_apart(image, "images", "label")
    for split, rows in splits.items():
        rows.check_columns(image)
        others = [column for column in rows.dataset.column_names if column != image]
        wanted = (*reader.columns, *weighing.columns)
        columns = {column: rows.dataset[column][:] for column in others if column in wanted}
        # The images themselves stay where they are; their number tells how many rows are without a label.
        unread = {column: range(len(rows.dataset)) for column in (image, *others) if column not in columns}
        read = {**columns, **unread}
        reader.add(split, read, rows, [image, *weighing.columns, *filter(nameless, others)])
        weighing.add(split, read, rows)
    found = reader.finish(splits)
    decoder = Decoder(gray, size)
    there, skipped = (
        readable(splits, image, decoder)
        if on_error == "skip"
        else ({split: torch.arange(len(rows.dataset)) for split, rows in splits.items()}, ())
    )
    targets = {split: found.of[split][there[split]] for split in splits}
    contents = {split: contents_of(rows, image, there[split]) for split, rows in splits.items()}
    chosen = _choose(
        targets, reader.task, len(found.names), copies(contents["train"]), train, labeled, seed, validation
    )
    of = {split: splits[theirs] for split, (theirs, _, _) in chosen.items()}
    numbers = {split: there[theirs][where] for split, (theirs, where, _) in chosen.items()}
    samples = decoded(of, image, numbers, decoder, room)
    parts = {split: Split.whole(samples[split], ids, reader.task) for split, (_, _, ids) in chosen.items()}
    source = assemble(
        replace(parts["train"], weights=weighing.finish(numbers["train"])),
        parts.get("validation"),
        parts.get("test"),
        names=found.names,
        views=_views(samples["train"]),
        kind="image",
        name=written("images", from_images, given),
        contents={
            split: [contents[theirs][row] for row in where.tolist()]
            for split, (theirs, where, _) in chosen.items()
        },
    )
    cut = (
        f", scaled bicubically to {size} on the shorter side and cut to the middle {size} x {size}"
        if size
        else ""
    )
    return replace(
        source,
        preparation=f"{PIXELS} of {'gray' if gray else 'RGB'} images, turned as their EXIF says{cut}",
        hub=path if find(path, data_dir) is None else None,
        notes=(
            *(note for rows in splits.values() for note in rows.notes),
            *found.notes,
            *(
                [f"{len(skipped)} images cannot be read and are left out, such as {skipped[0]}"]
                if skipped
                else ()
            ),
            *source.notes,
        ),
        skipped=skipped,
    )


def _choose(
    targets: Mapping[str, Tensor],
    task: type[Task],
    least: int,
    groups: Tensor | None,
    train: int | None,
    labeled: int | None,
    seed: int,
    validation: float,
) -> dict[str, tuple[str, Tensor, Tensor]]:
    """For each split, the split that was found that it is made of, rows of that, and their targets."""
    strata = {split: task.strata(found) for split, found in targets.items()}
    made = {
        split: (of, rows, targets[of][rows])
        for split, (of, rows) in portions(strata, 0.1, validation, groups).items()
    }
    of, rows, ids = made["train"]
    for name, count in (("train", train), ("labeled", labeled)):
        there = int(task.labeled(ids).sum()) if train is None or name == "train" else train
        if count is not None and not least <= count <= there:
            raise LimbeckError(
                f"{name} should be {least} to {there}, from one image for each output to all, not {count}"
            )
    if train is not None:
        kept = stratified(task.strata(ids), train, seed)
        rows, ids = rows[kept], ids[kept]
    if labeled is not None:
        ids = keep_labels(ids, labeled, seed, task)
    elif train is None and seed:
        raise LimbeckError("the seed picks images or labels, so it needs train=... or labeled=...")
    return made | {"train": (of, rows, ids)}


def _views(images: Samples) -> Crop:
    """Windows that leave an eighth of a side at most, and mirror images."""
    first = images.take(torch.tensor([0]), torch.tensor([0]))
    assert isinstance(first, Tensor)
    return Crop(padding=min(first.shape[2:]) // 8, flip=True)
