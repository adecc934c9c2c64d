"""COCO's figures, as faster-coco-eval computes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from limbeck.optional import imported
from limbeck.tasks.detection.decoding import Objects
from limbeck.tasks.detection.findings import BoxFindings, ClassFigures

EXTRA = "detection"
"""The extra of limbeck that brings the package."""


def package() -> Any:
    """faster-coco-eval.

    Raises:
        LimbeckError: if it is not installed.
    """
    return imported("faster_coco_eval", EXTRA)


def figures(classes: int, labels: Sequence[tuple[Tensor, Tensor]], found: Sequence[Objects]) -> BoxFindings:
    """The figures of objects that were found in some images.

    Args:
        classes: C, how many classes there are.
        labels: boxes (K, 4) and classes (K,) of each image; one at least.
        found: the objects in each image.
    """
    coco = package()
    truth = coco.COCO(_data_set(classes, labels))
    results = [each for number, objects in enumerate(found, 1) for each in _results(number, objects)]
    run = coco.COCOeval_faster(truth, truth.loadRes(results), iouType="bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    values = run.stats_as_dict
    precision = run.eval["precision"][:, :, :, 0, -1]  # IoU, recall, class
    counts = [sum(int((ids == each).sum()) for _, ids in labels) for each in range(classes)]
    return BoxFindings(
        classes=tuple(
            ClassFigures(boxes=count, ap=_mean(precision[:, :, at]), ap50=_mean(precision[0, :, at]))
            for at, count in enumerate(counts)
        ),
        metrics={
            "map": values["AP_all"],
            "map50": values["AP_50"],
            "map75": values["AP_75"],
            "recall": values["AR_third"],  # of 100 objects an image
        },
        sizes={name: _known(values[f"AP_{name}"]) for name in ("small", "medium", "large")},
        images=len(labels),
    )


def _data_set(classes: int, labels: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """The labels as COCO's JSON has them; numbers count from 1, which the package asks for."""
    annotations: list[dict[str, Any]] = []
    for number, (boxes, ids) in enumerate(labels, 1):
        for (x1, y1, x2, y2), each in zip(boxes.double().tolist(), ids.tolist(), strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": each + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
    return {
        "info": {},
        "images": [{"id": number} for number in range(1, len(labels) + 1)],
        "categories": [{"id": each + 1, "name": str(each)} for each in range(classes)],
        "annotations": annotations,
    }


def _results(number: int, found: Objects) -> list[dict[str, Any]]:
    columns = found.boxes.double().tolist(), found.scores.double().tolist(), found.classes.tolist()
    return [
        {
            "image_id": number,
            "category_id": each + 1,
            "bbox": [x1, y1, max(0.0, x2 - x1), max(0.0, y2 - y1)],
            "score": score,
        }
        for (x1, y1, x2, y2), score, each in zip(*columns, strict=True)
    ]


def _mean(precision: Any) -> float | None:
    """The mean over IoUs and recalls; -1 stands for a class without boxes."""
    known = precision[precision > -1]
    return float(np.mean(known)) if known.size else None


def _known(value: float) -> float | None:
    return None if value < 0 else value
