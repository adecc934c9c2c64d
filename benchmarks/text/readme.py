"""The page of the benchmark of texts."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Mapping
from typing import Any

import torch

from limbeck.studies import paired_difference, summarize

TITLES = {
    "few": "10 labels a class, and the other training questions without a label",
    "all": "All labels",
}


def readme(results: Mapping[str, Any]) -> str:
    """The results as Markdown.

    Args:
        results: figures by setting, student, method and seed.
    """
    lines = [
        "# Small text classifiers",
        "",
        "Printed by `make bench-text`, that is `python -m benchmarks.text.run --encoder FOLDER`, from",
        f"results.json. Machine: {platform.machine()}, 1 thread, torch {torch.__version__}.",
        "",
        "Banking77 has 77 intents, 10,003 training questions, of which a tenth is held out for validation,",
        "and 3,080 for test. Top-1 in %, mean and standard deviation over the seeds, and the mean difference",
        "on the same seeds to the student alone in as many steps, with its 95 % Student-t interval; where",
        "most questions have no label, what needs one (alone, DKD, LW-KD) sees the others more often.",
        "Agreement is the share of test questions that student and teacher give one class. The last epoch",
        "is reported, and nothing was chosen on the test split.",
        "",
        "The teacher, all-MiniLM-L6-v2 fine-tuned on all labels, has",
        f"{results['teacher']['parameters']:,} parameters and gets {results['teacher']['top1']:.1f} % of the",
        f"test questions right, {results['teacher']['validation']:.1f} % of those held out.",
    ]
    for setting in (each for each in TITLES if each in results):
        lines += ["", f"## {TITLES[setting]}"]
        for student, by_method in results[setting].items():
            lines += ["", *table(student, by_method)]
    lines += ["", "## What was aimed at", "", *aims(results)]
    return "\n".join(lines) + "\n"


def table(student: str, by_method: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """The methods of one student, a row each."""
    some = next(iter(next(iter(by_method.values())).values()))
    every = [each for by_seed in by_method.values() for each in by_seed.values()]
    fast = next((each for each in every if "student_throughput" in each), None)
    rows = [
        f"### {student}, {some['parameters']:,} parameters",
        "",
        f"`{some['of']['model']}`, {some['of']['epochs']} epochs"
        + (
            f"; {fast['student_throughput']:,.0f} questions a second in large batches, "
            f"{fast['student_throughput'] / fast['teacher_throughput']:.1f} times as many as the teacher."
            if fast
            else "."
        ),
        "",
        *rises(by_method),
        "| | validation | test | - alone | agreement | seeds |",
        "|---|---|---|---|---|---|",
    ]
    alone = values(by_method.get("alone", {}), "top1")
    for method, by_seed in by_method.items():
        test, agreed = values(by_seed, "top1"), values(by_seed, "agreement")
        cells = [
            method,
            str(summarize([*values(by_seed, "validation").values()])),
            str(summarize([*test.values()])),
            str(paired_difference(test, alone)) if method != "alone" and alone else "",
            str(summarize([*agreed.values()])) if agreed else "",
            str(len(test)),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def rises(by_method: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """A sentence on how near their plateau the student alone and with KD are."""
    gains = []
    for name, method in {"alone": "alone", "with KD": "KD"}.items():
        if kept := by_method.get(method):
            gain = statistics.fmean(each["validation"] - each["halfway"] for each in kept.values())
            gains.append(f"{gain:+.1f} points {name}")
    return [f"On the validation split the second half of the epochs adds {' and '.join(gains)}.", ""]


def aims(results: Mapping[str, Any]) -> list[str]:
    """What the benchmark was to show, and whether it does: a line for each student, and two for all."""
    teacher = results["teacher"]
    lines = [f"- A teacher that gets 92 % right: {teacher['top1']:.1f} %."]
    for student, by_method in results.get("all", {}).items():
        kept = by_method.get("KD", {})
        agreed = values(kept, "agreement")
        if agreed:
            its = next(iter(kept.values()))
            fast = next(each for each in kept.values() if "student_throughput" in each)
            lines.append(
                "- A student of at most a tenth of the parameters, with ten times the throughput and 95 % of "
                f"agreement: {student} with KD has 1/{teacher['parameters'] / its['parameters']:.0f} of "
                f"them, {fast['student_throughput'] / fast['teacher_throughput']:.1f} times the throughput "
                f"and {summarize([*agreed.values()])} % agreement."
            )
    for student, by_method in results.get("few", {}).items():
        alone, taught = (values(by_method.get(method, {}), "top1") for method in ("alone", "KD"))
        if alone and taught:
            lines.append(
                f"- KD above the student alone at {TITLES['few'].split(' a class')[0]} a class: {student} "
                f"{paired_difference(taught, alone)} points."
            )
    return lines


def values(by_seed: Mapping[str, Mapping[str, Any]], figure: str) -> dict[int, float]:
    """One figure by seed, of the seeds that have it."""
    return {int(seed): found[figure] for seed, found in by_seed.items() if found[figure] is not None}
