"""The page that compares contenders with one of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple
from statistics import fmean

from limbeck.report import comparison_measured
from limbeck.report.chart import Chart, Trace
from limbeck.report.comparison import (
    comparison_table,
    difference,
    shown_digits,
    training_table,
    unequal_steps,
    verdict,
    withheld,
)
from limbeck.report.page import Block, Section, page
from limbeck.report.pareto import Offer, metric_by_cost
from limbeck.report.study import background, common_facts, every_seed
from limbeck.studies.compare import Comparison
from limbeck.studies.contender import Contender
from limbeck.studies.measures import Measure
from limbeck.studies.statistics import MIN_PAIRS, summarize
from limbeck.tasks.wording import unit_of_difference


def comparison_report(found: Comparison, measures: Sequence[Measure]) -> str:
    """The page of a comparison.

    Args:
        found: what is compared.
        measures: what the contenders are compared by; the page leads with the first.
    """
    contenders, measure = found.contenders, measures[0]
    result: list[Block] = [
        comparison_table(found, measures),
        *found.notes,
        training_table(found),
        every_seed(contenders, measure),
    ]
    if found.baseline and len(contenders) > 1:
        result += [chart for each in measures if (chart := _differences(found, each))]
    sections = [Section("Result", result)]
    offers, cost = _offers(contenders, measure)
    if len(offers) > 1:
        interval = "Bars are the standard deviation over the seeds."
        chart = metric_by_cost(offers, measure.metric, cost, interval, measure.axis)
        sections.append(Section("Cost", [chart]))
    students = {it.results[0].student.model for it in contenders}
    what = students.pop() if len(students) == 1 else f"{len(students)} students"
    title = f"{len(contenders)} ways to train {what}" if len(contenders) > 1 else contenders[0].name
    facts = common_facts(contenders)
    sections += [*comparison_measured.sections(contenders), *background(contenders)]
    return page(title, _lead(found, measure), sections, facts)


def _lead(found: Comparison, measure: Measure) -> str:
    """What was reached, and how it compares with the baseline."""
    contenders, metric = found.contenders, measure.metric
    means = {it.name: fmean(values.values()) for it in contenders if (values := it.values(measure))}
    measured = [it for it in contenders if it.name in means]
    best = measured[0]
    for it in measured:
        best = it if metric.better(means[it.name], means[best.name]) else best
    places = shown_digits(measure, contenders)
    seeds = len(best.values(measure))
    text = f"{best.name} has the best {measure.label} of {len(contenders)}"
    if len(contenders) == 1:
        text = f"The {measure.label} of {best.name} is"
    text += f": {means[best.name]:.{places}f} {metric.unit}".rstrip()
    text += ", from one seed" if seeds == 1 else f", the mean of {seeds} seeds"
    its = difference(best, found, measure)
    if its:
        unit = unit_of_difference(metric)
        text += f". That is {its.mean:+.{places}f} {unit}".rstrip() + f" against {found.baseline}"
        if verdict(its, best, found, measure) and its.interval:
            text += ", with a 95 % interval of {:+.{d}f} to {:+.{d}f}".format(*its.interval, d=places)
        elif not withheld(best, found):
            pairs = "is 1" if its.pairs == 1 else f"are {its.pairs}"
            text += f". There is no verdict yet: it needs {MIN_PAIRS} pairs of seeds, and there {pairs}"
    text = text.replace(" %", "\N{NO-BREAK SPACE}%") + "."
    return " ".join([text, *unequal_steps(found)])


def _differences(found: Comparison, measure: Measure) -> Chart | None:
    """The differences to the baseline as points with their intervals, a row for each contender."""
    traces = []
    for it in found.contenders:
        if its := difference(it, found, measure):
            low, high = ([its.interval[0]], [its.interval[1]]) if its.interval else (None, None)
            traces.append(Trace(it.name, [it.name], [its.mean], low, high, "points"))
    if not traces:
        return None
    title = f"{measure.split.capitalize()} {measure.metric.label} minus {found.baseline}"
    caption = "Bars are 95 % Student-t intervals over paired seeds; one that crosses 0 decides nothing."
    if not measure.metric.higher:
        caption += " Lower is better: left of 0 is an improvement."
    unit = unit_of_difference(measure.metric)
    label = f"difference in {measure.label}" + (f" ({unit})" if unit else "")
    return Chart(title, traces, "run", label, caption, horizontal=True)


def _offers(contenders: Sequence[Contender], measure: Measure) -> tuple[list[Offer], str]:
    """Each contender and the teachers with what they cost, and what that is: multiply-adds where known."""
    measured = all(it.evaluations for it in contenders)
    offers = []
    teachers: dict[str, tuple[str, float, dict[str, float]]] = {}  # name, cost and metric by weights
    for it in contenders:
        first = it.results[0]
        costs = {"student": first.student.parameters}
        if first.teacher and first.teacher.parameters is not None:
            costs["teacher"] = first.teacher.parameters
        if measured:
            costs = {str(role): each.cost.multiply_adds for role, each in it.evaluations[0].networks.items()}
        if values := it.values(measure):
            offers.append(_offer(it.name, costs["student"], values.values()))
        for teacher in (result.teacher for result in it.results if "teacher" in costs):
            metrics = (teacher.metrics or {}) if teacher and measure.split == "test" else {}
            if teacher and measure.metric.name in metrics:
                weights = teacher.weights or teacher.model
                made = teacher.recipe or weights
                alike = teachers.setdefault(made, (teacher.model, costs["teacher"], {}))
                alike[2][weights] = measure.metric.scale * metrics[measure.metric.name]
    for name, spent, values_of in teachers.values():
        shown = "teacher" if len(teachers) == 1 else f"teacher {name}"
        offers.append(_offer(shown, spent, values_of.values()))
    return offers, "multiply-adds a sample" if measured else "parameters"


def _offer(name: str, cost: float, values: Iterable[float]) -> Offer:
    mean, sd, _ = astuple(summarize(list(values)))
    return Offer(name, cost, mean, *((None, None) if sd is None else (mean - sd, mean + sd)))
