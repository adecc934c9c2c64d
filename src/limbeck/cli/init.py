"""`limbeck init`: asks what is at hand, and writes the config of a run."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from limbeck.byte_sizes import bytes_of
from limbeck.cli import options
from limbeck.cli.terminal import out
from limbeck.errors import LimbeckError

if TYPE_CHECKING:
    from limbeck.advice.students import Target
    from limbeck.data import Source

T = TypeVar("T")


def init(
    data: options.Data = None,
    data_dir: options.DataDir = None,
    task: options.Task = None,
    teacher: Annotated[
        str | None, typer.Option(help="A teacher as `limbeck distill` takes it, or none.")
    ] = None,
    student: options.Student = None,
    max_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Most that the student's weights may take: 500kB.")
    ] = None,
    max_latency: Annotated[
        float | None, typer.Option(metavar="MS", help="Most milliseconds for one sample on this processor.")
    ] = None,
    file: Annotated[Path, typer.Option("--out", help="File to write.")] = Path("run.yaml"),
) -> None:
    """Asks what is to be done, and writes a commented config.

    It asks for data, teacher, student and target, where options do not say them, and prints the command
    that starts the run.
    """
    if file.exists():
        raise LimbeckError(f"{str(file)!r} exists; name another file (--out)")
    if not file.parent.is_dir():
        raise LimbeckError(f"there is no directory {str(file.parent)!r} to write {file.name} into")
    from limbeck import advice
    from limbeck.advice import students
    from limbeck.advice.guide import ENSEMBLE
    from limbeck.advice.plan import Plan
    from limbeck.files import write_text
    from limbeck.runs.network_names import ensemble_of

    limits = _target(max_size or "any", max_latency)
    name, source = _asked("--data", "Data (limbeck data lists what there is)", data, _loader(data_dir, task))
    if task is None and _serves_several_tasks(name, source):
        name, source = _asked(
            "--task",
            "Task (limbeck tasks lists what there is)",
            None,
            partial(_for_task, name, source, data_dir),
            source.task.name,
        )
    out().print(
        f"  {source.name}: {source.task.summary}, {len(source.train):,} training samples", soft_wrap=True
    )
    taught_by, parameters = _asked(
        "--teacher", "Teacher: a run directory, hf:NAME, a file of answers; or none", teacher, _taught(source)
    )
    if source.task.name == "language" and taught_by is not None:
        name, source = _loader(data_dir, None, taught_by)(name)
    if max_size is None:
        limits = _asked(
            "--max-size",
            "Most that the student's weights may take, such as 500kB",
            None,
            lambda text: _target(text, max_latency),
            "any",
        )
    if max_latency is None:
        limits = _asked(
            "--max-latency",
            "Most milliseconds for one sample on this processor",
            None,
            lambda text: replace(limits, latency=_milliseconds(text)),
            "any",
        )
    proposal = None if student else students.proposed(source, limits, parameters)
    chosen = _asked(
        "--student",
        "Student (limbeck models lists what there is)",
        student,
        lambda text: students.checked(text, source, limits),
        None if proposal is None else proposal.model,
    )
    out().print(f"  {chosen}", soft_wrap=True)
    if parameters is not None and students.SHARE * chosen.parameters > parameters:
        out().print(
            f"  that is more than 1/{students.SHARE} of the teacher's {parameters:,} parameters; name a "
            "smaller student (--student) if there is one",
            soft_wrap=True,
        )
    given = advice.situation(source, [taught_by] if taught_by else [], student=chosen.model)
    several = taught_by is not None and ensemble_of(taught_by) is not None
    found = [
        each for each in advice.suggest(given) if not each.options or (several and each.options == ENSEMBLE)
    ]
    said = taught_by or "" if parameters is None else f"{parameters:,} parameters"
    plan = Plan(name, data_dir, taught_by, said, chosen, limits, given, found).checked(file)
    write_text(file, plan.yaml(file))
    out().print(f"{file}\nstart it with: {plan.command(file)}", soft_wrap=True)


def _asked(
    option: str, question: str, given: str | None, check: Callable[[str], T], default: str | None = None
) -> T:
    """What an option says, or else a person at the terminal, who is asked again until it will do.

    Args:
        option: that stands for the answer.
        question: what is asked.
        given: value of the option; None if it was left out.
        check: a function that makes what is meant of the text, or raises a LimbeckError.
        default: what is taken where nothing is said; None if something must be.
    Raises:
        LimbeckError: where there is no terminal to ask and no default.
    """
    if given is not None:
        return check(given)
    if not sys.stdin.isatty():
        if default is None:
            raise LimbeckError(f"init needs {option} where there is no terminal to ask at")
        return check(default)
    while True:
        answer: str = typer.prompt(question, default=default)
        try:
            return check(answer.strip())
        except LimbeckError as error:
            out().print(f"  {error}", soft_wrap=True)


def _loader(
    data_dir: Path | None, task: str | None, teacher: str | None = None
) -> Callable[[str], tuple[str, Source]]:
    """What reads data: the text with its task in it, and the data."""

    def loaded(text: str) -> tuple[str, Source]:
        from limbeck import data
        from limbeck.config import TeacherConfig
        from limbeck.runs import language

        name = data.spelled_out(text, task)
        tokens = None if teacher is None else partial(language.tokens_of, TeacherConfig(model=teacher))
        return name, data.load(name, data_dir, tokens)

    return loaded


def _serves_several_tasks(name: str, source: Source) -> bool:
    """Whether the data would also be read for another task, as the text of theirs names none."""
    from limbeck import data

    try:
        return data.spelled_out(name, source.task.name) != name
    except LimbeckError:
        return False


def _for_task(name: str, source: Source, data_dir: Path | None, task: str) -> tuple[str, Source]:
    """The data, read anew where the task is another one than they were read for."""
    return (name, source) if task == source.task.name else _loader(data_dir, task)(name)


def _taught(source: Source) -> Callable[[str], tuple[str | None, int | None]]:
    """What reads a teacher: its text, None for none, and its parameters where it is a network."""

    def taught(text: str) -> tuple[str | None, int | None]:
        from limbeck.advice.situation import teacher_of
        from limbeck.config import RunConfig, StudentConfig, TeacherConfig
        from limbeck.models import count_parameters
        from limbeck.runs import answer_files, networks

        if text == "none":
            return None, None
        config = TeacherConfig(model=text)
        if teacher_of([text]) == "answers":
            answer_files.files_of(RunConfig(student=StudentConfig(model="cnn"), teacher=config), source)
            return text, None
        return text, count_parameters(networks.teacher(config, source))

    return taught


def _target(size: str, latency: float | None) -> Target:
    """The target that two options name; a size of "any" is none.

    Raises:
        LimbeckError: for a size that is no number of bytes, and a time that is not above zero.
    """
    from limbeck.advice.students import Target

    known = None if size == "any" else bytes_of(size)
    if size != "any" and not known:
        raise LimbeckError(f"the size of a student is 500kB, 20MB or any, not {size!r}")
    return Target(known, None if latency is None else _above_zero(latency, f"{latency:g}"))


def _milliseconds(text: str) -> float | None:
    """A time; "any" is none."""
    if text == "any":
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    return _above_zero(value, text)


def _above_zero(value: float, text: str) -> float:
    """The time, which people have given as that text."""
    if not 0 < value < math.inf:
        raise LimbeckError(f"a latency is a number of milliseconds above 0, or any, not {text!r}")
    return value
