"""What a report shows of networks that find objects, and what a model card says of their weak points."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from limbeck.tasks.detection.findings import BoxAgreement, BoxFindings
from limbeck.tasks.measuring import Agreement, Findings
from limbeck.tasks.parts.by_class import lowest_by_class, percent
from limbeck.tasks.sections import Section, Table

ROWS = 160
"""Classes of the table; of more, those with the most boxes."""


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
                percent(value)
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
    rows = [[said, *(percent(its.sizes[size]) for its in found.values())] for size, said in sizes.items()]
    return Table(["boxes", *(f"AP of the {role} (%)" for role in found)], rows, title="By size")


def compared(names: Sequence[str], found: Mapping[str, Sequence[Findings]]) -> Sequence[Section]:
    """The sections of a comparison; see `limbeck.tasks.Task.compared`.

    Args:
        names: names of the classes.
        found: findings by the name of the network, those of each seed.
    """
    shares = {
        name: [[its.ap for its in each.classes] for each in seeds if isinstance(each, BoxFindings)]
        for name, seeds in found.items()
    }
    return [Section("Classes", figures=[lowest_by_class("AP", names, shares)])]


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
        yield f"It is weakest on `{names[at]}`: an AP of {percent(ap)} % on {boxes:,} boxes."
    sized = [(ap, size) for size, ap in found.sizes.items() if ap is not None]
    if len(sized) > 1:
        ap, size = min(sized)
        yield f"Of the sizes, it is weakest on {size} boxes, with an AP of {percent(ap)} %."
