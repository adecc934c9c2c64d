"""README.md of what was measured."""

from __future__ import annotations

import platform
import textwrap
from collections.abc import Mapping
from typing import Any

import torch

KILLS = """Runs of a few seconds on 8 x 8 digits (`on_policy`: a language model on stories) are killed
with SIGKILL at random moments and resumed by the same command, until they are over: before and after
steps, before lines of the history and system calls in the run's directory, and in the middle of
checkpoints and of answers for the cache. A kill is survived if the run ends with the weights, history,
result, state and files of the undisturbed run, to the bit. A resumption costs what the killed runs took
longer than the undisturbed one, by kill, in seconds of a processor: the start, without the import of
libraries, and the steps since the last checkpoint, of which there is one every 4 steps."""

SAVES = """What writing checkpoints, with flushing them to the disk, takes of the rest of the training's
time. By default epochs that would have it take more than 2 % end without one."""

GRADIENTS = """The largest difference between the gradient of two gloo processes and that of one with the
same global batch, over the largest gradient, in float64 and without batch norm, for each of the {count}
methods, phases included. Those that serve every task learn from small images, the others in a task of
theirs from two steps in which the processes have different numbers of pixels, objects or tokens."""

FUZZING = """What a coverage-guided fuzzer (atheris) found in readers of texts and files: whatever they
raise but a LimbeckError is a finding."""


def readme(results: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# What it costs a run to be killed, saved and shared",
        "",
        "Printed by `make bench-reliability`, `python -m benchmarks.reliability.run`, from results.json.",
        f"Machine: {platform.machine()}, 1 thread, torch {torch.__version__}.",
    ]
    if killed := results.get("killed"):
        lines += ["", "## Kills", "", _filled(KILLS), "", *_kills(killed)]
    if saved := results.get("saved"):
        lines += ["", "## Checkpoints", "", _filled(SAVES), "", *_saves(saved)]
    if found := results.get("gradients"):
        lines += ["", "## Two processes", "", _filled(GRADIENTS.format(count=len(found))), ""]
        lines += ["| method | difference |", "|---|---:|"]
        lines += [f"| `{name}` | {each['difference']:.1e} |" for name, each in sorted(found.items())]
    if fuzzed := results.get("fuzzed"):
        lines += ["", "## Fuzzing", "", _filled(FUZZING), "", "| reader | seconds | executions | finding |"]
        lines += ["|---|---:|---:|---|"]
        lines += [
            f"| {name} | {found['seconds']} | {found['executions']:,} | {found['finding'] or 'none'} |"
            for name, found in fuzzed.items()
        ]
    return "\n".join(lines) + "\n"


def _filled(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 118)


def _kills(killed: Mapping[str, Any]) -> list[str]:
    kinds = sorted({kind for found in killed.values() for kind in found["in"]})
    lines = [
        f"| method | survived | {' | '.join(kinds)} | a resumption, s | undisturbed, s |",
        f"|---|---:|{'---:|' * len(kinds)}---:|---:|",
    ]
    for name, found in killed.items():
        counts = " | ".join(str(found["in"].get(kind, 0)) for kind in kinds)
        lines.append(
            f"| {name} | {found['survived']} of {found['kills']} | {counts} | {found['resume_seconds']:.2f} "
            f"| {found['run_seconds']:.2f} |"
        )
    return lines


def _saves(saved: Mapping[str, Any]) -> list[str]:
    lines = ["| training | epochs | checkpoints | one of them, ms | all, % |", "|---|---:|---:|---:|---:|"]
    for name, found in saved.items():
        lines.append(
            f"| {name} | {found['epochs']} | {found['checkpoints']} | {found['milliseconds']:.1f} "
            f"| {found['percent']:.2f} |"
        )
    return lines
