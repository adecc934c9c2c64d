"""The data that a run was made on, had back."""

from __future__ import annotations

from pathlib import Path

from limbeck import data
from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.runs.directory import Run, is_imported


def own_data(run: Run, data_dir: Path | None = None) -> Source:
    """The source that the run's config names.

    Args:
        run: the run.
        data_dir: where its files are now; where they were if None.
    Raises:
        LimbeckError: for an imported network, data that was handed over as an object, and a path that is no
            run's directory.
    """
    if is_imported(run.path):
        raise LimbeckError(
            f"{str(run.path)!r} was imported and has no data of its own; name some with --data"
        )
    if not (run.path / "config.yaml").is_file():
        raise LimbeckError(f"{str(run.path)!r} is no run's directory: it holds no config.yaml")
    config = run.config.data
    if config.name.startswith("<"):
        raise LimbeckError(
            f"the data of {str(run.path)!r} was handed over as an object; name some with --data, or give the "
            "object in Python"
        )
    return data.load(config.name, data_dir or config.dir)
