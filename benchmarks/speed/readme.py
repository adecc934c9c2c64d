"""README.md, from results.json."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import epochs
import machine
import step
from contest import ratio
from costs import accuracies, fillings, peaks, starts
from speeds import steps, whole_epochs
from tables import paragraph, table

STEP_TARGET = {f"{name}, cached" for name in ("kd", "icd", "mgd(kd)")} | {"lwkd"}, 1.05
EPOCH_TARGETS = {
    "resnet32x4 -> resnet8x4": {epochs.COLD: 5.0, epochs.WARM: 10.0},
    "resnet56 -> resnet20": {epochs.COLD: 2.0, epochs.WARM: 3.5},
}
START_TARGET = 5.0

Results = Mapping[str, Mapping[str, Any]]


def readme(results: Results) -> str:
    """The results as Markdown: which targets were reached, then every figure that has been measured."""
    parts = [
        ["# How fast limbeck is", ""],
        head(results),
        targets(results),
        *(write(results[name]) for name, write in SECTIONS.items() if name in results),
    ]
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def head(results: Results) -> list[str]:
    machines: dict[str, list[str]] = {}
    for piece, places in results.items():
        for found in places.values():
            machines.setdefault(machine.sentence(found["machine"]), []).append(piece)
    lines = [
        "Printed by `make bench`, that is `python benchmarks/speed/run.py`, from results.json.",
        *(f"Machine ({', '.join(dict.fromkeys(pieces))}): {name}." for name, pieces in machines.items()),
        "",
        *paragraph(
            "Every figure is a ratio inside one run: contenders take turns in one process, and the median of "
            "their repetitions counts. What is extrapolated is marked."
        ),
    ]
    if not any(place.startswith("cuda") for places in results.values() for place in places):
        lines += ["", "No GPU was to be had, so its columns are empty."]
    return [*lines, ""]


def targets(results: Results) -> list[str]:
    """What limbeck aims at on the CPU, what was measured, and whether that is enough."""
    rows = []
    if took := results.get("step", {}).get("cpu 64", {}).get("seconds"):
        names, most = STEP_TARGET
        for name in sorted(names):
            value = ratio(took, name, step.ALONE)
            rows.append(
                (f"step of {name}: at most {most} x the student alone", f"{value:.2f} x", value <= most)
            )
    if found := results.get("epochs", {}).get("cpu 64"):
        for pair, aims in EPOCH_TARGETS.items():
            for name, least in aims.items():
                value = ratio(found["seconds"][pair], epochs.PLAIN, name)
                what = f"{pair}, {name.removeprefix('limbeck, ')}: at least {least:g} x the plain loop"
                rows.append((what, f"{value:.2f} x", value >= least))
    for name, seconds in results.get("start", {}).get("cpu 64", {}).get("seconds", {}).items():
        value = statistics.median(seconds)
        what = f"`limbeck {name}` to its first step: under {START_TARGET:g} s"
        rows.append((what, f"{value:.1f} s", value < START_TARGET))
    return table(
        "## Targets",
        ["target", "measured", "reached"],
        [(what, value, "yes" if reached else "**no**") for what, value, reached in rows],
    )


SECTIONS = {
    "step": steps,
    "epochs": whole_epochs,
    "memory": peaks,
    "filling": fillings,
    "start": starts,
    "accuracy": accuracies,
}
