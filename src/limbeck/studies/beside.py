"""What the runs of other seeds say of a distilled student and the student alone."""

from __future__ import annotations

from limbeck import tasks
from limbeck.errors import LimbeckError
from limbeck.runs import Run
from limbeck.runs.result import BaselineResult, Result
from limbeck.studies.groups import Finished, data_follows_seed, group
from limbeck.studies.statistics import paired_difference


def over_seeds(run: Run, result: Result) -> Result:
    """The record of a run whose difference to the student alone rests on all seeds that there are.

    These are the runs in the same directory that differ from it in the seed alone, as `limbeck compare` sees
    it, and have a student alone beside them; each seed counts once, of several runs the first by its name.

    Args:
        run: the run, finished.
        result: its record, with the student alone at its own seed.
    """
    its = result.alone
    if its is None:
        return result
    values = dict(its.values)
    for other in _alike(run, its):
        if theirs := other.result.alone:
            values.setdefault(other.seed, theirs.values[other.seed])
    values = {seed: values[seed] for seed in sorted(values)}
    distilled, alone = ({seed: pair[side] for seed, pair in values.items()} for side in (0, 1))
    found = paired_difference(distilled, alone)
    better = "higher" if tasks.from_record(result.task).primary.higher else "lower"
    verdict: str | None = found.verdict
    if verdict in ("higher", "lower"):
        verdict = "better" if verdict == better else "worse"
    update = {"values": values, "difference": found.mean, "interval": found.interval, "verdict": verdict}
    return result.model_copy(update={"baseline": its.model_copy(update=update)})


def _alike(run: Run, its: BaselineResult) -> list[Finished]:
    """The runs beside a run that are the same with other seeds, by their names."""
    mine, found = Finished(run), list[Finished]()
    for path in sorted(run.path.resolve().parent.iterdir()):
        if not ((path / "result.json").is_file() and (path / "config.yaml").is_file()):
            continue
        other = Finished(Run(path))
        try:
            found += [other] if _same(mine, other, its) else []
        except (LimbeckError, OSError, ValueError):
            continue  # a damaged record is no record
    taught = {(other.seed, other.teacher) for other in found}
    if len(taught) > len({other.seed for other in found}):  # several teachers at one seed
        return [other for other in found if other.teacher == mine.teacher]
    return found


def _same(mine: Finished, other: Finished, its: BaselineResult) -> bool:
    """Whether two runs differ in the seed alone, and the other has a student alone beside it too."""
    theirs = other.result.alone
    if theirs is None or other.seed == mine.seed:
        return False
    if (theirs.objective, theirs.steps, theirs.split) != (its.objective, its.steps, its.split):
        return False
    fingerprints = {each.result.data.fingerprint for each in (mine, other)}
    same_data = len(fingerprints) == 1 or data_follows_seed([mine, other])
    return same_data and len(group([mine, other])) == 1
