"""The report of a study: contenders compared over the same seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

from limbeck.durations import duration
from limbeck.report.chart import Chart, Trace, over_seeds
from limbeck.report.page import Block, Section, page
from limbeck.report.run import data_facts
from limbeck.report.table import Table, spread
from limbeck.studies.contender import Contender, common_task
from limbeck.studies.measures import AGREEMENT, Measure
from limbeck.studies.statistics import MIN_PAIRS, paired_difference, summarize
from limbeck.tasks import Metric
from limbeck.tasks.wording import Cell, axis, digits, heading, unit_of_difference


def study_report(
    contenders: Sequence[Contender], *, title: str, lead: str, comparisons: Sequence[tuple[str, str]] = ()
) -> str:
    """The page that compares contenders by their task's first metric on the test split.

    Args:
        contenders: in the order to show them.
        title: title of the page.
        lead: what was asked and what came out, in a sentence or two.
        comparisons: pairs of names, a contender and what it is compared with.
    """
    outcome: list[Block] = [overview(contenders)]
    if comparisons:
        outcome.append(differences(contenders, comparisons))
    outcome.append(every_seed(contenders, Measure(common_task(contenders).primary)))
    sections = [Section("Result", outcome)]
    return page(title, lead, [*sections, *background(contenders)], common_facts(contenders))


def background(contenders: Sequence[Contender]) -> list[Section]:
    """The learning curves, and how each contender was trained."""
    curves: list[Block] = []
    metric = common_task(contenders).primary
    if drawn := _curves(contenders, partial(_validation, metric)):
        caption = "Mean over the seeds; a band runs from the lowest to the highest seed."
        title = f"{heading(metric)} on the validation split"
        curves.append(Chart(title, drawn, "optimizer step", axis(metric), caption))
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
    """What each contender reached: parameters, primary metric, agreement with the teacher, latency."""
    measure, agreement = Measure(common_task(contenders).primary), Measure(AGREEMENT)
    metric = measure.metric
    rows: list[list[Cell]] = []
    for contender in contenders:
        agreements = contender.values(agreement).values()
        rows.append(
            [
                contender.name,
                contender.results[0].student.parameters,
                spread(contender.values(measure).values(), _digits(measure, contenders)),
                f"{fmean(agreements):.1f}" if agreements else None,
                contender.ms_per_sample,
                len(contender.results),
            ]
        )
    columns = ["contender", "parameters", axis(metric), "agreement (%)", "ms a sample", "seeds"]
    notes = (
        f"{heading(metric)}: on the test split, mean ± standard deviation over the seeds. "
        "Agreement: same answer as the teacher."
    )
    return Table("What each contender reached", columns, rows, notes)


def differences(contenders: Sequence[Contender], comparisons: Sequence[tuple[str, str]]) -> Table:
    """Paired differences of the primary metric, with 95 % Student-t intervals and verdicts."""
    measure = Measure(common_task(contenders).primary)
    values = {contender.name: contender.values(measure) for contender in contenders}
    places = _digits(measure, contenders)
    rows: list[list[Cell]] = []
    for treatment, baseline in comparisons:
        found = paired_difference(values[treatment], values[baseline])
        interval = found.interval and "{:+.{d}f} to {:+.{d}f}".format(*found.interval, d=places)
        verdict = found.verdict or f"no verdict from fewer than {MIN_PAIRS} pairs"
        rows.append(
            [f"{treatment} minus {baseline}", f"{found.mean:+.{places}f}", interval, found.pairs, verdict]
        )
    unit = unit_of_difference(measure.metric)
    what = f"{unit} of {measure.metric.label}" if unit else measure.metric.label
    columns = ["difference", what, "95 % interval", "seeds", "verdict"]
    notes = (
        "Mean of the differences seed by seed, with a Student-t interval: it covers other seeds, not other "
        "test samples. The verdict is undecided where the interval holds 0."
    )
    return Table("Differences on the same seeds", columns, rows, notes)


def every_seed(contenders: Sequence[Contender], measure: Measure) -> Chart:
    """What every contender reached at every seed."""
    traces = []
    for it in contenders:
        values = it.values(measure)
        traces.append(Trace(it.name, [str(seed) for seed in values], list(values.values()), kind="points"))
    return Chart("Every seed", traces, "seed", measure.axis)


def _digits(measure: Measure, contenders: Sequence[Contender]) -> int:
    """The digits that suit the values of all contenders."""
    scale = measure.metric.scale
    return digits(
        measure.metric,
        [value / scale for it in contenders for value in it.values(measure).values()],
        percent=1,
    )


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


def _validation(metric: Metric, line: Mapping[str, Any]) -> float | None:
    found = (line.get("validation") or {}).get(metric.name)
    return None if found is None else metric.scale * float(found)


def _term(name: str, line: Mapping[str, Any]) -> float | None:
    return line["terms"].get(name) if line["phase"] == "training" else None


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
            "seeds": ", ".join(map(str, it.seeds)),
            "time a run": duration(summarize([run.seconds for run in it.results]).mean),
        }
        rows.append([row[column] for column in columns])
    return Table("How each was trained", columns, rows)
