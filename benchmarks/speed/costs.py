"""The tables of README.md on what else it costs: memory, disk, the start, a whole run, accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.speed import epochs
from benchmarks.speed.accuracy import largest_difference
from benchmarks.speed.tables import PLACES, table
from benchmarks.speed.whole import VIEWS
from limbeck.studies import paired_difference, summarize


def peaks(places: Mapping[str, Any]) -> list[str]:
    rows = [
        (
            PLACES[place],
            teacher,
            *(amount([peak[of] for peak in peaks if of in peak]) for of in ("process", "device")),
        )
        for place, found in places.items()
        for teacher, peaks in found["peak"].items()
    ]
    text = (
        "Peak memory of a process of its own that trains resnet8x4, torch and all else included: median and "
        "range of several processes."
    )
    return table("## 3. Memory", ["", "teacher resnet32x4", "process", "device"], rows, text)


def amount(peaks: Sequence[int]) -> str:
    """Median and range of bytes, in MiB."""
    if not peaks:
        return ""
    middle, least, most = (f"{value / 2**20:,.0f}" for value in (median(peaks), min(peaks), max(peaks)))
    return f"{middle} MiB ({least} to {most})"


def fillings(places: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for place, found in places.items():
        images, by_views = found["images"], found["views"]
        rows = [
            (
                views,
                f"{median(spent['seconds']):.1f} s",
                f"{min(spent['seconds']):.1f} to {max(spent['seconds']):.1f} s",
                f"{spent['bytes'] / 1e6:.2f} MB",
                *whole(spent, images, 1),
            )
            for views, spent in by_views.items()
        ]
        most = max(by_views, key=int)
        rows.append(("162", "", "", "", *whole(by_views[most], images, 162 / int(most))))
        text = (
            f"The logits of resnet32x4 for {images:,} images of CIFAR-100, in so many views of each: median "
            f"and range of {len(by_views[most]['seconds'])} repetitions. For all {epochs.WHOLE:,} images "
            f"extrapolated, and for 162 views from those of {most}. Bytes are blocks on disk."
        )
        columns = [
            "views",
            "time",
            "range",
            "disk",
            f"time, {epochs.WHOLE:,} images*",
            f"disk, {epochs.WHOLE:,} images*",
        ]
        lines += table(f"## 3. Filling a cache, {PLACES[place]}", columns, rows, text)
    return [*lines, "\\* extrapolated", ""]


def whole(spent: Mapping[str, Any], images: int, factor: float) -> tuple[str, str]:
    """Time and disk for all images and `factor` times the views."""
    factor *= epochs.WHOLE / images
    return f"{median(spent['seconds']) * factor / 60:,.1f} min", f"{spent['bytes'] * factor / 1e6:,.0f} MB"


def starts(places: Mapping[str, Any]) -> list[str]:
    rows = [
        (
            f"`limbeck {name}`",
            f"{median(seconds):.2f} s",
            f"{min(seconds):.2f} to {max(seconds):.2f} s",
        )
        for found in places.values()
        for name, seconds in found["seconds"].items()
    ]
    text = (
        "From the start of the process to the end of the first optimizer step, on digits, in a fresh process "
        "each time, with the files of the packages in memory."
    )
    return table("## 4. From the command to the first step", ["", "median", "range"], rows, text)


def whole_run(places: Mapping[str, Any]) -> list[str]:
    """Where there was a GPU; a line that says so where there was none."""
    title = f"## 5. A run of {epochs.EPOCHS} epochs, end to end"
    if not places:
        return [title, "", "Not measured: no GPU was to be had.", ""]
    rows = [
        (
            PLACES[place],
            f"{found['seconds'] / 60:.1f} min",
            f"{found['seconds'] / found['epochs']:.2f} s",
            f"{found['epochs'] * found['images'] / found['seconds']:,.0f}",
        )
        for place, found in places.items()
    ]
    found = next(iter(places.values()))
    text = (
        f"One `limbeck distill` of {found['pair']} by KD with {found['epochs']} epochs of "
        f"{found['images']:,} images of CIFAR-100, {VIEWS} views of each and a cache that is empty at first: "
        "from the command to its end, evaluation included. The teacher has learned nothing, which takes as "
        "much time."
    )
    return table(title, ["", "time", "an epoch", "images / s"], rows, text)


def accuracies(places: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for found in places.values():
        live, *_ = found["contenders"].values()
        rows = []
        for name, values in found["contenders"].items():
            same_views = name != "live, 162 views" and "162" in name
            differences = [
                f"{largest_difference(values['losses'], live['losses'], count):.1e}" if same_views else ""
                for count in (1, found["epochs"])
            ]
            rows.append(
                (
                    name,
                    str(summarize(list(values["top1"].values()))),
                    "" if values is live else str(paired_difference(values["top1"], live["top1"])),
                    *differences,
                )
            )
        teacher = found["teacher"]
        text = (
            f"`{found['student']}` learns by KD from `{teacher['model']}` ({teacher['top1']:.1f} %) on "
            f"`{found['data']}` for {found['epochs']} epochs, in precision "
            f"`{found.get('precision', 'auto')}`. Top-1 on the test split in %, mean and "
            f"standard deviation of {len(live['top1'])} seeds, and the difference to the live teacher on the "
            "same seeds with its 95 % Student-t interval; from fewer than five seeds there is no verdict. "
            "With the same seed and all 162 views the cached teacher is asked about the very images that the "
            "live one is: the largest relative difference of the loss, in the mean of the first epoch and of "
            "any, is what the cache changes."
        )
        columns = ["teacher", "top-1", "- live", "loss, first epoch", "loss, any epoch"]
        lines += table("## Nothing is lost", columns, rows, text)
    return lines
