"""Finished runs compared: read, checked to be comparable, and grouped over their seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from limbeck import urls
from limbeck.errors import LimbeckError
from limbeck.evaluation import results
from limbeck.runs import Run
from limbeck.studies.contender import Contender, common_task
from limbeck.studies.groups import Finished, data_follows_seed, group
from limbeck.training.history import read_history


@dataclass(frozen=True)
class Comparison:
    """What was compared.

    Attributes:
        contenders: the groups, in the order their first runs came.
        baseline: name of the contender that the others are compared with; None if there is none.
        notes: sentences on what the reader should know.
        unequal: whether contenders that took other numbers of steps than the baseline get a verdict.
    """

    contenders: tuple[Contender, ...]
    baseline: str | None
    notes: tuple[str, ...] = ()
    unequal: bool = False

    @property
    def reference(self) -> Contender | None:
        """The baseline's contender."""
        return next((it for it in self.contenders if it.name == self.baseline), None)


def compare(
    runs: Sequence[Run | Path | str],
    *,
    baseline: str | None = None,
    anyway: bool = False,
    unequal: bool = False,
) -> Comparison:
    """Groups runs by what was run, to be compared over their seeds; what `limbeck compare` does.

    Args:
        runs: the runs, their directories, or the addresses of these.
        baseline: name or objective of the group that the others are compared with; the one group that
            learned from labels alone by the task's own loss (`ce` of classifiers) if None, and none if there
            is no such group or several.
        anyway: compare runs on different data too, and leave unfinished ones out.
        unequal: give a verdict on contenders that took other numbers of steps than the baseline, too.
    Raises:
        LimbeckError: naming the runs that are not finished, or two that were run on different data, for
            different tasks, or are the same thing with the same seed; or an unknown baseline.
    """
    with ExitStack() as copies:
        addresses: dict[str, str] = {}
        directories = []
        for each in runs:
            if isinstance(each, str) and urls.is_url(each):
                folder = copies.enter_context(urls.downloaded(each))
                addresses[str(folder)] = each.rstrip("/")
                each = folder
            directories.append(each if isinstance(each, Run) else Run(Path(each)))
        try:
            found = _compared(directories, baseline=baseline, anyway=anyway, unequal=unequal)
        except LimbeckError as error:
            raise type(error)(_with_addresses(str(error), addresses)) from None
        return replace(found, notes=tuple(_with_addresses(note, addresses) for note in found.notes))


def _with_addresses(text: str, addresses: Mapping[str, str]) -> str:
    """A message in which the copies of runs are called by the addresses that they come from."""
    for folder, url in addresses.items():
        text = text.replace(folder, url)
    return text


def _compared(directories: Sequence[Run], *, baseline: str | None, anyway: bool, unequal: bool) -> Comparison:
    """The runs, grouped; what is said of them is read at once, since copies of some may not stay."""
    finished, notes = _finished(directories, anyway=anyway)
    if problem := _different(finished):
        if not anyway:
            raise LimbeckError(f"{problem}; anyway=True (--anyway) compares them all the same")
        notes.append(f"{problem}.")
    groups = group(finished)
    contenders = []
    for name, members in groups.items():
        histories = [read_history(each.run.path / "metrics.jsonl") for each in members]
        for each, (_, skipped) in zip(members, histories, strict=True):
            if skipped:
                lines = "1 line" if skipped == 1 else f"{skipped} lines"
                notes.append(f"{str(each.run.path)!r}: {lines} of metrics.jsonl could not be read.")
        contenders.append(
            Contender(
                name,
                [each.result for each in members],
                [lines for lines, _ in histories],
                evaluations=[
                    found for each in members if (found := results.read(each.run.path / "evaluation.json"))
                ],
            )
        )
    alone = common_task(contenders).recipe(teacher=False)
    chosen = _baseline(groups, baseline, alone)
    if chosen is None and len(groups) > 1:
        notes.append(
            f"No differences are shown: the baseline is the contender that learns by {alone} alone, and "
            "there is not exactly one here; baseline= (--baseline) names another."
        )
    return Comparison(tuple(contenders), chosen, tuple(notes), unequal)


def _finished(runs: Sequence[Run], *, anyway: bool) -> tuple[list[Finished], list[str]]:
    """Those that came to their end and still have their student; what is to be said of the others."""
    finished, left_out = [], []
    for run in {run.path.resolve(): run for run in runs}.values():
        if not (run.path / "config.yaml").is_file():
            raise LimbeckError(f"{str(run.path)!r} is no run's directory: it holds no config.yaml")
        if not run.finished:
            left_out.append(f"{str(run.path)!r} is not finished")
        elif not (run.path / "student.safetensors").is_file():
            left_out.append(f"{str(run.path)!r} holds no student.safetensors")
        else:
            finished.append(Finished(run))
    if left_out and not (anyway and finished):
        problem = "; ".join(left_out)
        raise LimbeckError(f"{problem}; leave out what cannot be compared, or say anyway=True (--anyway)")
    if not finished:
        raise LimbeckError("there is no run to compare")
    return finished, [f"{problem}, and is left out." for problem in left_out]


def _different(runs: Sequence[Finished]) -> str | None:
    """The first two runs that were on different data, in words; None if all were on the same.

    Where the data is drawn anew with each seed, runs of one seed share it.
    """
    follows = data_follows_seed(runs)
    for one, other in combinations(runs, 2):
        ours, theirs = one.result.data, other.result.data
        drawn_anew = follows and one.data == other.data and one.seed != other.seed
        if ours.fingerprint != theirs.fingerprint and not drawn_anew:
            return (
                f"{str(one.run.path)!r} and {str(other.run.path)!r} were run on different data, "
                f"{ours.name} ({ours.fingerprint}) and {theirs.name} ({theirs.fingerprint})"
            )
    return None


def _baseline(groups: Mapping[str, Sequence[Finished]], wanted: str | None, alone: str) -> str | None:
    """The group of a name or of an objective; that of the objective `alone` if none is wanted."""
    objectives = {name: members[0].settings["objective"] for name, members in groups.items()}
    if wanted in groups:
        return wanted
    found = [name for name, objective in objectives.items() if objective == (wanted or alone)]
    if wanted and not found:
        raise LimbeckError(f"no run is named {wanted!r}; there are {', '.join(map(repr, groups))}")
    if wanted and len(found) > 1:
        raise LimbeckError(f"{wanted!r} is the objective of several: {', '.join(map(repr, found))}; name one")
    return found[0] if len(found) == 1 else None
