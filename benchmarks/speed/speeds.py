"""The tables of README.md on time: steps, epochs and whole studies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.speed import epochs, maps, step
from benchmarks.speed.contest import ratio
from benchmarks.speed.networks import PAIRS
from benchmarks.speed.tables import PLACES, table


def steps(places: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, objective in step.OBJECTIVES.items():
        cells = [name, f"`{objective}`"]
        for place in PLACES:
            took = places[place]["seconds"] if place in places else {}
            for kind in (f"{name}, live", f"{name}, cached"):
                key = name if name in took and kind.endswith("cached") else kind
                cells.append(f"{ratio(took, key, step.reference(name)):.2f}" if key in took else "")
        rows.append(cells)
    alone = ", ".join(
        f"{1000 * median(found['seconds'][step.ALONE]):.1f} ms ({PLACES[place]}, {found['precision']})"
        for place, found in places.items()
    )
    size = max(found["size"] for found in places.values())
    text = (
        "The median time of a training step over that of the student alone: forward, cross-entropy, backward "
        "and optimizer of a bare PyTorch loop in limbeck's precision and memory format, without images to "
        f"make: {alone}. resnet32x4 -> resnet8x4, 32 x 32, {step.CLASSES} classes, random images, other ones "
        f"in each turn, of {size:,} whose answers the cache holds all. "
        f"lwkd has {step.FEW} classes, for the sake of its phase, and is measured by a student alone with as "
        "many. What reads stages has a live teacher only; what needs no teacher stands among the cached."
    )
    columns = [f"{kind}, {place}" for place in PLACES.values() for kind in ("live", "cached")]
    return table("## 1. A step", ["method", "objective", *columns], rows, text)


def mapped(places: Mapping[str, Any]) -> list[str]:
    rows = []
    for setting, objectives in (("images", maps.IMAGES), ("pixels", maps.PIXELS)):
        for name, objective in objectives.items():
            read = next(iter(places.values()))["bytes"][name]
            cells = [name, f"`{objective}`", f"{read:,}"]
            for place in PLACES:
                took = places[place]["seconds"][setting] if place in places else {}
                cells += (
                    f"{ratio(took, f'{name}, {kind}', maps.ALONE):.2f}" if took else ""
                    for kind in (maps.LIVE, maps.CACHED, maps.GIVEN)
                )
            rows.append(cells)
    alone = ", ".join(
        f"{1000 * median(took[maps.ALONE]):.1f} ms on {setting} ({PLACES[place]}, {found['precision']})"
        for place, found in places.items()
        for setting, took in found["seconds"].items()
    )
    size = max(found["size"] for found in places.values())
    text = (
        f"The median time of a training step over that of limbeck's `ce`: {alone}. Images: as above, "
        f"{size:,} of them. Pixels: unet to deeplab, {maps.SIDES[0]} x {maps.SIDES[1]}, {maps.CLASSES} "
        "classes, a quarter of the images and of the batch. Answers given for nothing, the same in each "
        "step, show what a method costs of itself; no cache makes a step faster than that. Files are read "
        "from the memory that the system keeps them in."
    )
    columns = [f"{kind}, {place}" for place in PLACES.values() for kind in ("live", "cached", "given")]
    title = "## 1. A step of methods that read maps"
    return table(title, ["method", "objective", "bytes an image", *columns], rows, text)


def whole_epochs(places: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for pair in PAIRS:
        by_place = {place: found["seconds"][pair] for place, found in places.items()}
        rows = []
        for name in dict.fromkeys(name for took in by_place.values() for name in took):
            cells = [name]
            for place in PLACES:
                took = by_place.get(place, {})
                if name in took:
                    cells.append(f"{places[place]['images'] / median(took[name]):,.0f}")
                    cells += (f"{speed(took, name, kind):.2f} x" for kind in (epochs.PLAIN, epochs.MODERN))
                else:
                    cells += ["", "", ""]
            rows.append(cells)
        counts = ", ".join(f"{found['images']:,} ({PLACES[place]})" for place, found in places.items())
        text = (
            f"An epoch of KD on images of CIFAR-100: {counts}. Plain and bf16 loop load images with their "
            "DataLoader's workers or without any, and the faster of the two, by its median, is what all are "
            "compared with. A cold epoch finds nothing in the cache and fills it; one that is half known "
            "finds half of each batch; a warm one finds all it asks for. What compiling takes is left out."
        )
        columns = [
            f"{what}, {place}"
            for place in PLACES.values()
            for what in ("images / s", "plain loop = 1", "bf16 loop = 1")
        ]
        lines += table(f"## 2. Epochs: {pair}", ["", *columns], rows, text)
        text = (
            f"Extrapolated: studies of {epochs.EPOCHS} epochs of {epochs.WHOLE:,} images, the filling of the "
            "cache included. The runs of a study share the cache. After e epochs a view is not known with "
            "probability (1 - 1/K)^e, of K views, and what an epoch takes is interpolated by that share, "
            "linearly between the warm, the half known and the cold one above. Nothing is compiled, and "
            "evaluation is left out on all sides."
        )
        columns = ["study", "views", "teacher asked", "limbeck, hours"]
        columns += ["plain loop, hours", "", "bf16 loop, hours", ""]
        for place, took in by_place.items():
            title = f"### Whole studies: {pair}, {PLACES[place]}"
            lines += table(title, columns, studies(took, places[place]["images"]), text)
    return lines


def speed(took: Mapping[str, Sequence[float]], name: str, kind: str) -> float:
    """How many times as fast a contender is as the plain loop of a kind."""
    return ratio(took, epochs.fastest(took, kind), name)


def studies(took: Mapping[str, Sequence[float]], images: int) -> Iterable[Sequence[str]]:
    """A line for each study and number of views, every figure extrapolated."""
    plain_loop, modern_loop = (epochs.fastest(took, kind) for kind in (epochs.PLAIN, epochs.MODERN))
    cold, half, warm, plain, modern = (
        epochs.WHOLE / images / 3600 * median(took[name])
        for name in (epochs.COLD, epochs.HALF, epochs.WARM, plain_loop, modern_loop)
    )
    for name, runs in epochs.STUDIES.items():
        count = epochs.EPOCHS * runs
        for views in epochs.VIEWS:
            ours = epochs.total(cold, half, warm, views, count)
            share = epochs.asked(views, count) / count
            yield (
                name,
                str(views),
                f"{100 * share:.1f} %",
                f"{ours:.1f}",
                f"{count * plain:.1f}",
                f"{count * plain / ours:.1f} x",
                f"{count * modern:.1f}",
                f"{count * modern / ours:.1f} x",
            )
