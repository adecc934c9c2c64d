"""limbeck distills a large trained network into a small one.

Three doors, each usable without the next: the pure functions of `limbeck.losses`; `limbeck.Distiller`, which
turns a batch into losses for a loop of your own; and `limbeck.distill`, from data to a deployable student.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limbeck.distiller import Distiller
    from limbeck.doors import distill, evaluate, train, transfer
    from limbeck.errors import LimbeckError
    from limbeck.methods import Method, Objective
    from limbeck.models.checkpoints import load_checkpoint
    from limbeck.outputs import Batch, Outputs
    from limbeck.runs import Run, load
    from limbeck.runs.exporting import export
    from limbeck.studies.search_views import search_views
    from limbeck.training import Trainer, prepare

__all__ = [
    "Batch",
    "Distiller",
    "LimbeckError",
    "Method",
    "Objective",
    "Outputs",
    "Run",
    "Trainer",
    "distill",
    "evaluate",
    "export",
    "load",
    "load_checkpoint",
    "prepare",
    "search_views",
    "train",
    "transfer",
]

_HOMES = {
    "Batch": "outputs",
    "Distiller": "distiller",
    "LimbeckError": "errors",
    "Method": "methods",
    "Objective": "methods",
    "Outputs": "outputs",
    "Run": "runs",
    "Trainer": "training",
    "distill": "doors",
    "evaluate": "doors",
    "export": "runs.exporting",
    "load": "runs",
    "load_checkpoint": "models.checkpoints",
    "prepare": "training",
    "search_views": "studies.search_views",
    "train": "doors",
    "transfer": "doors",
}
_MODULES = ("data", "evaluation", "features", "losses", "methods", "models", "tasks", "teachers")


def __getattr__(name: str) -> Any:
    """Loads a door when somebody opens it: `limbeck --help` should not wait for torch."""
    if name in _HOMES:
        return getattr(import_module(f"limbeck.{_HOMES[name]}"), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("limbeck")
    if name in _MODULES:
        return import_module(f"limbeck.{name}")
    raise AttributeError(f"module 'limbeck' has no attribute {name!r}")
