"""What a report shows of networks that label pixels, and what a model card says of their weak points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from limbeck.tasks.measuring import Agreement, Findings
from limbeck.tasks.parts.by_class import lowest_by_class, percent
from limbeck.tasks.sections import Heatmap, Section, Table
from limbeck.tasks.segmentation.findings import PixelAgreement, PixelFindings
from limbeck.tasks.segmentation.regions import BAND, SMALL

ROWS = 160
"""Classes of the table; of more, those with the most pixels."""

CELLS = 25
"""Classes up to which the confusion matrix is drawn."""


def sections(
    names: Sequence[str], found: Mapping[str, Findings], agreement: Agreement | None
) -> Sequence[Section]:
    """The sections of a report; see `limbeck.tasks.Task.sections`.

    Args:
        names: names of the classes.
        found: findings by role, the student's among them.
        agreement: agreement of student and teacher; None without a teacher.
    """
    each = {role: its for role, its in found.items() if isinstance(its, PixelFindings)}
    text = (
        "IoU is the share of pixels that label and answer both give a class, of those that either gives it. "
        "mIoU is its mean over the classes; a class that is in no label and no answer is left out of it."
    )
    figures: list[Table | Heatmap] = [_by_class(names, each), *_hard(each)]
    if len(names) <= CELLS:
        figures.append(_confusion(names, each["student"]))
    parts = [Section("Classes", text, figures)]
    if isinstance(agreement, PixelAgreement) and agreement.agreement is not None:
        said = (
            f"Student and teacher give {100 * agreement.agreement:.1f} % of the pixels the same class. "
            f"Against the teacher's answers, the student's have an mIoU of {100 * agreement.miou:.1f} %. "
            f"The mean divergence KL(teacher, student) of a pixel is {agreement.distance:.3f} nats."
        )
        parts.append(Section("Classes beside the teacher's", said))
    return parts


def _by_class(names: Sequence[str], found: Mapping[str, PixelFindings]) -> Table:
    """IoU of every network, and the accuracy of the student, by class."""
    student, others = found["student"], {role: its for role, its in found.items() if role != "student"}
    order = sorted(range(len(names)), key=lambda at: -student.pixels[at])[:ROWS]
    total = sum(student.pixels)
    rows = [
        [
            names[at],
            f"{100 * student.pixels[at] / total:.2f}",
            percent(student.recall[at]),
            percent(student.iou[at]),
            *(percent(its.iou[at]) for its in others.values()),
        ]
        for at in order
    ]
    more = (
        f" The {len(order)} classes with the most pixels, of {len(names)}." if len(order) < len(names) else ""
    )
    return Table(
        [
            "class",
            "pixels (%)",
            "accuracy (%)",
            "IoU (%)",
            *(f"IoU of the {role} (%)" for role in others),
        ],
        rows,
        title="By class",
        notes=f"The student's, over the {total:,} pixels that count in {student.images:,} images.{more}",
    )


def _hard(found: Mapping[str, PixelFindings]) -> Iterator[Table]:
    """The figures of every network where labels are hard; nothing where nobody asked for them."""
    some = found["student"].hard
    if some is None or not (some.boundary_pixels or some.small_pixels):
        return
    yield Table(
        ["", "mIoU (%)", "mIoU near boundaries (%)", "accuracy in small regions (%)"],
        [
            [
                role,
                percent(its.metrics["miou"]),
                percent(its.hard.boundary_miou),
                percent(its.hard.small_accuracy),
            ]
            for role, its in found.items()
            if its.hard is not None
        ],
        title="Boundaries and small regions",
        notes=f"Near a boundary is a pixel with another class at most {100 * BAND:.0f} % of the image's "
        f"diagonal away: {some.boundary_pixels:,} pixels. A small region is one of fewer than {SMALL:,} "
        f"pixels of a class that touch at their sides: {some.small_regions:,} regions with "
        f"{some.small_pixels:,} pixels.",
    )


def _confusion(names: Sequence[str], student: PixelFindings) -> Heatmap:
    shares = [
        [round(100 * cell / pixels, 2) if pixels else 0.0 for cell in row]
        for row, pixels in zip(student.matrix, student.pixels, strict=True)
    ]
    return Heatmap(
        "What the student takes for what",
        "answer",
        "label",
        names,
        shares,
        notes="Shares of the pixels of each class, in percent.",
    )


def compared(names: Sequence[str], found: Mapping[str, Sequence[Findings]]) -> Sequence[Section]:
    """The sections of a comparison; see `limbeck.tasks.Task.compared`.

    Args:
        names: names of the classes.
        found: findings by the name of the network, those of each seed.
    """
    shares = {
        name: [each.iou for each in seeds if isinstance(each, PixelFindings)] for name, seeds in found.items()
    }
    return [Section("Classes", figures=[lowest_by_class("IoU", names, shares)])]


def weaknesses(names: Sequence[str], found: PixelFindings) -> Iterator[str]:
    """What a model card says of a student's weak points: sentences of Markdown.

    Args:
        names: names of the classes.
        found: the student's findings.
    """
    scored = [(iou, at) for at, iou in enumerate(found.iou) if iou is not None and found.pixels[at]]
    if not scored:
        return
    iou, at = min(scored)
    yield f"It is weakest on `{names[at]}`: an IoU of {percent(iou)} % on {found.pixels[at]:,} pixels."
    wrong = [0 if other == at else count for other, count in enumerate(found.matrix[at])]
    if count := max(wrong):
        share = percent(count / found.pixels[at])
        yield f"It takes {share} % of the pixels of `{names[at]}` for `{names[wrong.index(count)]}`."
