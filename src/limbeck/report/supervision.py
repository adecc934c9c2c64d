"""How hard the targets were for the student, as a table."""

from __future__ import annotations

from limbeck.evaluation.results import Evaluation, Supervision, TargetComplexity
from limbeck.report.page import Block
from limbeck.report.table import Table
from limbeck.tasks.wording import Cell

KERNELS = {"full": "the whole kernel of all outputs", "mean": "the mean of the kernel over the outputs"}


def supervision(found: Evaluation) -> list[Block]:
    """The complexity of each kind of targets; nothing where it was not measured."""
    return [] if found.supervision is None else [table(found.supervision)]


def table(its: Supervision) -> Table:
    """A row for each kind of targets."""
    kernels = {"trained": its.trained, **({"initial": its.initial} if its.initial else {})}
    columns = ["targets", *(f"{name}{more}" for name in kernels for more in ("", ", relative"))]
    rows: list[list[Cell]] = [
        [name, *(cell for kernel in kernels.values() for cell in _cells(kernel[name]))]
        for name in its.trained
    ]
    return Table("Supervision complexity", columns, rows, _notes(its))


def _cells(its: TargetComplexity) -> tuple[str, str | None]:
    return f"{its.complexity:.4g}", None if its.relative is None else f"{its.relative:.4g}"


def _notes(its: Supervision) -> str:
    return (
        f"Of {its.samples} training samples, with {KERNELS[its.kernel]} and a ridge of {its.ridge:g}. A "
        "reconstruction of 2301.12245: sqrt(Y^T K^-1 Y * tr K) / n with centered targets Y and the student's "
        "neural tangent kernel K. Lower is easier. Relative: how many times that for a kernel that prefers "
        "nothing."
    )
