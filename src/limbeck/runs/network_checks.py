"""Refusals of networks that do not belong to the data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limbeck.config import NetworkConfig, TeacherConfig
from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.runs.directory import Run
from limbeck.runs.matching import UnmatchedError
from limbeck.runs.network_names import called, card_of, is_path
from limbeck.runs.network_record import digests, read_card
from limbeck.runs.schedules import schedule_of


@contextmanager
def shown_beside(other: tuple[str, NetworkConfig] | None, source: Source) -> Iterator[None]:
    """Makes an error on outputs that cannot be matched show those of another network of the run as well.

    Args:
        other: the role and the config of that network, which has the data's outputs if it brings none; None
            where there is no other.
        source: the data.
    """
    try:
        yield
    except UnmatchedError as error:
        if other is None:
            raise
        card = card_of(other[1])
        raise error.beside(called(other[0]), card.names if card else source.task.outputs) from None


def check_files(path: Path, role: str, source: Source) -> None:
    """Refuses a network whose inputs meant something else: other words by their tokens, or other columns."""
    card = read_card(path / "student.safetensors" if path.is_dir() else path)
    files = digests(source.files)
    for name in files if card and card.tokenizer is None else ():
        if card and card.files.get(name) != files[name]:
            raise LimbeckError(
                f"the {role} {str(path)!r} was trained with another {name} than that of {source.name}; "
                "give the data and its arguments as in that run's config.yaml"
            )
    if card and card.columns and source.columns and card.columns != source.columns:
        raise LimbeckError(
            f"the {role} {str(path)!r} takes the columns {', '.join(card.columns)}, and those of "
            f"{source.name} are {', '.join(source.columns)}; give the data with the {role}'s columns in "
            "their order, columns=[...]"
        )


def check_labels(config: TeacherConfig, source: Source) -> None:
    """Refuses a teacher of which it is not said, or not truly, whether its labels were the noisy ones."""
    if source.noise is None and config.labels is not None:
        raise LimbeckError(f"the labels of {source.name} are clean; leave out teacher.labels")
    if source.noise is not None and config.labels is None:
        raise LimbeckError(
            f"the training labels of {source.name} are noisy; say which ones the teacher learned from: "
            "set teacher.labels=clean or teacher.labels=noisy"
        )
    schedule = schedule_of(config.model)
    place = config.weights or (Path(config.model) if is_path(config.model) else None)
    place = place if schedule is None else schedule.run.path
    run = None if place is None else Run(place if place.is_dir() else place.parent)
    if source.noise is None or run is None or not run.finished:
        return  # there is no record to check it against
    learned, said = run.result.data.noise, source.noise if config.labels == "noisy" else None
    if learned != said:
        raise LimbeckError(
            f"teacher.labels={config.labels} says that the teacher learned from {said or 'clean labels'}, "
            f"but {str(place)!r} learned from {learned or 'clean labels'}"
        )
