"""The tables of README.md on time: steps, epochs and whole studies."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import epochs
import step
from contest import ratio
from tables import PLACES, table


def steps(places: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, objective in step.OBJECTIVES.items():
        cells = [name, f"`{objective}`"]
        for place in PLACES:
            took = places[place]["seconds"] if place in places else {}
            for kind in (f"{name}, live", f"{name}, cached"):
                key = name if name in took and kind.endswith("cached") else kind
                cells.append(f"{ratio(took, key, step.ALONE):.2f}" if key in took else "")
        rows.append(cells)
    alone = ", ".join(
        f"{1000 * statistics.median(found['seconds'][step.ALONE]):.1f} ms ({PLACES[place]}, "
        f"{found['precision']})"
        for place, found in places.items()
    )
    text = (
        "The median time of a training step over that of the student alone: forward, cross-entropy, backward "
        "and optimiser of a bare PyTorch loop in limbeck's precision and memory format, without images to "
        f"make: {alone}. resnet32x4 -> resnet8x4, 32 x 32, {step.CLASSES} classes, random images. What reads "
        "stages has a live teacher only; what needs no teacher stands among the cached."
    )
    columns = [f"{kind}, {place}" for place in PLACES.values() for kind in ("live", "cached")]
    return table("## 1. A step", ["method", "objective", *columns], rows, text)


def whole_epochs(places: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for place, found in places.items():
        for pair, took in found["seconds"].items():
            rows = [
                (
                    name,
                    f"{found['images'] / statistics.median(seconds):,.0f}",
                    f"{ratio(took, epochs.PLAIN, name):.2f} x",
                    f"{ratio(took, epochs.MODERN, name):.2f} x",
                )
                for name, seconds in took.items()
            ]
            text = (
                f"KD on {found['images']:,} images of CIFAR-100, {len(took[epochs.PLAIN])} repetitions. The "
                f"plain loops' DataLoader has {found['workers']} workers. A cold epoch finds nothing in the "
                "cache and fills it; a warm one finds all it asks for."
            )
            title = f"## 2. Epochs: {pair}, {PLACES[place]}"
            columns = ["", "images / s", "speed, plain loop = 1", "speed, bf16 loop = 1"]
            lines += table(title, columns, rows, text)
            text = (
                f"Extrapolated: studies of {epochs.EPOCHS} epochs of {epochs.WHOLE:,} images, the filling of "
                "the cache included, from the epochs above and from how many different views so many epochs "
                "are expected to draw. The runs of a study share the cache. Evaluation is left out on all "
                "sides."
            )
            columns = [
                "study",
                "views",
                "teacher asked",
                "limbeck, hours",
                "plain loop, hours",
                "",
                "bf16 loop, hours",
                "",
            ]
            lines += table(f"### Whole studies: {pair}", columns, studies(took, found["images"]), text)
    return lines


def studies(took: Mapping[str, Sequence[float]], images: int) -> Iterable[Sequence[str]]:
    """A line for each study and number of views, every figure extrapolated."""
    whole = epochs.WHOLE / images / 3600
    cold, warm, plain, modern = (
        whole * statistics.median(took[name])
        for name in (epochs.COLD, epochs.WARM, epochs.PLAIN, epochs.MODERN)
    )
    for name, runs in epochs.STUDIES.items():
        count = epochs.EPOCHS * runs
        for views in epochs.VIEWS:
            ours = epochs.total(cold, warm, views, count)
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
