"""The page that compares contenders with one of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple
from statistics import fmean

from limbeck.report import comparison_measured
from limbeck.report.chart import Chart, Trace
from limbeck.report.comparison import comparison_table, difference
from limbeck.report.page import Block, Section, page
from limbeck.report.pareto import Offer, accuracy_by_cost
from limbeck.report.study import COMPARED, Contender, background, common_facts, every_seed
from limbeck.studies.statistics import MIN_PAIRS, summarize


def comparison_report(
    contenders: Sequence[Contender],
    baseline: str | None,
    metrics: Sequence[str],
    notes: Sequence[str] = (),
) -> str:
    """The page of a comparison.

    Args:
        contenders, baseline, metrics: as in `comparison_table`.
        notes: what the reader should know besides.
    """
    result: list[Block] = [comparison_table(contenders, baseline, metrics), *notes, every_seed(contenders)]
    if baseline and len(contenders) > 1:
        result += [chart for name in metrics if (chart := _differences(contenders, baseline, name))]
    sections = [Section("Result", result)]
    offers, cost = _offers(contenders)
    if len(offers) > 1:
        interval = "Bars are the standard deviation over the seeds."
        sections.append(Section("Cost", [accuracy_by_cost(offers, cost, interval)]))
    students = {it.results[0].student.model for it in contenders}
    what = students.pop() if len(students) == 1 else f"{len(students)} students"
    title = f"{len(contenders)} ways to train {what}" if len(contenders) > 1 else contenders[0].name
    facts = common_facts(contenders)
    sections += [*comparison_measured.sections(contenders), *background(contenders)]
    return page(title, _lead(contenders, baseline), sections, facts)


def _lead(contenders: Sequence[Contender], baseline: str | None) -> str:
    means = {it.name: fmean(it.accuracy.values()) for it in contenders}
    best = max(contenders, key=lambda it: means[it.name])
    of = f"The most accurate of {len(contenders)} is " if len(contenders) > 1 else ""
    seeds = "from one seed" if len(best.results) == 1 else f"the mean of {len(best.results)} seeds"
    text = f"{of}{best.name}: right on {means[best.name]:.2f} % of the test samples, {seeds}"
    found = difference(best, baseline, contenders, "top1") if baseline else None
    if found:
        text += f". That is {found.mean:+.2f} points against {baseline}"
        if found.verdict and found.interval:
            text += ", with a 95 % interval of {:+.2f} to {:+.2f}".format(*found.interval)
        else:
            text += f", without a verdict: {found.pairs} of the {MIN_PAIRS} pairs of seeds that it takes"
    return text.replace(" %", "\N{NO-BREAK SPACE}%") + "."


def _differences(contenders: Sequence[Contender], baseline: str, metric: str) -> Chart | None:
    """The differences to the baseline as points with their intervals, a row for each contender."""
    traces = []
    for it in contenders:
        if found := difference(it, baseline, contenders, metric):
            low, high = ([found.interval[0]], [found.interval[1]]) if found.interval else (None, None)
            traces.append(Trace(it.name, [it.name], [found.mean], low, high, "points"))
    if not traces:
        return None
    label = COMPARED[metric].label
    title = f"{label.split(' (')[0].capitalize()} minus {baseline}"
    caption = "Bars are 95 % Student-t intervals over paired seeds; one that crosses 0 decides nothing."
    return Chart(title, traces, "run", f"difference in {label}", caption, horizontal=True)


def _offers(contenders: Sequence[Contender]) -> tuple[list[Offer], str]:
    """Each contender and the teachers with what they cost, and what that is: multiply-adds where known."""
    measured = all(it.evaluations for it in contenders)
    offers = []
    teachers: dict[str, tuple[str, float, dict[str, float]]] = {}  # name, cost and accuracy by weights
    for it in contenders:
        first = it.results[0]
        costs: dict[str, float] = {"student": first.student.parameters}
        if first.teacher:
            costs["teacher"] = first.teacher.parameters
        if measured:
            costs = {role: each.cost.multiply_adds for role, each in it.evaluations[0].networks.items()}
        offers.append(_offer(it.name, costs["student"], it.accuracy.values()))
        for teacher in (result.teacher for result in it.results if "teacher" in costs):
            if teacher and teacher.metrics:
                weights = teacher.weights or teacher.model
                made = teacher.recipe or weights
                alike = teachers.setdefault(made, (teacher.model, costs["teacher"], {}))
                alike[2][weights] = 100 * teacher.metrics["top1"]
    for name, spent, accuracy in teachers.values():
        shown = "teacher" if len(teachers) == 1 else f"teacher {name}"
        offers.append(_offer(shown, spent, accuracy.values()))
    return offers, "multiply-adds a sample" if measured else "parameters"


def _offer(name: str, cost: float, accuracy: Iterable[float]) -> Offer:
    mean, sd, _ = astuple(summarize(list(accuracy)))
    return Offer(name, cost, mean, *((None, None) if sd is None else (mean - sd, mean + sd)))
