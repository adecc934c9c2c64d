"""The report of a study: contenders compared over the same seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

from limbeck.errors import LimbeckError
from limbeck.evaluation.results import Evaluation
from limbeck.report.chart import Chart, Trace, over_seeds
from limbeck.report.page import Block, Section, page
from limbeck.report.run import METRICS, History, Metric, data_facts
from limbeck.report.table import Cell, Table, duration, spread
from limbeck.studies.statistics import MIN_PAIRS, paired_difference, summarize

if TYPE_CHECKING:
    from limbeck.runs.result import Result

COMPARED = {**METRICS, "agreement": Metric("agreement with the teacher (%)", 100, 2)}
"""What contenders can be compared by."""


@dataclass(frozen=True)
class Contender:
    """One way to get a network, run with one or several seeds.

    Attributes:
        name: for the reader: "student distilled".
        results: the `result.json` of each run; no seed comes twice.
        histories: the `metrics.jsonl` lines of the same runs in the same order.
        ms_per_image: measured latency of the network, if it was.
        evaluations: the `evaluation.json` of the runs that have one.
    """

    name: str
    results: Sequence[Result]
    histories: Sequence[History]
    ms_per_image: float | None = None
    evaluations: Sequence[Evaluation] = ()

    def __post_init__(self) -> None:
        if not self.results or len(self.results) != len(self.histories):
            raise LimbeckError(
                f"{self.name!r} needs a history for each result, and one at least: "
                f"it has {len(self.results)} results and {len(self.histories)} histories"
            )
        if any(not result.metrics.test for result in self.results):
            raise LimbeckError(
                f"{self.name!r} was not measured on a test split; contenders are compared on one"
            )
        if len(self.accuracy) < len(self.results):
            raise LimbeckError(f"{self.name!r} has two runs with one seed; each seed counts once")

    @property
    def accuracy(self) -> dict[int, float]:
        """Top-1 test accuracy by seed, in percent."""
        return self.values("top1")

    def values(self, metric: str) -> dict[int, float]:
        """A metric of `COMPARED` on the test split by seed, in the unit it is shown in; empty without it."""
        found = {
            result.seed: result.agreement
            if metric == "agreement"
            else (result.metrics.test or {}).get(metric)
            for result in self.results
        }
        scale = COMPARED[metric].scale
        return {seed: scale * value for seed, value in found.items() if value is not None}


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
    outcome.append(every_seed(contenders))
    sections = [Section("Result", outcome)]
    return page(title, lead, [*sections, *background(contenders)], common_facts(contenders))


def background(contenders: Sequence[Contender]) -> list[Section]:
    """The learning curves, and how each contender was trained."""
    curves: list[Block] = []
    if drawn := _curves(contenders, _validation):
        caption = "Mean over the seeds; a band runs from the lowest to the highest seed."
        title, label = "Accuracy on the validation split", METRICS["top1"].label
        curves.append(Chart(title, drawn, "optimizer step", label, caption))
    terms = dict.fromkeys(name for it in contenders for line in it.histories[0] for name in line["terms"])
    objectives = {it.results[0].objective for it in contenders}
    for term in terms:
        drawn = _curves(contenders, partial(_term, term))
        # A total of one objective is not that of another, and a term of one contender is on its runs' pages.
        if len(drawn) > 1 and (term != "total" or len(objectives) == 1):
            curves.append(Chart(f"Term {term}", drawn, "optimizer step", "mean of the epoch"))
    sections = [Section("Learning curves", curves)] if curves else []
    return [*sections, Section("How it was measured", [_protocol(contenders)])]


def common_facts(contenders: Sequence[Contender]) -> dict[str, str]:
    """What all runs share of their data, for the head of a page."""
    first, *others = (data_facts(result) for contender in contenders for result in contender.results)
    return {name: value for name, value in first.items() if all(it.get(name) == value for it in others)}


def overview(contenders: Sequence[Contender]) -> Table:
    """What each contender reached: parameters, accuracy, agreement with the teacher, latency."""
    rows: list[list[Cell]] = []
    for contender in contenders:
        agreements = contender.values("agreement").values()
        rows.append(
            [
                contender.name,
                contender.results[0].student.parameters,
                spread(contender.accuracy.values(), 1),
                f"{fmean(agreements):.1f}" if agreements else None,
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


def every_seed(contenders: Sequence[Contender]) -> Chart:
    """Test accuracy of every contender at every seed."""
    traces = [
        Trace(it.name, [str(seed) for seed in it.accuracy], list(it.accuracy.values()), kind="points")
        for it in contenders
    ]
    return Chart("Every seed", traces, "seed", "test accuracy (%)")


def _curves(
    contenders: Sequence[Contender], value: Callable[[Mapping[str, Any]], float | None]
) -> list[Trace]:
    """Curves of what is read off a line of the history, for contenders with steps that every seed has.

    Over optimizer steps: contenders may differ in what an epoch is.
    """
    curves = []
    for it in contenders:
        seeds = [
            {line["step"]: at for line in history if (at := value(line)) is not None}
            for history in it.histories
        ]
        if steps := sorted(set.intersection(*(set(seed) for seed in seeds))):
            curves.append(over_seeds(it.name, steps, [[seed[step] for step in steps] for seed in seeds]))
    return curves


def _validation(line: Mapping[str, Any]) -> float | None:
    found = line.get("validation")
    return 100 * found["top1"] if found else None


def _term(name: str, line: Mapping[str, Any]) -> float | None:
    return line["terms"].get(name) if line["stage"] == "training" else None


def _protocol(contenders: Sequence[Contender]) -> Table:
    by_objective = all(it.name == it.results[0].objective for it in contenders)
    columns = ["contender", "model", *([] if by_objective else ["objective"]), "data", "seeds", "time a run"]
    rows: list[list[Cell]] = []
    for it in contenders:
        first = it.results[0]
        sources = list(dict.fromkeys(run.data.name for run in it.results))
        row: dict[str, Cell] = {
            "contender": it.name,
            "objective": first.objective,
            "model": first.student.model,
            "data": sources[0] if len(sources) == 1 else f"{sources[0]} to {sources[-1]}",
            "seeds": ", ".join(map(str, it.accuracy)),
            "time a run": duration(summarize([run.seconds for run in it.results]).mean),
        }
        rows.append([row[column] for column in columns])
    return Table("How each was trained", columns, rows)
