"""The report of a study: contenders compared over the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from limbeck.errors import LimbeckError
from limbeck.report.chart import Chart, Trace
from limbeck.report.page import Block, Section, page
from limbeck.report.run import METRICS, History, Result, data_facts, duration, percent
from limbeck.report.table import Cell, Table
from limbeck.studies.statistics import MIN_PAIRS, Summary, paired_difference, summarise


@dataclass(frozen=True)
class Contender:
    """One way to get a network, run with one or several seeds.

    Attributes:
        name: for the reader: "student distilled".
        results: the `result.json` of each run; no seed comes twice.
        histories: the `metrics.jsonl` lines of the same runs in the same order.
        ms_per_image: measured latency of the network, if it was.
    """

    name: str
    results: Sequence[Result]
    histories: Sequence[History]
    ms_per_image: float | None = None

    def __post_init__(self) -> None:
        if not self.results or len(self.results) != len(self.histories):
            raise LimbeckError(
                f"{self.name!r} needs a history for each result, and one at least: "
                f"it has {len(self.results)} results and {len(self.histories)} histories"
            )
        if any(not result["metrics"]["test"] for result in self.results):
            raise LimbeckError(
                f"{self.name!r} was not measured on a test split; contenders are compared on one"
            )
        if len(self.accuracy) < len(self.results):
            raise LimbeckError(f"{self.name!r} has two runs with one seed; each seed counts once")

    @property
    def accuracy(self) -> dict[int, float]:
        """Top-1 test accuracy by seed, in percent."""
        return {result["seed"]: 100 * result["metrics"]["test"]["top1"] for result in self.results}


def study_report(
    contenders: Sequence[Contender], *, title: str, lead: str, comparisons: Sequence[tuple[str, str]] = ()
) -> str:
    """The page that compares contenders.

    Args:
        contenders: in the order to show them.
        title: of the page.
        lead: what was asked and what came out, in a sentence or two.
        comparisons: pairs of names, a contender and what it is compared with.
    """
    outcome: list[Block] = [overview(contenders)]
    if comparisons:
        outcome.append(differences(contenders, comparisons))
    outcome.append(_every_seed(contenders))
    sections = [Section("Result", outcome)]
    if curves := [curve for contender in contenders if (curve := _curve(contender))]:
        label = METRICS["top1"].label
        caption = "Mean over the seeds; a band runs from the lowest to the highest seed."
        chart = Chart("Accuracy on the validation split", curves, "optimiser step", label, caption)
        sections.append(Section("Learning curves", [chart]))
    sections.append(Section("How it was measured", [_protocol(contenders)]))
    runs = [data_facts(result) for contender in contenders for result in contender.results]
    common = {name: list(dict.fromkeys(run[name] for run in runs)) for name in runs[0]}
    facts = {name: values[0] for name, values in common.items() if len(values) == 1}
    return page(title, lead, sections, facts)


def overview(contenders: Sequence[Contender]) -> Table:
    """What each contender reached: parameters, accuracy, agreement with the teacher, latency."""
    rows: list[list[Cell]] = []
    for contender in contenders:
        agreements = [run["agreement"] for run in contender.results if run["agreement"] is not None]
        rows.append(
            [
                contender.name,
                contender.results[0]["student"]["parameters"],
                _spread(summarise(list(contender.accuracy.values()))),
                percent(summarise(agreements).mean) if agreements else None,
                contender.ms_per_image,
                len(contender.results),
            ]
        )
    columns = ["contender", "parameters", "top-1 (%)", "agreement (%)", "ms an image", "seeds"]
    notes = (
        "Top-1: accuracy on the test split, mean ± standard deviation over the seeds. "
        "Agreement: same answer as the teacher."
    )
    return Table("What each contender reached", columns, rows, notes)


def differences(contenders: Sequence[Contender], comparisons: Sequence[tuple[str, str]]) -> Table:
    """Paired differences of test accuracy with 95 % Student-t intervals; a verdict where pairs suffice."""
    accuracy = {contender.name: contender.accuracy for contender in contenders}
    rows: list[list[Cell]] = []
    for treatment, baseline in comparisons:
        found = paired_difference(accuracy[treatment], accuracy[baseline])
        interval = found.interval and "{:+.1f} to {:+.1f}".format(*found.interval)
        verdict = found.verdict or f"no verdict from fewer than {MIN_PAIRS} pairs"
        rows.append([f"{treatment} minus {baseline}", f"{found.mean:+.1f}", interval, found.pairs, verdict])
    columns = ["difference", "points of accuracy", "95 % interval", "seeds", "verdict"]
    notes = (
        "Mean of the differences seed by seed, with a Student-t interval: it covers other seeds, not other "
        "test samples. The verdict is undecided where the interval holds 0."
    )
    return Table("Differences on the same seeds", columns, rows, notes)


def _spread(summary: Summary) -> str:
    return f"{summary.mean:.1f}" + ("" if summary.sd is None else f" ± {summary.sd:.1f}")


def _every_seed(contenders: Sequence[Contender]) -> Chart:
    traces = [
        Trace(it.name, [str(seed) for seed in it.accuracy], list(it.accuracy.values()), kind="points")
        for it in contenders
    ]
    return Chart("Every seed", traces, "seed", "test accuracy (%)")


def _curve(contender: Contender) -> Trace | None:
    """Mean validation accuracy with its range, at the steps that every seed has; None if there are none.

    Over optimiser steps: contenders may differ in what an epoch is.
    """
    seeds = [
        {line["step"]: 100 * line["validation"]["top1"] for line in history if line.get("validation")}
        for history in contender.histories
    ]
    steps = sorted(set.intersection(*(set(seed) for seed in seeds)))
    if not steps:
        return None
    values = [[seed[step] for seed in seeds] for step in steps]
    mean = [summarise(at).mean for at in values]
    if len(seeds) == 1:
        return Trace(contender.name, steps, mean)
    return Trace(contender.name, steps, mean, [min(at) for at in values], [max(at) for at in values])


def _protocol(contenders: Sequence[Contender]) -> Table:
    rows: list[list[Cell]] = []
    for contender in contenders:
        first = contender.results[0]
        seeds = ", ".join(str(seed) for seed in contender.accuracy)
        sources = list(dict.fromkeys(run["data"]["name"] for run in contender.results))
        seconds = summarise([run["seconds"] for run in contender.results]).mean
        rows.append(
            [
                contender.name,
                first["student"]["model"],
                first["objective"],
                sources[0] if len(sources) == 1 else f"{sources[0]} to {sources[-1]}",
                seeds,
                duration(seconds),
            ]
        )
    return Table(
        "How each was trained", ["contender", "model", "objective", "data", "seeds", "time a run"], rows
    )
