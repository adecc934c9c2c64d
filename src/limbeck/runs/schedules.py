"""A run that kept its weights on its way, as a schedule of teachers: `checkpoints("runs/teacher")`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from limbeck.config import NetworkConfig
from limbeck.errors import LimbeckError, unknown
from limbeck.notation import Call, parse_call
from limbeck.runs.directory import Run, is_imported

C = TypeVar("C", bound=NetworkConfig)

ARGUMENTS = ("every", "upto", "ahead")
EXAMPLE = 'checkpoints("runs/teacher")'


@dataclass(frozen=True)
class Schedule:
    """Checkpoints of one run, in the order in which they teach.

    Attributes:
        run: the run that kept them.
        files: their weights, by the epochs of the run that were over; two or more.
        ahead: how far the teacher is ahead of its student, a fraction of the training.
    """

    run: Run
    files: Mapping[int, Path]
    ahead: float

    @property
    def end(self) -> int:
        """The epochs of the run at which the schedule ends."""
        return max(self.files)

    @property
    def by_fraction(self) -> dict[float, Path]:
        """The files by how much of the way to the end was done."""
        return {epoch / self.end: file for epoch, file in self.files.items()}

    @property
    def is_recorded(self) -> bool:
        """Whether the last checkpoint is what the run's own figures are of."""
        return self.run.config.training.selection == "last" and self.end == self.run.history[-1]["epoch"]

    def note(self, whose: str) -> str:
        """A sentence that says what teaches.

        Args:
            whose: name of the teacher in it, such as "the teacher".
        """
        ahead = f", {100 * self.ahead:g} % of the training ahead" if self.ahead else ""
        return (
            f"{whose} is a schedule of {len(self.files)} checkpoints of {str(self.run.path)!r}, after the "
            f"epochs {', '.join(map(str, sorted(self.files)))}{ahead}; it grows with its student"
        )


def call_of(model: str) -> Call | None:
    """The call that a model text is, if it is `checkpoints("runs/teacher", ...)`."""
    return parse_call(model, "teacher") if model.startswith("checkpoints(") else None


def schedule_of(model: str) -> Schedule | None:
    """The schedule that a model text names; None if it names none.

    The text has one run and, if it likes, `every`, which takes the checkpoints of every so many epochs of the
    run alone and the last; `upto`, the epochs after which the schedule ends; and `ahead`, the fraction of the
    training by which the teacher is ahead.

    Raises:
        LimbeckError: for arguments that are none, and a run that kept fewer than two such checkpoints.
    """
    call = call_of(model)
    if call is None:
        return None
    if len(call.args) != 1 or not isinstance(call.args[0], str):
        raise LimbeckError(f"a schedule of teachers names one run, in quotes: {EXAMPLE}, not {model}")
    return _schedule(_finished(call.args[0]), **_checked(call.kwargs))


def last_of(config: C) -> C:
    """The config of the last checkpoint where a config names a schedule; the config as it is for all else."""
    schedule = schedule_of(config.model)
    return config if schedule is None else at(config, schedule.run, schedule.files[schedule.end])


def at(config: C, run: Run, weights: Path) -> C:
    """What a config says of a schedule, said of one of its checkpoints.

    Raises:
        LimbeckError: where the config names weights besides.
    """
    if config.weights is not None:
        raise LimbeckError(
            f"{config.model} brings the weights of its checkpoints; leave out the teacher's weights "
            f"({str(config.weights)!r})"
        )
    return config.model_copy(update={"model": str(run.path), "weights": weights})


def _schedule(run: Run, every: int = 1, upto: int | None = None, ahead: float = 0.0) -> Schedule:
    kept = {epoch: file for epoch, file in run.kept.items() if upto is None or epoch <= upto}
    end = max(kept, default=0)
    files = {epoch: file for epoch, file in kept.items() if epoch % every == 0 or epoch == end}
    if len(files) >= 2:
        return Schedule(run, files, ahead)
    epochs = run.config.training.epochs
    if len(run.kept) < 2:
        has = "no checkpoints" if not run.kept else "1 checkpoint"
        often = (
            f"--set training.keep_every=N, such as {max(epochs // 10, 1)} of {epochs} epochs"
            if epochs > 1
            else "more epochs and --set training.keep_every=1"
        )
        raise LimbeckError(
            f"the run {str(run.path)!r} kept {has} of its training, and a schedule of teachers needs two or "
            f"more; make it again with {often}"
        )
    there = ", ".join(map(str, run.kept))
    raise LimbeckError(
        f"the run {str(run.path)!r} kept its weights after the epochs {there}; every={every}"
        f"{'' if upto is None else f' and upto={upto}'} leave only {len(files)} of them, and a schedule of "
        "teachers needs two or more; take more, or make the run again with a smaller training.keep_every"
    )


def _finished(place: str) -> Run:
    run = Run(Path(place))
    if is_imported(run.path) or not (run.path / "config.yaml").is_file():
        raise LimbeckError(
            f"a schedule of teachers needs a run that was trained here, and {place!r} is none; make one with "
            "limbeck train --set training.keep_every=N"
        )
    if not run.finished:
        raise LimbeckError(
            f"the run {place!r} is not finished, so its last checkpoint is missing; finish it with --resume"
        )
    return run


def _checked(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of `checkpoints`, each in its range."""
    for name in given:
        if name not in ARGUMENTS:
            raise unknown("argument of checkpoints", name, ARGUMENTS)
    for name in ("every", "upto"):
        value = given.get(name, 1)
        if type(value) is not int or value < 1:
            raise LimbeckError(f"checkpoints: {name} is a number of epochs from 1 on, not {value!r}")
    ahead = given.get("ahead", 0)
    if type(ahead) not in (int, float) or not 0 <= ahead < 1:
        raise LimbeckError(
            f"checkpoints: ahead is a fraction of the training from 0 to below 1, not {ahead!r}"
        )
    return given
