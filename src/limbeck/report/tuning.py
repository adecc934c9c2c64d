"""What a tuning tried, what it chose, and what that reached with fresh seeds."""

from __future__ import annotations

from limbeck.durations import duration
from limbeck.report.chart import Chart, Trace
from limbeck.report.page import Section, page
from limbeck.report.study_page import blocks_of
from limbeck.report.study_tables import cost_table, outcome_table
from limbeck.report.table import Table
from limbeck.studies.outcome import Group
from limbeck.studies.tuning.door import Searched, Tuned
from limbeck.studies.tuning.search import said
from limbeck.tasks.wording import Cell, axis, unit_of_difference


def tuning_tables(found: Tuned) -> list[Table]:
    """What was tried on both sides, then, once all is run, what the chosen ones reached and cost."""
    tables = [_tried_table(found)]
    if found.group is not None:
        tables += [outcome_table(found.study, found.group), cost_table(found.study, found.group)]
    return tables


def tuning_page(found: Tuned) -> str:
    """The page as HTML; all runs are finished."""
    assert found.group is not None
    trials = [_every_trial(found, each) for each in found.searched]
    sections = [
        Section("The search", [_tried_table(found), *(block for pair in trials for block in pair)]),
        Section(found.group.title, blocks_of(found.study, found.group)),
    ]
    facts = {
        "baseline": found.study.baseline,
        "seeds of the runs": ", ".join(map(str, found.study.seeds)),
        "seed of the trials": str(found.searched[0].side.seed),
        "data": found.source.name,
    }
    return page(found.study.question, _lead(found, found.group), sections, facts)


def _lead(found: Tuned, group: Group) -> str:
    """The difference that fresh seeds show, and what was chosen."""
    winner, base = found.searched[0].best, found.searched[1].best
    text = (
        f"{group.title}: {said(winner.objective, winner.values)} beside {said(base.objective, base.values)}"
    )
    if (its := group.compared[winner.objective].difference) is not None:
        unit = f" {unit_of_difference(group.metric)}".rstrip()
        text += f": {its.mean:+.2f}{unit} of {group.split} {group.metric.label} over {its.pairs} fresh seeds"
        if its.interval is not None:
            text += " (95 % interval {:+.2f} to {:+.2f})".format(*its.interval)
    return f"{text}. {found.study.note}"


def _tried_table(found: Tuned) -> Table:
    """A row for each side."""
    metric = found.source.task.primary
    rows: list[list[Cell]] = []
    for each in found.searched:
        states = [trial.state for trial in each.trials]
        rows.append(
            [
                each.side.name,
                *(states.count(state) for state in ("finished", "stopped", "failed")),
                duration(each.seconds),
                None if each.best.value is None else f"{metric.scale * each.best.value:.2f}",
                said(each.best.objective, each.best.values),
            ]
        )
    columns = [
        "side",
        "trials finished",
        "stopped",
        "failed",
        "time",
        f"best validation {axis(metric)}",
        "chosen",
    ]
    spaces = "; ".join(_space(each) for each in found.searched)
    budget = "" if found.study.tune is None else f"Each side had {found.study.tune.budget}. "
    notes = (
        f"{budget}The time is what the trials took, loading and measuring counted, teachers not; a trial is "
        "stopped only at the end of an epoch, and one at least is finished on each side. The best of several "
        "is flattered by having been the best, which the runs with fresh seeds are not. "
        f"Searched: {spaces}."
    )
    return Table("What was tried", columns, rows, notes)


def _space(found: Searched) -> str:
    ranges = {place: its for name in found.side.names for place, its in found.side.space(name).items()}
    told = ", ".join(f"{place} {its}" for place, its in ranges.items())
    return f"{found.side.name}, {told}" if told else f"{found.side.name}, {', '.join(found.side.names)}"


def _every_trial(found: Tuned, searched: Searched) -> tuple[Chart, Table]:
    """The trials of a side, in their order."""
    metric, name = found.source.task.primary, searched.side.name
    traces = []
    for state in ("finished", "stopped"):
        known = [each for each in searched.trials if each.state == state and each.value is not None]
        values = [metric.scale * each.value for each in known if each.value is not None]
        traces.append(Trace(state, [each.number for each in known], values, kind="points"))
    caption = "Those that were stopped are shown as they were when last measured."
    chart = Chart(f"Trials, {name}", traces, "trial", f"validation {axis(metric)}", caption)
    rows: list[list[Cell]] = [
        [
            str(each.number),
            said(each.objective, each.values),
            each.state,
            each.epochs,
            None if each.value is None else f"{metric.scale * each.value:.2f}",
            duration(each.seconds),
        ]
        for each in searched.trials
    ]
    columns = ["trial", "values", "state", "epochs", f"validation {axis(metric)}", "time"]
    return chart, Table(f"Every trial, {name}", columns, rows)
