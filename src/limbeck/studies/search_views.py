"""The door to a search for views: checks what is asked, and begins or goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from limbeck import data as sources
from limbeck.config import RunConfig, flat
from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.files import parse_json
from limbeck.methods.base import inner_first
from limbeck.runs import Run
from limbeck.runs.arguments import RunArguments
from limbeck.runs.directory import free_directory, write_json
from limbeck.studies.policy_search import PolicySearch
from limbeck.training.world import launched

EPOCHS = 20
"""Epochs of a trial where neither arguments nor a config say."""


def search_views(
    role: str,
    config: Path | str | RunConfig | None = None,
    *,
    student: str | None = None,
    teacher: str | Path | Run | Mapping[str, str | Path | Run] | None = None,
    data: str | Source | None = None,
    data_dir: Path | str | None = None,
    objective: str | None = None,
    epochs: int | None = None,
    every: int = 5,
    population: int = 4,
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> PolicySearch:
    """Searches for the views to train in; what `limbeck search-views` does.

    Several trials are trained side by side, each in views of its own. After every few epochs the last quarter
    of them take over weights and policy of the first, and change the policy a little.

    Args:
        role: "teacher" for a network that learns from labels alone, "student" for one with a teacher.
        config: YAML file with the fields of `RunConfig`, or a config; every other argument overrides it.
        student: name of the network that is trained, as in `limbeck.train` and `limbeck.distill`.
        teacher: run or its directory, for the role of a student; a mapping by name for several.
        data: name of a data set, or a source, of images.
        data_dir: directory of the data set's files.
        objective: what is minimized, in the notation; the recipe of the data's task if None.
        epochs: number of epochs of a trial; 20 if neither this nor a config says.
        every: epochs between two rounds.
        population: number of trials.
        batch_size: samples per optimizer step.
        lr: learning rate.
        seed: random seed of the search and of its trials.
        settings: any values of the config by dotted key.
        out: directory of the search; the next free one under `runs/` if None.
        resume: continues the search in `out`.
        note: is told how each trial did.
    Raises:
        LimbeckError: for what cannot be searched; no file is written then.
    """
    _check_population(role, population, every)
    handed = [student, objective, *(teacher.values() if isinstance(teacher, Mapping) else [teacher])]
    if any(isinstance(each, nn.Module) for each in handed):
        raise LimbeckError("a search builds its networks again and again; name them, or give their runs")
    if config is None and "training.epochs" not in (settings or {}):
        epochs = EPOCHS if epochs is None else epochs
    arguments = RunArguments(
        config=config,
        student=student,
        teacher=teacher,
        data=data,
        data_dir=data_dir,
        objective=objective,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        settings=settings or {},
    )
    made = arguments.made()
    _check_config(role, made, every)
    path = _directory(out, resume=resume)
    source = data if isinstance(data, Source) else sources.load(made.data.name, made.data.dir)
    search = PolicySearch(path, role, made, source, every, population, note)
    _check_search(search)
    if resume:
        _check_same(path, search.asked)
    else:
        write_json(path / "search.json", {**search.asked, "rounds": []})
    search.run()
    return search


def _check_population(role: str, population: int, every: int) -> None:
    if role not in ("teacher", "student"):
        raise LimbeckError(f"the role (--role) is teacher or student, not {role!r}")
    if population < 2:
        raise LimbeckError(
            f"a population (--population) needs 2 trials or more to learn from one another, not {population}"
        )
    if every < 1:
        raise LimbeckError(f"every (--every) is 1 epoch or more, not {every}")
    if launched() > 1:
        raise LimbeckError("a search trains its trials in one process; start it without a launcher")


def _check_config(role: str, config: RunConfig, every: int) -> None:
    if role == "teacher" and config.taught_by:
        raise LimbeckError(
            "the teacher's views are searched while it learns from labels alone; leave out the teacher, or "
            "search for the student's (--role student)"
        )
    if role == "student" and not config.taught_by:
        raise LimbeckError("the student's views are searched with its teacher; give one (--teacher)")
    if config.training.views is not None:
        raise LimbeckError("a search draws among all views of a policy; leave out training.views")
    for key in ("max_steps", "early_stopping"):
        if getattr(config.training, key) is not None:
            raise LimbeckError(
                f"a trial is a chain of short runs, and training.{key} would bound each anew; leave it out"
            )
    if every >= config.training.epochs:
        raise LimbeckError(
            f"every={every} (--every) leaves no second round in {config.training.epochs} epochs; give fewer "
            "epochs a round, or more in all (--epochs)"
        )


def _check_search(search: PolicySearch) -> None:
    if search.source.validation is None:
        raise LimbeckError(
            f"{search.source.name} has no validation split, and policies are never chosen by the test split; "
            "hold some of the training data out"
        )
    largest = search.policy({name: range_.high for name, range_ in search.space.items()})
    if largest.count * len(search.rounds) > 2**31:
        raise LimbeckError(
            f"the policies of {len(search.rounds)} rounds may have more than 2**31 views; give more epochs a "
            "round, every (--every)"
        )
    objective = search.first().distiller.objective
    if any(part.phases() for part in inner_first(objective)) or any(True for _ in objective.parameters()):
        raise LimbeckError(
            f"a trial is a chain of short runs, and what {str(objective)!r} trains besides the student would "
            "start anew in each; search with an objective that trains the student alone, such as ce + kd"
        )


def _directory(out: Path | str | None, *, resume: bool) -> Path:
    """Where the search goes, as an absolute path; changes nothing."""
    if resume and out is None:
        raise LimbeckError("resume=True (--resume) needs the directory of the search, out (--out)")
    path = Path(out) if out is not None else free_directory("search-views")
    there = (path / "search.json").exists()
    if resume and not there:
        raise LimbeckError(f"there is no search to resume in {str(path)!r}")
    if path.exists() and not path.is_dir():
        raise LimbeckError(f"{str(path)!r} is a file; a search needs a directory")
    if not resume and path.exists() and any(path.iterdir()):
        how = "say resume=True (--resume) to go on, or " if there else ""
        raise LimbeckError(f"{str(path)!r} is not empty; {how}choose another out (--out)")
    return path.resolve()


def _check_same(path: Path, asked: Mapping[str, Any]) -> None:
    """Refuses to go on with a search that was begun otherwise."""
    record = parse_json((path / "search.json").read_text(encoding="utf-8"))
    there, here = flat({name: record.get(name) for name in asked}), flat(asked)
    for key in {**there, **here}:
        if there.get(key) != here.get(key):
            raise LimbeckError(
                f"{str(path)!r} was searched with {key}={there.get(key)!r}, not {here.get(key)!r}; resume it "
                "with what it was begun with, or start another search"
            )
