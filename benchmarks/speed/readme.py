"""README.md, from results.json."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.speed import epochs, machine, maps, step
from benchmarks.speed.contest import ratio
from benchmarks.speed.costs import accuracies, fillings, peaks, starts, whole_run
from benchmarks.speed.speeds import mapped, speed, steps, whole_epochs
from benchmarks.speed.tables import paragraph, table

STEP_TARGET = {f"{name}, cached" for name in ("kd", "icd", "mgd(kd)")} | {"lwkd"}, 1.05
MAPS_TARGET = {"at", "fitnet", "reviewkd", "kd, pixels"}, 1.10
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
        *(
            write(results.get(name, {}))
            for name, write in SECTIONS.items()
            if name in results or name == "whole"  # which says so where it was not measured
        ),
    ]
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def head(results: Results) -> list[str]:
    machines: dict[str, list[str]] = {}
    for piece, places in results.items():
        for found in places.values():
            machines.setdefault(machine.sentence(found["machine"]), []).append(piece)
    lines = [
        "Printed by `make bench`, that is `python -m benchmarks.speed`, from results.json.",
        *(f"Machine ({', '.join(dict.fromkeys(pieces))}): {name}." for name, pieces in machines.items()),
        "",
        *paragraph(
            "Figures 1 and 2 are ratios inside one run: contenders take turns in one process, and the median "
            "of their repetitions counts. Images per second, hours, memory, the filling of a cache, the "
            "start and the run from end to end are absolute, and hold for this machine alone. What is "
            "extrapolated is marked."
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
            value = ratio(took, name, step.reference(name.removesuffix(", cached")))
            rows.append(
                (f"step of {name}: at most {most} x the student alone", f"{value:.2f} x", value <= most)
            )
    if found := results.get("maps", {}).get("cpu 64"):
        names, most = MAPS_TARGET
        for took in found["seconds"].values():
            for name in sorted(each for each in names if f"{each}, {maps.CACHED}" in took):
                value, own = (
                    ratio(took, f"{name}, {kind}", maps.ALONE) for kind in (maps.CACHED, maps.GIVEN)
                )
                what = f"step of {name}, cached: at most {most:.2f} x ce"
                rows.append((what, f"{value:.2f} x, of which {own:.2f} x its own work", value <= most))
    missed = []
    if found := results.get("epochs", {}).get("cpu 64"):
        for pair, aims in EPOCH_TARGETS.items():
            for name, least in aims.items():
                value = speed(found["seconds"][pair], name, epochs.PLAIN)
                missed += [pair] if value < least else []
                what = f"{pair}, {name.removeprefix('limbeck, ')}: at least {least:g} x the plain loop"
                rows.append((what, f"{value:.2f} x", value >= least))
    for name, seconds in results.get("start", {}).get("cpu 64", {}).get("seconds", {}).items():
        value = statistics.median(seconds)
        what = f"`limbeck {name}` to its first step: under {START_TARGET:g} s"
        rows.append((what, f"{value:.1f} s", value < START_TARGET))
    lines = table(
        "## Targets",
        ["target", "measured", "reached"],
        [(what, value, "yes" if reached else "**no**") for what, value, reached in rows],
    )
    return [*lines, *paragraph(why(found, list(dict.fromkeys(missed)))), ""] if found and missed else lines


def why(found: Mapping[str, Any], missed: Sequence[str]) -> str:
    """What keeps the epochs of some pairs from their targets."""
    ceilings = "; ".join(
        f"{pair}: {speed(found['seconds'][pair], epochs.ALONE, epochs.PLAIN):.1f} x for the student alone, "
        f"{speed(found['seconds'][pair], epochs.LIVE, epochs.PLAIN):.1f} x with the teacher live"
        for pair in missed
    )
    amx = "" if "amx_bf16" in found["machine"]["flags"] else "This processor has no AMX. "
    return (
        f"Why epochs are not faster: {amx}No warm epoch can be faster than limbeck's own precision makes the "
        "student alone, and no cold one than the student beside its teacher, uncompiled. Over the plain loop "
        f"that is {ceilings}."
    )


SECTIONS = {
    "step": steps,
    "maps": mapped,
    "epochs": whole_epochs,
    "memory": peaks,
    "filling": fillings,
    "start": starts,
    "whole": whole_run,
    "accuracy": accuracies,
}
