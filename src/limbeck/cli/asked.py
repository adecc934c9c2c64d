"""What the commands of a study are told: the study with its cells and directory, and where cells run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from limbeck.errors import LimbeckError

if TYPE_CHECKING:
    from limbeck.studies.cells import Cells
    from limbeck.studies.records import Records
    from limbeck.studies.remote import Remote
    from limbeck.studies.running import Launcher
    from limbeck.studies.study import Study


@dataclass(frozen=True)
class Asked:
    """What all commands are told.

    Attributes:
        study: the study.
        cells: those of its cells that are meant.
        home: its directory on this machine.
        records: the file of its figures.
        remote: the address that finished cells are copied to; None where the study has none.
    """

    study: Study
    cells: Cells
    home: Path
    records: Records
    remote: Remote | None


def read_asked(file: str, scale: str, home: str | None, beside: str = "") -> tuple[Study, Path]:
    """A study with its directory, runs/NAME where none is given.

    Args:
        file: of the study, its address, or its name.
        scale: "full" or "small".
        home: the directory.
        beside: what is put after the name of a directory that is not given.
    """
    from limbeck import urls
    from limbeck.studies.study import read_study

    scales: tuple[Literal["full"], Literal["small"]] = ("full", "small")
    if scale not in scales:
        raise LimbeckError(f"the scale (--scale) is full or small, not {scale!r}")
    study = read_study(file, "small" if scale == "small" else "full")
    name = Path(urls.named(file)).stem + ("-small" if scale == "small" else "") + beside
    path = urls.local(home, "the directory (--out)") if home else Path("runs") / name
    if path.exists() and not path.is_dir():
        raise LimbeckError(f"{str(path)!r} is a file; a study needs a directory (--out)")
    return study, path


def asked_for(file: str, only: list[str] | None, scale: str, home: str | None, results: str | None) -> Asked:
    """What is asked; what is finished at an address counts from then on."""
    from limbeck import urls
    from limbeck.studies.cells import cells_of
    from limbeck.studies.records import Records
    from limbeck.studies.remote import Remote

    remote = Remote(home.rstrip("/")) if home and urls.is_url(home) else None
    study, path = read_asked(file, scale, None if remote else home)
    cells = cells_of(study, path).only(only or [])
    records = Records(urls.local(results, "--results") if results else path / "results.json")
    if remote:
        remote.pull(cells, records)
    return Asked(study, cells, path, records, remote)


def launcher_of(name: str, cpus: int | None, gpus: int | None, slurm: list[str]) -> Launcher:
    """What has cells run; a Ray cluster or a Slurm that is not there is an error at once."""
    from limbeck.cli.values import settings
    from limbeck.studies.launchers import OnRay, OnSlurm
    from limbeck.studies.running import here

    if slurm and name != "slurm":
        raise LimbeckError("--slurm is for --launcher slurm")
    if name == "here":
        if cpus is not None or gpus is not None:
            raise LimbeckError("--cpus and --gpus are for --launcher ray and slurm")
        return here
    cpus, gpus = cpus or 1, gpus or 0
    if name == "ray":
        on_ray = OnRay(cpus, gpus)
        on_ray.connected()
        return on_ray
    if name == "slurm":
        on_slurm = OnSlurm(cpus, gpus, settings(slurm, "--slurm"))
        on_slurm.there()
        return on_slurm
    raise LimbeckError(f"the launcher (--launcher) is here, ray or slurm, not {name!r}")
