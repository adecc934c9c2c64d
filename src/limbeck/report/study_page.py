"""The page of a study: what came out for each pair, with plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from limbeck.report.chart import Chart, Trace
from limbeck.report.page import Block, Section, page
from limbeck.report.study_runs import runs_of
from limbeck.report.study_tables import cost_table, noise_table, outcome_table, rank_table, transfer_table
from limbeck.studies.outcome import Group
from limbeck.studies.study import Study
from limbeck.tasks.wording import axis, unit_of_difference


def study_page(study: Study, groups: Sequence[Group], pages: Mapping[str, str] | None = None) -> str:
    """The page as HTML.

    Args:
        study: what was asked.
        groups: what came of each pair.
        pages: links to the pages of runs, by the keys of their cells (`limbeck.report.study_runs.pages_of`).
    """
    sections = [
        Section(group.title, [*blocks_of(study, group), *runs_of(group, pages or {})]) for group in groups
    ]
    if (ranked := rank_table(study, groups)) is not None:
        sections.append(Section("Over all pairs", [ranked]))
    compared = [each for group in groups for each in group.compared.values()]
    # Pairs share the students that need no teacher.
    runs = len({id(record) for each in compared for record in each.records.values()})
    facts = {
        "baseline": study.baseline,
        "seeds": ", ".join(map(str, study.seeds)),
        "data": ", ".join(each.name for each in study.data.values()),
        "students shown": str(runs),
    }
    return page(study.question, _lead(study, groups), sections, facts)


def _lead(study: Study, groups: Sequence[Group]) -> str:
    """The largest difference of each pair, and how it is to be taken."""
    sentences = []
    for group in groups:
        known = {
            name: each.difference
            for name, each in group.compared.items()
            if each.difference is not None and each.equal
        }
        if not known:
            continue
        sign = 1 if group.metric.higher else -1
        best = max(known, key=lambda name: sign * known[name].mean)
        its = known[best]
        text = f"{group.title}: {best} is the best of {len(known)} at equal steps, {its.mean:+.2f}"
        text += f" {unit_of_difference(group.metric)}".rstrip() + f" against {group.baseline}"
        if its.interval is not None:
            text += " (95 % interval over {} seeds {:+.2f} to {:+.2f})".format(its.pairs, *its.interval)
        sentences.append(text + "; the best of several is flattered by having been the best.")
    return " ".join([*sentences, study.note]).strip() or "No differences can be said yet."


def blocks_of(study: Study, group: Group) -> list[Block]:
    """What the page shows of a pair.

    Args:
        study: what was asked.
        group: the pair.
    """
    made = [
        outcome_table(study, group),
        _differences(group),
        _every_seed(group),
        cost_table(study, group),
        noise_table(study, group),
        _under_noise(group),
        transfer_table(study, group),
    ]
    return [block for block in made if block is not None]


def _differences(group: Group) -> Chart | None:
    """The differences as points with their intervals over seeds, a row for each objective."""
    traces = []
    for name, each in group.compared.items():
        if (its := each.difference) is not None:
            low, high = ([its.interval[0]], [its.interval[1]]) if its.interval else (None, None)
            traces.append(Trace(name, [name], [its.mean], low, high, "points"))
    if not traces:
        return None
    unit = unit_of_difference(group.metric)
    label = f"difference in {group.split} {group.metric.label}" + (f" ({unit})" if unit else "")
    caption = "Bars are 95 % Student-t intervals over paired seeds, not corrected for their number."
    title = f"Minus {group.baseline}"
    return Chart(title, traces, "objective", label, caption, horizontal=True)


def _every_seed(group: Group) -> Chart:
    """What every objective reached with every seed."""
    traces = []
    for name in group.compared:
        values = group.values(name)
        traces.append(Trace(name, [str(seed) for seed in values], list(values.values()), kind="points"))
    return Chart("Every seed", traces, "seed", f"{group.split} {axis(group.metric)}")


def _under_noise(group: Group) -> Chart | None:
    """The metric by severity of Gaussian noise, means over the seeds."""
    traces = []
    for name, each in group.compared.items():
        curves = [
            [record.noiseless, *record.noisy["gaussian_noise"]]
            for record in each.records.values()
            if record.noisy and "gaussian_noise" in record.noisy and record.noiseless is not None
        ]
        if curves:
            means = [group.metric.scale * fmean(column) for column in zip(*curves, strict=True)]
            traces.append(Trace(name, list(range(len(means))), means))
    if not traces:
        return None
    return Chart("Under Gaussian noise", traces, "severity", axis(group.metric))
