"""Contenders compared with one of them: tables, and the same values for a program."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from limbeck.errors import LimbeckError
from limbeck.report.table import Table, spread
from limbeck.studies.compare import Comparison
from limbeck.studies.contender import Contender, unequal
from limbeck.studies.measures import AGREEMENT, Measure
from limbeck.studies.statistics import MIN_PAIRS, PairedDifference, paired_difference, summarize
from limbeck.tasks.wording import Cell, digits

PAIRED = (
    "Differences are to {}, means over the seeds that both have, seed by seed, with a 95 % Student-t "
    "interval: it covers other seeds, not other samples. Undecided: the interval holds 0."
)
UNKNOWN = "not recorded"


def comparison_table(found: Comparison, measures: Sequence[Measure]) -> Table:
    """A row for each contender: what it reached, and its difference to the baseline.

    Args:
        found: what is compared.
        measures: what the contenders are compared by (see `limbeck.studies.measures.measures`).
    Raises:
        LimbeckError: for a measure that no run has.
    """
    contenders, baseline = found.contenders, found.baseline
    columns = ["run"]
    rows: list[list[Cell]] = [[it.name] for it in contenders]
    for measure in measures:
        check_measured(measure, contenders)
        columns.append(measure.axis)
        if baseline:
            columns += ["difference", "verdict"]
        places = shown_digits(measure, contenders)
        for it, row in zip(contenders, rows, strict=True):
            row.append(spread(it.values(measure).values(), places))
            if baseline:
                its = difference(it, found, measure)
                other = [None, "baseline" if it.name == baseline else None]
                row += [_interval(its, places), _verdict(its, it, found, measure)] if its else other
    columns += ["seeds", "parameters"]
    for it, row in zip(contenders, rows, strict=True):
        row += [len(it.results), it.results[0].student.parameters]
    title = f"Comparison by {measures[0].label}" if len(measures) == 1 else "Comparison"
    return Table(title, columns, rows, " ".join(_notes(found, measures)))


def training_table(found: Comparison) -> Table:
    """What each contender was given to learn from: steps, samples and answers of the teacher."""
    rows: list[list[Cell]] = [
        [name, *(UNKNOWN if value is None else value for value in given)]
        for name, *given in ((it.name, *_given(it)) for it in found.contenders)
    ]
    notes = (
        "Means over the runs; phases before the training are not counted in steps and samples. A teacher's "
        "forward is one sample that its network was shown; answers from a cache cost none."
    )
    return Table("What each learned from", ["run", "steps", "samples seen", "teacher forwards"], rows, notes)


def check_measured(measure: Measure, contenders: Iterable[Contender]) -> None:
    """Refuses a measure that no run has."""
    if not any(it.values(measure) for it in contenders):
        raise LimbeckError(f"none of the runs was measured by {measure.label}; compare by another metric")


def difference(contender: Contender, found: Comparison, measure: Measure) -> PairedDifference | None:
    """The contender minus the baseline; None for the baseline itself, and where they share no seed."""
    if found.reference is None or contender is found.reference:
        return None
    ours, theirs = contender.values(measure), found.reference.values(measure)
    return paired_difference(ours, theirs) if ours.keys() & theirs else None


def verdict(its: PairedDifference, contender: Contender, found: Comparison, measure: Measure) -> str | None:
    """Whether the contender is "better" or "worse" than the baseline, or "undecided".

    Args:
        its: the difference of the two.
        contender: one that is not the baseline.
        found: the comparison that it is in.
        measure: of the difference; of some metrics less is better.
    Returns: None from too few pairs, and after unequal numbers of steps unless these are accepted.
    """
    if withheld(contender, found):
        return None
    if its.verdict in (None, "undecided"):
        return its.verdict
    return "better" if (its.verdict == "higher") == measure.metric.higher else "worse"


def withheld(contender: Contender, found: Comparison) -> bool:
    """Whether there is no verdict because contender and baseline took unequal numbers of steps."""
    return not found.unequal and found.reference is not None and unequal(contender, found.reference)


def records(found: Comparison, measures: Sequence[Measure]) -> list[dict[str, Cell]]:
    """The values of the tables unrounded, one record for each contender and measure."""
    made: list[dict[str, Cell]] = []
    for it in found.contenders:
        steps, samples, forwards = _given(it)
        for measure in measures:
            check_measured(measure, found.contenders)
            values = it.values(measure)
            record: dict[str, Cell] = {
                "run": it.name,
                "student": it.results[0].student.model,
                "parameters": it.results[0].student.parameters,
                "metric": measure.metric.name,
                "split": measure.split,
                "seeds": " ".join(map(str, values)),
                **dict.fromkeys(
                    ("n", "mean", "sd", "baseline", "pairs", "difference", "low", "high", "verdict")
                ),
                "steps": steps,
                "samples_seen": samples,
                "teacher_forwards": forwards,
            }
            if values:
                summary = summarize(list(values.values()))
                record |= {"n": summary.n, "mean": summary.mean, "sd": summary.sd}
            if its := difference(it, found, measure):
                low, high = its.interval or (None, None)
                record |= {"baseline": found.baseline, "pairs": its.pairs, "difference": its.mean}
                record |= {"low": low, "high": high, "verdict": verdict(its, it, found, measure)}
            made.append(record)
    return made


def shown_digits(measure: Measure, contenders: Iterable[Contender]) -> int:
    """The digits after the point that suit the values of all contenders."""
    values = [value / measure.metric.scale for it in contenders for value in it.values(measure).values()]
    return digits(measure.metric, values)


def _given(contender: Contender) -> tuple[float | None, float | None, float | None]:
    """Steps, samples seen and teacher forwards, means over the runs; None where a run does not say."""
    results = contender.results
    steps = [contender.steps.get(seed) for seed in contender.seeds]
    samples = [result.samples_seen for result in results]
    forwards = [result.teacher_forwards if result.teachers else 0 for result in results]
    return _mean(steps), _mean(samples), _mean(forwards)


def _mean(values: Sequence[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    mean = sum(known) / len(known)
    return int(mean) if mean == int(mean) else mean


def _notes(found: Comparison, measures: Sequence[Measure]) -> list[str]:
    notes = ["Mean ± standard deviation over the seeds."]
    primary = found.contenders[0].task.primary.name
    if any(measure.split == "test" for measure in measures):
        notes.append(
            "The test split is for the report: a contender chosen by it is flattered, so choose by "
            f"validation, validation.{primary}."
        )
    if any(measure.split == "validation" for measure in measures):
        notes.append(
            "The validation split is for choosing, and it may have chosen epochs: report what is chosen by "
            "its test figure."
        )
    if worse := [measure.metric.label for measure in measures if not measure.metric.higher]:
        notes.append(f"Lower is better: {', '.join(dict.fromkeys(worse))}.")
    if any(measure.metric == AGREEMENT for measure in measures):
        notes.append("Agreement is not accuracy: a student can agree with what its teacher gets wrong.")
    if found.baseline:
        notes.append(PAIRED.format(found.baseline))
    return [*notes, *unequal_steps(found)]


def unequal_steps(found: Comparison) -> list[str]:
    """A sentence on contenders that took other numbers of steps than the baseline, if there are any."""
    its = found.reference
    if its is None or not (others := [it for it in found.contenders if unequal(it, its)]):
        return []
    steps = {it.name: _given(it)[0] for it in (its, *others)}
    numbers = "; ".join(
        f"{name} {UNKNOWN if value is None else format(value, ',')}" for name, value in steps.items()
    )
    if found.unequal:
        what = "so a difference may be one of the length of training alone"
    else:
        what = "so there is no verdict on them; unequal=True (--unequal) gives one"
    return [f"Optimizer steps are unequal ({numbers}), {what}."]


def _interval(found: PairedDifference, digits: int) -> str:
    text = f"{found.mean:+.{digits}f}"
    return (
        text
        if found.interval is None
        else text + " ({:+.{d}f} to {:+.{d}f})".format(*found.interval, d=digits)
    )


def _verdict(its: PairedDifference, contender: Contender, found: Comparison, measure: Measure) -> str:
    if withheld(contender, found):
        return "none: unequal steps"
    return verdict(its, contender, found, measure) or f"too few seeds: {its.pairs} of {MIN_PAIRS}"
