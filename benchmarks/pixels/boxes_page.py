"""The page of the detectors, printed from what was found."""

from __future__ import annotations

import platform
import textwrap
from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.pixels.page import told_of_tries
from limbeck.studies import holm, paired_difference, summarize
from limbeck.tasks import Detection

LEAD = """Mean and standard deviation over the seeds; then the mean difference of the mAP on the same seeds to
the student alone with its 95 % Student-t interval, and p of a paired t test, corrected by Holm for all rows.
All train for as many epochs; the last one is reported, and nothing was chosen on the test split. MTPD with
two teachers spends half of the epochs with each, and its learning rate begins anew with the second. "step"
is the median time of a training step over that of the student alone, in turns; MB is the peak of a process
that takes a few steps."""


def page(setting: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """The page in Markdown.

    Args:
        setting: what all cells share.
        found: figures as they stand; cells that are missing are left out.
    """
    lines = [
        "# Detection",
        "",
        _filled(
            "Printed by `make bench-detection`, that is `python -m benchmarks.pixels.detection`, from "
            f"detection.json. Machine: {platform.machine()}, 1 thread, torch {torch.__version__}."
        ),
        "",
        _filled(
            f"BCCD, blood cells of 3 classes, images of 160 x 120 pixels: `{setting['data']}`, with 205 "
            f"images for training, 87 for validation and 72 for test. AdamW in batches of "
            f"{setting['batch_size']}, learning rate {setting['lr']:g}."
        ),
        "",
        _filled(LEAD),
        "",
        _filled(_facts(setting, found)),
        "",
        "| | objective | validation mAP (%) | test mAP (%) | - alone | p | test AP50 (%) | agreement (%) | "
        "step | MB | seeds |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    values = {
        name: {seed: 100 * cell["test"]["map"] for seed, cell in cells.items()}
        for name, cells in found.get("cells", {}).items()
        if cells
    }
    alone = values.get("alone", {})
    differences = {
        name: paired_difference(its, alone)
        for name, its in values.items()
        if name != "alone" and its.keys() & alone.keys()
    }
    corrected = holm({name: each.p for name, each in differences.items() if each.p is not None})
    for name, its in values.items():
        cells, spent = [*found["cells"][name].values()], found.get("cost", {}).get(name)
        agreed = [100 * cell["agreement"] for cell in cells if cell["agreement"] is not None]
        texts = [
            name,
            f"`{cells[0]['of']['objective']}`",
            str(summarize([100 * cell["validation"]["map"] for cell in cells])),
            str(summarize([*its.values()])),
            str(differences.get(name, "")),
            f"{corrected[name]:.3f}" if name in corrected else "",
            str(summarize([100 * cell["test"]["map50"] for cell in cells])),
            str(summarize(agreed)) if agreed else "",
            f"{spent['step_over_alone']:.2f}" if spent else "",
            f"{spent['peak'] / 1e6:.0f}" if spent else "",
            str(len(cells)),
        ]
        lines.append(f"| {' | '.join(texts)} |")
    return "\n".join(lines) + "\n"


def _facts(setting: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """The networks, and how the student alone fares with other numbers of epochs."""
    metric = Detection.metrics[0]
    text = f"The student `{setting['student']}` learns for {setting['epochs']} epochs in all."
    tries = {int(epochs): [*seeds.values()] for epochs, seeds in found.get("tries", {}).items() if seeds}
    if some := [*found.get("cells", {}).get("alone", {}).values()]:
        text += f" It has {some[0]['parameters']:,} parameters."
        tries[setting["epochs"]] = some
    for name, its in found.get("teachers", {}).items():
        text += (
            f" The teacher {name}, `{setting['teachers'][name]}`, {its['parameters']:,} parameters, trained "
            f"for {setting['teacher_epochs']} epochs, has {metric.show(its['test']['map'], 1)} on the test "
            "split."
        )
    return text + told_of_tries(tries, metric)


def _filled(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 108, break_long_words=False, break_on_hyphens=False)
