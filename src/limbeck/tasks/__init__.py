"""The tasks, each in a package of its own, and the table of them all.

Another package adds its own through the entry-point group `limbeck.tasks` (name = "module:Class").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from limbeck.errors import LimbeckError, unknown
from limbeck.plugins import registered
from limbeck.tasks.base import Task
from limbeck.tasks.classification import Classification
from limbeck.tasks.detection import Detection
from limbeck.tasks.language import Language
from limbeck.tasks.measuring import Agreement, Comparison, Example, Findings, Meter, Metric
from limbeck.tasks.multilabel import Multilabel
from limbeck.tasks.regression import Regression
from limbeck.tasks.restoration import Restoration
from limbeck.tasks.retrieval import Retrieval
from limbeck.tasks.rows import Rows
from limbeck.tasks.segmentation import Segmentation
from limbeck.tasks.similarity import Similarity
from limbeck.tasks.token_classification import TokenClassification

TASKS: Mapping[str, type[Task]] = {
    "classification": Classification,
    "detection": Detection,
    "language": Language,
    "multilabel": Multilabel,
    "regression": Regression,
    "restoration": Restoration,
    "retrieval": Retrieval,
    "segmentation": Segmentation,
    "similarity": Similarity,
    "token_classification": TokenClassification,
}

__all__ = [
    "TASKS",
    "Agreement",
    "Classification",
    "Comparison",
    "Detection",
    "Example",
    "Findings",
    "Language",
    "Meter",
    "Metric",
    "Multilabel",
    "Regression",
    "Restoration",
    "Retrieval",
    "Rows",
    "Segmentation",
    "Similarity",
    "Task",
    "TokenClassification",
    "from_record",
    "named",
    "table",
]


def table() -> Mapping[str, type[Task]]:
    """Every task by its name: limbeck's own, and those of installed packages after them."""
    return {**registered("tasks", Task), **TASKS}  # type: ignore[type-abstract]


def named(name: str, package: str | None = None) -> type[Task]:
    """The task of a name.

    Args:
        name: the name.
        package: the package that brings it, where a record says so.
    Raises:
        LimbeckError: naming that package, or the nearest right name.
    """
    if not isinstance(name, str):
        raise LimbeckError(f"a task is one of {', '.join(table())}, by its name, not {name!r}")
    if name not in table():
        if package is not None:
            raise LimbeckError(
                f"the task {name!r} is not installed here; the package {package!r} brings it, so install that"
            )
        message = str(unknown("task", name, table()))
        raise LimbeckError(f"{message.rstrip('?')}; if a package brings it, install that package")
    return table()[name]


def from_record(record: Mapping[str, Any]) -> Task:
    """The task that a record describes (`Task.record`).

    Raises:
        LimbeckError: for a task that is not installed, and fields that it does not have.
    """
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
    name, package = fields.pop("name", None), fields.pop("package", None)
    try:
        return named(str(name), None if package is None else str(package))(**fields)
    except TypeError as error:
        raise LimbeckError(f"the record of a task {name!r} is damaged: {error}") from None
