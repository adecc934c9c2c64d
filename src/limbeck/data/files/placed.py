"""Images on a canvas with targets of their own: segmentation and detection."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from limbeck.data.files.canvas import Canvas
from limbeck.data.files.readable import contents_of
from limbeck.data.files.rows import Rows, portions
from limbeck.data.split import Split, copies
from limbeck.data.storage.streamed import decoded
from limbeck.tasks import Task


def placed(
    rows: Mapping[str, Rows],
    column: str,
    targets: Mapping[str, Tensor],
    task: type[Task],
    canvas: Canvas,
    validation: float,
    room: int,
) -> tuple[dict[str, Split], dict[str, list[bytes]]]:
    """The splits of a source, and what tells the images of each apart.

    A split that is missing is held out of the training split, with copies of an image on one side.

    Args:
        rows: of each split that was found.
        column: the column of the images.
        targets: of each split, as many as rows.
        task: what they are for.
        canvas: what the images are placed on.
        validation: the share that is held out where there is no validation split.
        room: bytes that decoded images may take; images that do not fit are decoded for every batch.
    """
    contents = {
        split: contents_of(its, column, torch.arange(len(targets[split]))) for split, its in rows.items()
    }
    strata = {split: task.strata(its) for split, its in targets.items()}
    made = portions(strata, 0.1, validation, copies(contents["train"]))
    samples = decoded(
        {split: rows[of] for split, (of, _) in made.items()},
        column,
        {split: where for split, (_, where) in made.items()},
        canvas,
        room,
    )
    parts = {
        split: Split.whole(samples[split], targets[of][where], task) for split, (of, where) in made.items()
    }
    apart = {split: [contents[of][row] for row in where.tolist()] for split, (of, where) in made.items()}
    return parts, apart
