"""The tables of a study, each with what it shows and what it does not."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from limbeck.durations import duration
from limbeck.errors import LimbeckError
from limbeck.report.table import Table, spread
from limbeck.studies.outcome import COSTS, Compared, Group
from limbeck.studies.ranks import Ranks, ranks
from limbeck.studies.statistics import MIN_PAIRS, summarize
from limbeck.studies.study import Study
from limbeck.tasks.wording import Cell, axis, digits, unit_of_difference


def all_tables(study: Study, groups: Sequence[Group]) -> list[Table]:
    """Every table of a study: for each pair what came out, what it cost, noise, transfer; and ranks."""
    makers = (outcome_table, cost_table, noise_table, transfer_table)
    tables = [make(study, group) for group in groups for make in makers]
    return [table for table in (*tables, rank_table(study, groups)) if table is not None]


def outcome_table(study: Study, group: Group) -> Table:
    """What each objective of a pair reached, and its difference to the baseline.

    Args:
        study: the study, whose note stands under the table.
        group: a pair.
    """
    places = _places(group)
    unit = unit_of_difference(group.metric)
    versus = f"minus {group.baseline}" + (f" ({unit})" if unit else "")
    columns = [
        "objective",
        f"{group.split} {axis(group.metric)}",
        versus,
        "effect size",
        "p (Holm)",
        "over test samples",
        "seeds",
        "verdict",
    ]
    rows: list[list[Cell]] = []
    for name, each in group.compared.items():
        its = each.difference
        rows.append(
            [
                name,
                spread(group.values(name).values(), places),
                None if its is None else signed(its.mean, its.interval, places),
                None if its is None or its.effect is None else f"{its.effect:+.2f}",
                None if each.corrected is None else _p(each.corrected),
                None if each.samples is None else "{:+.{d}f} to {:+.{d}f}".format(*each.samples, d=places),
                len(each.records),
                "baseline" if name == group.baseline else verdict(each, group),
            ]
        )
    return Table(group.title, columns, rows, " ".join(_outcome_notes(study, group)))


def cost_table(study: Study, group: Group) -> Table:
    """What each objective of a pair cost, and what it had reached at the cost of the cheapest."""
    columns, rows = ["objective"], [[name] for name in group.compared]
    table: list[list[Cell]] = [list(row) for row in rows]
    notes = ["Means over the seeds."]
    for cost, called in COSTS.items():
        columns.append(called)
        for row, each in zip(table, group.compared.values(), strict=True):
            mean = fmean(getattr(record.curve[-1], cost) for record in each.records.values())
            row.append(duration(mean) if cost == "seconds" else round(mean))
        if (equal := group.at_equal_cost(cost)) is None:
            continue
        budget, found = equal
        told = duration(budget) if cost == "seconds" else f"{budget:,.0f} {called}"
        columns.append(f"validation {axis(group.metric)} at {told}")
        for row, name in zip(table, group.compared, strict=True):
            row.append(f"{found[name]:.{_places(group)}f}" if name in found else None)
    notes.append(
        "At equal cost: on the validation split, after the last epoch that the budget of the cheapest pays "
        "for (by wall-clock a tenth more, for the clock's noise). The learning rate of a longer training has "
        "not fallen by then, which is to its disadvantage; answers from a cache cost no teacher forwards."
    )
    return Table(f"What it cost: {group.title}", columns, table, _with(study, notes))


def noise_table(study: Study, group: Group) -> Table | None:
    """The metric under noise, mean over severities; None where it was not measured."""
    sides = {f"teacher {name}": [record] for name, record in group.teachers.items()}
    sides |= {name: list(each.records.values()) for name, each in group.compared.items()}
    kinds = list(dict.fromkeys(kind for side in sides.values() for each in side for kind in each.noisy or {}))
    if not kinds:
        return None
    scale, places = group.metric.scale, _places(group)
    rows: list[list[Cell]] = []
    for name, records in sides.items():
        known = [record for record in records if record.noisy]
        if known:
            noiseless = [scale * each.noiseless for each in known if each.noiseless is not None]
            means = [[scale * fmean((each.noisy or {})[kind]) for each in known] for kind in kinds]
            rows.append([name, *(spread(column, places) for column in [noiseless, *means])])
    columns = ["network", "without noise", *(kind.replace("_", " ") for kind in kinds)]
    notes = [
        f"{axis(group.metric)}, the mean over severities 1 to 5 of each kind, on a part of the "
        f"{group.split} split; mean ± standard deviation over the seeds. It shows how answers hold under "
        "these kinds of noise, which nobody trained with, and nothing of attacks."
    ]
    return Table(f"Under noise: {group.title}", columns, rows, _with(study, notes))


def transfer_table(study: Study, group: Group) -> Table | None:
    """Linear classifiers for other data over the frozen networks; None where there are none."""
    sides = {f"teacher {name}": [record] for name, record in group.teachers.items()}
    sides |= {name: list(each.records.values()) for name, each in group.compared.items()}
    names = list(dict.fromkeys(name for side in sides.values() for each in side for name in each.transfer))
    if not names:
        return None
    rows: list[list[Cell]] = []
    for label, records in sides.items():
        cells: list[Cell] = [label]
        for name in names:
            known = [record.transfer[name].value for record in records if name in record.transfer]
            cells.append(spread([group.metric.scale * each for each in known], _places(group)))
        if any(cell is not None for cell in cells[1:]):
            rows.append(cells)
    notes = [
        "A new linear classifier on the frozen embedding, its learning rate chosen on validation; test "
        "figures in %, mean ± standard deviation over the seeds. It shows what the embedding is worth "
        "there, not what training all weights would give."
    ]
    return Table(f"Transfer: {group.title}", ["network", *names], rows, _with(study, notes))


def rank_table(study: Study, groups: Sequence[Group]) -> Table | None:
    """Mean ranks of the objectives over pairs and data; None for fewer than two of each."""
    shared = [name for name in study.objectives if all(name in group.compared for group in groups)]
    if len(groups) < 2 or len(shared) < 2:
        return None
    higher = {group.metric.higher for group in groups}
    if len(higher) > 1:
        raise LimbeckError("the tasks of this study rank by metrics of which some are better when lower")
    values = {group.title: {name: fmean(group.values(name).values()) for name in shared} for group in groups}
    found: Ranks = ranks(values, higher=higher.pop())
    rows: list[list[Cell]] = [[name, f"{mean:.2f}"] for name, mean in found.mean.items()]
    friedman = "" if found.p is None else f" Friedman's test that all are alike: p = {found.p:.3f}."
    notes = [
        f"Mean rank over {found.tasks} pairs and data sets, 1 being the best; two whose ranks differ by less "
        f"than {found.critical:.2f} are not told apart (Nemenyi, 95 %).{friedman} Ranks say nothing of how "
        "large a difference is, and pairs that share a teacher or data are not independent."
    ]
    return Table("Ranks over pairs and data", ["objective", "mean rank"], rows, _with(study, notes))


def _outcome_notes(study: Study, group: Group) -> list[str]:
    notes = []
    if teachers := group.teacher_values():
        told = ", ".join(f"{name} {each:.{_places(group)}f}" for name, each in teachers.items())
        notes.append(f"Teacher, {axis(group.metric)}: {told}.")
    count = sum(each.corrected is not None for each in group.compared.values())
    notes.append(
        "Mean ± standard deviation over the seeds; differences seed by seed, with a 95 % Student-t "
        "interval, which says how far the difference may lie with other seeds, on this test split. The "
        "interval over test samples (bootstrap) says how far with other samples and these very networks. "
        "Neither is about another teacher, student or data set."
    )
    if count:
        notes.append(
            f"p-values are corrected for {count} comparisons. The verdict is that of the corrected p-value "
            f"at 0.05; there is none from fewer than {MIN_PAIRS} seeds or from unequal numbers of steps."
        )
    if not group.metric.higher:
        notes.append("Lower is better.")
    return [*notes, *([study.note] if study.note else [])]


def verdict(each: Compared, group: Group) -> str:
    """Whether an objective is better or worse than the baseline, or why that is not said."""
    its = each.difference
    if its is None:
        return "none: no seed in common"
    if not each.equal:
        return "none: unequal steps"
    if its.pairs < MIN_PAIRS or each.corrected is None:
        return f"none from {its.pairs} of {MIN_PAIRS} seeds"
    if each.corrected >= 0.05:
        return "undecided"
    return "better" if (its.mean > 0) == group.metric.higher else "worse"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def signed(mean: float, interval: tuple[float, float] | None, places: int) -> str:
    """A difference with its interval, where it has one."""
    text = f"{mean:+.{places}f}"
    return text if interval is None else text + " ({:+.{d}f} to {:+.{d}f})".format(*interval, d=places)


def _places(group: Group) -> int:
    values = [each / group.metric.scale for name in group.compared for each in group.values(name).values()]
    return digits(group.metric, values)


def _with(study: Study, notes: Sequence[str]) -> str:
    return " ".join([*notes, *([study.note] if study.note else [])])


def records_of(groups: Sequence[Group]) -> list[dict[str, Cell]]:
    """The values of the outcome tables unrounded, one record for each pair and objective."""
    made: list[dict[str, Cell]] = []
    for group in groups:
        for name, each in group.compared.items():
            values, its = group.values(name), each.difference
            summary = summarize(list(values.values()))
            low, high = (its and its.interval) or (None, None)
            sample_low, sample_high = each.samples or (None, None)
            made.append(
                {
                    "data": group.data,
                    "student": group.pair.student,
                    "teachers": " ".join(group.pair.teachers),
                    "objective": name,
                    "notation": each.objective,
                    "metric": group.metric.name,
                    "split": group.split,
                    "seeds": " ".join(map(str, values)),
                    "mean": summary.mean,
                    "sd": summary.sd,
                    "baseline": group.baseline,
                    "difference": its.mean if its else None,
                    "low": low,
                    "high": high,
                    "effect_size": its.effect if its else None,
                    "p_holm": each.corrected,
                    "samples_low": sample_low,
                    "samples_high": sample_high,
                }
            )
    return made
