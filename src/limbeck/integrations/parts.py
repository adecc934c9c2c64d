"""What a checkpoint of `transformers` keeps of a distiller besides the student, in a file of its own."""

from __future__ import annotations

from pathlib import Path

from limbeck.distiller import Distiller
from limbeck.errors import LimbeckError
from limbeck.training import checkpoints

NAME = "limbeck.pt"


def save(distiller: Distiller, folder: str) -> None:
    """Writes the methods' own parts, and which phases are done; nothing of student and teacher."""
    parts = {name: each for name, each in distiller.state_dict().items() if not name.startswith("student.")}
    checkpoints.save(Path(folder) / NAME, {"objective": str(distiller.objective), "parts": parts})


def load(distiller: Distiller, folder: str) -> None:
    """Takes back what `save` wrote.

    Raises:
        LimbeckError: if it is not there, damaged, or of another objective.
    """
    path, objective = Path(folder) / NAME, str(distiller.objective)
    if not path.exists():
        raise LimbeckError(
            f"{str(path)!r} is missing, so no distillation can be resumed from there; a checkpoint of a "
            "DistillationTrainer has it unless save_only_model=True"
        )
    saved = checkpoints.load(path)
    if saved["objective"] != objective:
        raise LimbeckError(f"{str(path)!r} is of the objective {saved['objective']!r}, not {objective!r}")
    distiller.load_state_dict({**distiller.state_dict(), **saved["parts"]})
