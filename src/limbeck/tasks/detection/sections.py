"""What a report shows of networks that find objects, and what a model card says of their weak points."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from limbeck.tasks.base import Agreement, Findings
from limbeck.tasks.detection.findings import BoxAgreement, BoxFindings
from limbeck.tasks.sections import Bars, Section, Table

ROWS = 160
"""Classes of the table; of more, those with the most boxes."""

BARS = 20
"""Classes of a figure; of more, those with the lowest precision."""


def sections(
    names: Sequence[str], found: Mapping[str, Findings], agreement: Agreement | None
) -> Sequence[Section]:
    """The sections of a report; see `limbeck.tasks.Task.sections`.

    Args:
        names: names of the classes.
        found: findings by role, the student's among them.
        agreement: agreement of student and teacher; None without a teacher.
    """
    each = {role: its for role, its in found.items() if isinstance(its, BoxFindings)}
    text = (
        "AP is the area below the curve of precision over recall, the mean over IoUs of 0.5 to 0.95; mAP is "
        "its mean over the classes that have boxes. AP50 is the area at an IoU of 0.5."
    )
    parts = [Section("Classes", text, [_by_class(names, each), _by_size(each)])]
    if isinstance(agreement, BoxAgreement) and agreement.agreement is not None:
        said = (
            f"Of the objects that student and teacher find with a score of 0.3 or more, the other has "
            f"{100 * agreement.agreement:.1f} % too: of the same class, with an IoU of 0.5 or more."
        )
        if not math.isnan(agreement.distance):
            said += (
                f" The mean divergence KL(teacher, student) of the classes at a place is "
                f"{agreement.distance:.4f} nats."
            )
        parts.append(Section("Objects beside the teacher's", said))
    return parts


def _by_class(names: Sequence[str], found: Mapping[str, BoxFindings]) -> Table:
    """Both precisions of every network by class."""
    student = found["student"]
    order = sorted(range(len(names)), key=lambda at: -student.classes[at].boxes)[:ROWS]
    rows = [
        [
            names[at],
            f"{student.classes[at].boxes:,}",
            *(
                _percent(value)
                for its in found.values()
                for value in (its.classes[at].ap, its.classes[at].ap50)
            ),
        ]
        for at in order
    ]
    more = f" The {len(order)} classes with the most boxes, of {len(names)}." * (len(order) < len(names))
    columns = [f"{what} of the {role} (%)" for role in found for what in ("AP", "AP50")]
    return Table(
        ["class", "boxes", *columns],
        rows,
        title="By class",
        notes=f"Over the {student.boxes:,} boxes in {student.images:,} images.{more}",
    )


def _by_size(found: Mapping[str, BoxFindings]) -> Table:
    """AP of every network by the size of the boxes."""
    sizes = {
        "small": "below 32 x 32 pixels",
        "medium": "32 x 32 to 96 x 96 pixels",
        "large": "above 96 x 96 pixels",
    }
    rows = [[said, *(_percent(its.sizes[size]) for its in found.values())] for size, said in sizes.items()]
    return Table(["boxes", *(f"AP of the {role} (%)" for role in found)], rows, title="By size")


def compared(names: Sequence[str], found: Mapping[str, Sequence[Findings]]) -> Sequence[Section]:
    """The sections of a comparison; see `limbeck.tasks.Task.compared`.

    Args:
        names: names of the classes.
        found: findings by the name of the network, those of each seed.
    """
    scores = {
        name: [
            _mean([each.classes[at].ap for each in seeds if isinstance(each, BoxFindings)])
            for at in range(len(names))
        ]
        for name, seeds in found.items()
    }
    known = {
        at: fmean(values)
        for at in range(len(names))
        if (values := [its[at] for its in scores.values() if not math.isnan(its[at])])
    }
    worst = sorted(known, key=lambda at: known[at])[:BARS]
    which = f" The {len(worst)} lowest of {len(known)}." if len(worst) < len(known) else ""
    bars = Bars(
        "AP by class",
        "AP (%)",
        [names[at] for at in worst],
        {name: [its[at] for at in worst] for name, its in scores.items()},
        kind="points",
        notes=f"Means over the seeds, the lowest first.{which}",
    )
    return [Section("Classes", figures=[bars])]


def _mean(seeds: Sequence[float | None]) -> float:
    """The mean AP of a class in percent; NaN where it occurs for no seed."""
    known = [100 * value for value in seeds if value is not None]
    return fmean(known) if known else math.nan


def weaknesses(names: Sequence[str], found: BoxFindings) -> Iterator[str]:
    """What a model card says of a student's weak points: sentences of Markdown.

    Args:
        names: names of the classes.
        found: the student's findings.
    """
    scored = [(its.ap, at) for at, its in enumerate(found.classes) if its.ap is not None]
    if len(scored) > 1:
        ap, at = min(scored)
        boxes = found.classes[at].boxes
        yield f"It is weakest on `{names[at]}`: an AP of {_percent(ap)} % on {boxes:,} boxes."
    sized = [(ap, size) for size, ap in found.sizes.items() if ap is not None]
    if len(sized) > 1:
        ap, size = min(sized)
        yield f"Of the sizes, it is weakest on {size} boxes, with an AP of {_percent(ap)} %."


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f}"
