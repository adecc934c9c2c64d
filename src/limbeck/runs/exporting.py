"""A run's student as a file for others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import nn

from limbeck import models
from limbeck.errors import LimbeckError, unknown
from limbeck.models.checkpoints import save_checkpoint
from limbeck.runs.directory import Run, load


def export(run: Run | Path | str, form: str, out: Path | str, *, overwrite: bool = False) -> list[str]:
    """Writes a run's student to a file; what `limbeck export` does.

    Args:
        run: the run, its directory, or a `student.safetensors` file.
        form: a name of `FORMATS`.
        out: the file.
        overwrite: replace the file.
    Returns: what there is to know of the file, in a few lines.
    Raises:
        LimbeckError: for a run without a student, an unknown format, a student that the format is not for,
            and a file that exists or cannot be written.
    """
    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    path, out = run.path if isinstance(run, Run) else Path(run), Path(out)
    if out.is_dir():
        raise LimbeckError(f"{str(out)!r} is a directory; --out names the file to write")
    if out.resolve() in (path.resolve(), (path / "student.safetensors").resolve()):
        raise LimbeckError(f"{str(out)!r} is the run's own file; choose another --out")
    if out.exists() and not overwrite:
        raise LimbeckError(f"{str(out)!r} exists; say --overwrite or another --out")
    return FORMATS[form](load(path), out)


def _repdistiller(student: nn.Module, out: Path) -> list[str]:
    name, normalisation = save_checkpoint(student, out), models.normalisation_of(student)
    lines = [f"a checkpoint of {name}, {{'model': state_dict}}"]
    if normalisation is not None:
        lines.append(f"it takes images that were normalised before: {normalisation.summary}")
    return lines


FORMATS: Mapping[str, Callable[[nn.Module, Path], list[str]]] = {"repdistiller": _repdistiller}
"""What writes a student in each format, whole or not at all, and says what there is to know of the file."""
