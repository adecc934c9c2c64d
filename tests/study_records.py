"""Records of a small study, without the training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from finished_runs import finished_run
from limbeck.studies.cells import Cells
from limbeck.studies.records import CellRecord, Point, packed

TESTED = 500


def records_of(
    cells: Cells,
    folder: Path,
    top1: Callable[[str, int], float],
    steps: Callable[[str], int] = lambda name: 100,
) -> dict[str, CellRecord]:
    """A record for each cell.

    Args:
        cells: of a study on the digits.
        folder: where the runs go that they are read from.
        top1: a function that gives the accuracy of an objective ("teacher" for teachers) with a seed.
        steps: one that gives the steps it took.
    """
    found = {}
    for number, cell in enumerate(cells.all):
        name, seed = cell.objective or "teacher", cell.config.seed
        share = top1(name, seed)
        run = finished_run(folder / str(number), cell.config.objective or "ce", seed, share)
        right = np.arange(TESTED) < round(share * TESTED)
        forwards = 0 if name == "alone" else 10
        found[cell.key] = CellRecord(
            identity=cell.identity,
            result=run.result.model_copy(update={"steps": steps(name)}),
            curve=tuple(
                Point(part * steps(name) // 4, 2.0 * part, part * forwards, share - (4 - part) / 10)
                for part in (1, 2, 3, 4)
            ),
            right=packed(right),
            tested=TESTED,
            noiseless=share,
            noisy={"gaussian_noise": tuple(share - level / 10 for level in range(1, 6))},
        )
    return found
