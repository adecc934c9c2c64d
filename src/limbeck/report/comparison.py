"""Contenders compared with one of them: a table, and the same values for a program."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from limbeck.errors import LimbeckError, unknown
from limbeck.report.study import COMPARED, Contender
from limbeck.report.table import Cell, Table, spread
from limbeck.studies.statistics import MIN_PAIRS, PairedDifference, paired_difference, summarize

SPREAD = (
    "Mean ± standard deviation over the seeds, on the test split; the best of many is flattered a little by "
    "the choice."
)

PAIRED = (
    "Differences are to {}, means over the seeds that both have, seed by seed, with a 95 % Student-t "
    "interval: it covers other seeds, not other test samples. Undecided: the interval holds 0."
)


def comparison_table(contenders: Sequence[Contender], baseline: str | None, metrics: Sequence[str]) -> Table:
    """A row for each contender: what it reached, and its difference to the baseline.

    Args:
        contenders: in the order to show them.
        baseline: name of one of them; None for no differences.
        metrics: names of `COMPARED`.
    Raises:
        LimbeckError: for an unknown metric, or one that no run has.
    """
    columns = ["run", "parameters", "seeds"]
    rows: list[list[Cell]] = [
        [it.name, it.results[0].student.parameters, len(it.results)] for it in contenders
    ]
    for name in metrics:
        check_metric(name, contenders)
        metric = COMPARED[name]
        columns.append(metric.label)
        if baseline:
            columns += ["difference", "verdict"]
        for it, row in zip(contenders, rows, strict=True):
            row.append(spread(it.values(name).values(), metric.digits))
            if baseline:
                found = difference(it, baseline, contenders, name)
                other = [None, "baseline" if it.name == baseline else None]
                row += [_interval(found, metric.digits), _verdict(found)] if found else other
    metric = COMPARED[metrics[0]]
    title = f"Comparison by {metric.label.split(' (')[0]}" if len(metrics) == 1 else "Comparison"
    return Table(title, columns, rows, f"{SPREAD} {PAIRED.format(baseline)}" if baseline else SPREAD)


def check_metric(name: str, contenders: Iterable[Contender]) -> None:
    """Refuses a metric that there is not, or that no run has."""
    if name not in COMPARED:
        raise unknown("metric", name, COMPARED)
    if not any(it.values(name) for it in contenders):
        raise LimbeckError(f"none of the runs was measured by {name}")


def difference(
    contender: Contender, baseline: str, contenders: Iterable[Contender], metric: str
) -> PairedDifference | None:
    """The contender minus the baseline; None for the baseline itself, and where they share no seed."""
    theirs = next(it for it in contenders if it.name == baseline).values(metric)
    ours = contender.values(metric)
    return None if contender.name == baseline or not ours.keys() & theirs else paired_difference(ours, theirs)


def records(
    contenders: Sequence[Contender], baseline: str | None, metrics: Sequence[str]
) -> list[dict[str, Cell]]:
    """The values of the table unrounded, one record for each contender and metric."""
    made: list[dict[str, Cell]] = []
    for it in contenders:
        for name in metrics:
            check_metric(name, contenders)
            values = it.values(name)
            record: dict[str, Cell] = {
                "run": it.name,
                "student": it.results[0].student.model,
                "parameters": it.results[0].student.parameters,
                "metric": name,
                "seeds": " ".join(map(str, values)),
                **dict.fromkeys(
                    ("n", "mean", "sd", "baseline", "pairs", "difference", "low", "high", "verdict")
                ),
            }
            if values:
                summary = summarize(list(values.values()))
                record |= {"n": summary.n, "mean": summary.mean, "sd": summary.sd}
            if baseline and (found := difference(it, baseline, contenders, name)):
                low, high = found.interval or (None, None)
                record |= {"baseline": baseline, "pairs": found.pairs, "difference": found.mean}
                record |= {"low": low, "high": high, "verdict": found.verdict}
            made.append(record)
    return made


def _interval(found: PairedDifference, digits: int) -> str:
    text = f"{found.mean:+.{digits}f}"
    return (
        text
        if found.interval is None
        else text + " ({:+.{d}f} to {:+.{d}f})".format(*found.interval, d=digits)
    )


def _verdict(found: PairedDifference) -> str:
    return found.verdict or f"none from {found.pairs} of {MIN_PAIRS} pairs"
