"""What a study found: each pair's contenders beside their baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean
from typing import Literal

from limbeck import tasks
from limbeck.errors import LimbeckError
from limbeck.studies.bootstrap import over_samples
from limbeck.studies.cells import Cells
from limbeck.studies.records import CellRecord, Point
from limbeck.studies.statistics import PairedDifference, check_paired, holm, paired_difference
from limbeck.studies.study import Pair, Study
from limbeck.tasks import Metric

Cost = Literal["steps", "seconds", "forwards"]
COSTS: Mapping[Cost, str] = {
    "steps": "optimizer steps",
    "seconds": "seconds of training",
    "forwards": "teacher forwards",
}


@dataclass(frozen=True)
class Compared:
    """An objective of a pair beside the baseline.

    Attributes:
        name: of the objective in the study.
        objective: in the notation.
        records: by seed.
        difference: to the baseline; None for the baseline itself, and where the two share no seed.
        samples: 95 % bootstrap interval of the difference over test samples, in the unit of the difference;
            None where it is not known which samples were decided right.
        corrected: p-value after Holm's correction over the pair's objectives.
        equal: whether it took as many steps as the baseline.
        keys: of the cells, by seed.
    """

    name: str
    objective: str
    records: Mapping[int, CellRecord]
    difference: PairedDifference | None = None
    samples: tuple[float, float] | None = None
    corrected: float | None = None
    equal: bool = True
    keys: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """A pair with all its objectives.

    Attributes:
        pair: of the study.
        data: name of its data in the study.
        baseline: name of the objective that the others are compared with.
        compared: by name, in the order of the study; the objectives without a record are left out.
        teachers: records of the teachers that the study trained, by name.
    """

    pair: Pair
    data: str
    baseline: str
    compared: Mapping[str, Compared]
    teachers: Mapping[str, CellRecord]

    @property
    def title(self) -> str:
        """Such as "resnet8 taught by wrn_16_2 on cifar100"."""
        by = f" taught by {' and '.join(self.pair.teachers)}" if self.pair.teachers else ""
        return f"{self.pair.student}{by} on {self.data}"

    @cached_property
    def metric(self) -> Metric:
        """The first metric of the task."""
        first = next(iter(self.compared.values()))
        return tasks.from_record(next(iter(first.records.values())).result.task).primary

    @cached_property
    def split(self) -> str:
        """The split that all are compared on: test, or validation where there is no test split."""
        first = next(iter(self.compared.values()))
        return next(iter(next(iter(first.records.values())).result.metrics.by_split()))

    def values(self, name: str) -> dict[int, float]:
        """The metric by seed, in the unit that it is shown in."""
        records = self.compared[name].records
        return {seed: value(record, self.metric, self.split) for seed, record in records.items()}

    def teacher_values(self) -> dict[str, float]:
        """The metric of each teacher on the same split, by name, as the study or its students measured it."""
        found = {
            name: value(record, self.metric, self.split)
            for name, record in self.teachers.items()
            if self.split in record.result.metrics.by_split()
        }
        missing = [name for name in self.pair.teachers if name not in found]
        for each in self.compared.values() if len(missing) == 1 else ():
            for record in each.records.values():
                its = record.result.teacher
                if its is not None and its.metrics and self.split == "test":
                    found[missing[0]] = self.metric.scale * its.metrics[self.metric.name]
        return found

    def at_equal_cost(self, cost: Cost) -> tuple[float, dict[str, float]] | None:
        """The validation metric of each contender when it had spent what the cheapest spends in all.

        Args:
            cost: what is spent.
        Returns: the budget, the mean over contenders' seeds of the cheapest that spends any of it, and a mean
            over the seeds for each contender that has come to an epoch by then. None where fewer than two
            spend any of it, or nothing was validated.
        """
        spent = {
            name: fmean(_spent(record.curve[-1], cost) for record in each.records.values())
            for name, each in self.compared.items()
        }
        spending = {name: each for name, each in spent.items() if each > 0}
        if len(spending) < 2:
            return None
        budget = min(spending.values())
        found = {}
        for name in spending:
            curves = [record.curve for record in self.compared[name].records.values()]
            tolerance = 1.001 * budget if cost != "seconds" else 1.1 * budget
            reached = [_last(curve, cost, tolerance) for curve in curves]
            known = [each for each in reached if each is not None]
            if len(known) == len(curves):
                found[name] = self.metric.scale * fmean(known)
        return (budget, found) if found else None


def groups(
    study: Study, cells: Cells, records: Mapping[str, CellRecord], *, partial: bool = False
) -> list[Group]:
    """The pairs of a study that have a record, with differences to the baseline.

    Args:
        study: what was asked.
        cells: its cells, all or some.
        records: what came of them.
        partial: compare over the seeds that two objectives both have, and leave out differences where the
            baseline has no record, as in a study that is not finished.
    Raises:
        LimbeckError: if no cell has a record; for a baseline without a record and for seeds that are not
            paired, unless `partial` is said.
    """
    found = []
    for pair in study.all_pairs():
        data = study.data_of(pair.data, f"the pair of {pair.student!r}")
        by_name: dict[str, dict[int, CellRecord]] = {}
        keys: dict[str, dict[int, str]] = {}
        for cell in cells.students:
            here = (cell.data, cell.student) == (data, pair.student)
            if here and cell.teachers in ((), pair.teachers) and cell.key in records:
                by_name.setdefault(str(cell.objective), {})[cell.config.seed] = records[cell.key]
                keys.setdefault(str(cell.objective), {})[cell.config.seed] = cell.key
        if not by_name:
            continue
        ordered = {name: by_name[name] for name in study.objectives if name in by_name}
        teachers = {
            cell.student: records[cell.key]
            for cell in cells.teachers
            if cell.student in pair.teachers and cell.key in records
        }
        plain = {
            name: Compared(name, study.objectives[name].objective, each, keys=keys[name])
            for name, each in ordered.items()
        }
        group = Group(pair, data, study.baseline, plain, teachers)
        found.append(_compared(group, partial=partial))
    if not found:
        raise LimbeckError("no cell of the study is finished yet; `limbeck study run` runs them")
    return found


def value(record: CellRecord, metric: Metric, split: str) -> float:
    """A metric of a record, in the unit that it is shown in."""
    return metric.scale * record.result.metrics.on(split)[metric.name]


def _compared(group: Group, *, partial: bool) -> Group:
    """The group with differences to its baseline."""
    if (base := group.compared.get(group.baseline)) is None:
        if not partial:
            raise LimbeckError(
                f"{group.title}: the baseline {group.baseline!r} is not finished with any seed; run it, or "
                "leave out differences (--partial)"
            )
        return group
    theirs = group.values(group.baseline)
    made = {group.baseline: base}
    for name, each in group.compared.items():
        if name == group.baseline:
            continue
        ours = group.values(name)
        if not partial:
            try:
                check_paired(ours, theirs, (name, group.baseline))
            except LimbeckError as error:
                raise LimbeckError(f"{group.title}: {error}") from None
        difference = paired_difference(ours, theirs) if ours.keys() & theirs else None
        shared = sorted(each.records.keys() & base.records)
        made[name] = replace(
            each,
            difference=difference,
            samples=_over_samples(each, base, shared, group.metric) if group.split == "test" else None,
            equal=all(each.records[seed].result.steps == base.records[seed].result.steps for seed in shared),
        )
    p = {name: each.difference.p for name, each in made.items() if each.difference}
    corrected = holm({name: each for name, each in p.items() if each is not None})
    ordered = {name: replace(made[name], corrected=corrected.get(name)) for name in group.compared}
    return replace(group, compared=ordered)


def _over_samples(
    ours: Compared, theirs: Compared, seeds: Sequence[int], metric: Metric
) -> tuple[float, float] | None:
    """The bootstrap interval, where the metric is the share of samples that are decided right."""
    sides = [[each.records[seed].correct for seed in seeds] for each in (ours, theirs)]
    known = [[each for each in side if each is not None] for side in sides]
    if not seeds or metric.name != "top1" or any(len(side) < len(seeds) for side in known):
        return None
    low, high = over_samples(*known)
    return metric.scale * low, metric.scale * high


def _spent(point: Point, cost: Cost) -> float:
    return {"steps": float(point.steps), "seconds": point.seconds, "forwards": float(point.forwards)}[cost]


def _last(curve: Sequence[Point], cost: Cost, budget: float) -> float | None:
    """The validation metric after the last epoch within a budget."""
    within = [point.validation for point in curve if _spent(point, cost) <= budget]
    return within[-1] if within else None
