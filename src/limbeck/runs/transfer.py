"""What a run's student is worth on other data, beside its teacher and other runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from limbeck import data as sources
from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.evaluation import Contender
from limbeck.evaluation.transfer import FINETUNE, PROBE, Setup, Transfer, finetune, linear_probe
from limbeck.methods.parts.grafts import GraftedStudent
from limbeck.runs import directory, places, preparations
from limbeck.runs.directory import Report, Run, load, place_of
from limbeck.runs.network_checks import check_files
from limbeck.runs.network_names import is_path
from limbeck.runs.network_record import read_card
from limbeck.runs.widths import width_of
from limbeck.teachers.files.reading import is_answers
from limbeck.training import Trainer

Mode = Literal["probe", "finetune"]
SETUPS: Mapping[Mode, Setup] = {"probe": PROBE, "finetune": FINETUNE}


def transfer(
    run: Run | Path | str,
    data: str | Source,
    data_dir: Path | None = None,
    *,
    modes: Sequence[Mode] = ("probe", "finetune"),
    also: Sequence[Run | Path | str] = (),
    epochs: int | None = None,
    rates: Sequence[float] = (),
    views: int | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    display: bool = True,
    report: Report | None = None,
) -> list[dict[str, Any]]:
    """Trains new classifiers for other data on the student of a run and on the networks to compare it with.

    These are the run's teacher, where its run or weights file is there, and the students of the runs in
    `also`. What came out is written to `transfer/` in the run's directory.

    Args:
        run: a finished run or an imported network, or its directory.
        data: a data set's name, or a source.
        data_dir: where its files are.
        modes: "probe" trains the classifier alone, "finetune" all weights.
        also: further runs.
        epochs: number of epochs of each training; those of `SETUPS` if None.
        rates: learning rates to choose from on the validation split; those of `SETUPS` if empty.
        views: how many views of each sample are drawn among; a probe then keeps the embeddings (see `Setup`).
        seed: random seed.
        device: "auto" takes the accelerator there is; "cpu" none.
        overwrite: replace results of the same data, mode and seed.
        display: whether to show progress.
        report: a function that writes the run's page anew, as `limbeck.transfer` gives one by default; the
            page is left as it is if None.
    Returns: what was written, a mapping for each mode.
    Raises:
        LimbeckError: for a run without weights, data that a network cannot take, and results that exist.
    """
    home = _path(run)
    if not (home / "config.yaml").is_file() and not directory.is_imported(home):
        raise LimbeckError(f"{str(home)!r} is no run's directory: it holds no config.yaml")
    source = data if isinstance(data, Source) else sources.load(data, data_dir)
    name = _plain(source, told=isinstance(data, str) and data_dir is None)
    both = set(modes) == {"probe", "finetune"}
    if no_probe := both and source.task.scores != "classes":
        modes = ("finetune",)
    files = {mode: home / "transfer" / f"{name}-{mode}-seed{seed}.json" for mode in modes}
    for file in files.values():
        if file.exists() and not overwrite:
            raise LimbeckError(
                f"{str(file)!r} exists; say overwrite=True (--overwrite) or choose another seed (--seed)"
            )
    trainer = Trainer(device=device, precision="fp32", seed=seed, display=display)
    if no_probe:
        trainer.display.note(f"no probe: it learns by cross-entropy, and {source.task.name} has no classes")
    places = [
        ("student", home),
        *_teacher(home, trainer.display.note),
        *(("also", _path(other)) for other in also),
    ]
    contenders = [(role, _contender(place, role, source)) for role, place in places]
    changes: dict[str, Any] = {} if epochs is None else {"epochs": epochs}
    changes |= {"rates": tuple(rates)} if rates else {}
    results = []
    for mode, file in files.items():
        setup = replace(SETUPS[mode], views=views, seed=seed, **changes)
        learn = linear_probe if mode == "probe" else finetune
        measured = []
        for role, each in contenders:
            trainer.display.note(f"{mode}: {role} {each.run}")
            found = learn(each.network, source, trainer, setup, each.features)
            measured.append({"role": role, "model": each.name, "run": each.run, **_figures(found)})
        result = {
            "mode": mode,
            "task": source.task.record(),
            "setup": asdict(setup),
            "data": {
                "name": source.name,
                "fingerprint": source.fingerprint(),
                "views": str(source.views),
                "train": sum(source.task.counts(source.train.targets)),
                "classes": source.task.width,
            },
            "networks": measured,
        }
        if trainer.main:
            directory.write_json(file, result)
        results.append(result)
    if report and trainer.main and Run(home).finished:
        report(Run(home), Run(home).result, _own_data(Run(home)))
    return results


def _path(run: Run | Path | str) -> Path:
    return place_of(run)


def _own_data(run: Run) -> Source | None:
    """The data that the run was made on; None if it is gone or has changed."""
    try:
        source = run.data()
    except LimbeckError:
        return None
    return source if source.fingerprint() == run.result.data.fingerprint else None


def _plain(source: Source, *, told: bool) -> str:
    """The data's name as a part of a file's, marked by the fingerprint if it is long or does not tell all."""
    name = re.sub(r"[^\w.=]+", "_", source.name).strip("_")
    return name if told and len(name) <= 100 else f"{name[:80]}-{source.fingerprint()}"


def _teacher(home: Path, note: Callable[[str], None]) -> list[tuple[str, Path]]:
    """Where the run's teacher is, if limbeck wrote it and it is still there; notes it if not."""
    teacher = None if directory.is_imported(home) else Run(home).config.teacher
    if teacher is None:
        return []
    teacher = places.located(teacher, Run(home))
    place = Path(teacher.model)
    file = place / "student.safetensors" if place.is_dir() else place
    of_limbeck = is_path(teacher.model) and not is_answers(teacher.model)
    if teacher.weights is None and of_limbeck and file.is_file():
        return [("teacher", place)]
    note(
        f"the teacher {teacher.model!r} is left out: it is no run or weights file of one that is still there"
    )
    return []


def _contender(place: Path, role: str, source: Source) -> Contender:
    network = load(place)
    card = read_card(place / "student.safetensors" if place.is_dir() else place)
    assert card is not None, "load has read it"
    name = f"network of {str(place)!r}" if role == "also" else role
    if isinstance(card.input_shape, dict):
        check_files(place, name, source)
    own = (place / "config.yaml").is_file() and not isinstance(network, GraftedStudent)
    named = Run(place).config.student.features if own else {}
    width_of(network, name, source, preparations.preparation_of(card, place), named)
    return Contender(
        network,
        name=card.model or type(network).__name__,
        run=str(place),
        features={field: path for field, path in named.items() if field == "embedding"},
    )


def _figures(found: Transfer) -> dict[str, Any]:
    return {
        "lr": found.lr,
        "validation": {str(lr): figure and figure.model_dump() for lr, figure in found.tried.items()},
        "test": found.test and found.test.model_dump(),
    }
