"""What a report shows of networks that restore images, and what a model card says of their weak points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from limbeck.tasks.measuring import Agreement, Findings
from limbeck.tasks.restoration.findings import RestorationAgreement, RestorationFindings
from limbeck.tasks.sections import Section, Table

ROWS = 20
"""Images of the table; of more, those with the lowest PSNR of the student."""


def sections(found: Mapping[str, Findings], agreement: Agreement | None) -> Sequence[Section]:
    """The sections of a report; see `limbeck.tasks.Task.sections`.

    Args:
        found: findings by role, the student's among them.
        agreement: agreement of student and teacher; None without a teacher.
    """
    each = {role: its for role, its in found.items() if isinstance(its, RestorationFindings)}
    text = (
        "PSNR and SSIM are those of the luma (BT.601), of levels that are rounded to whole numbers, without "
        "borders as wide as the factor of enlargement, and means over the images. Bicubic enlargement of the "
        f"same inputs has a PSNR of {each['student'].bicubic:.2f} dB."
    )
    parts = [Section("Images", text, [_by_image(each)])]
    if isinstance(agreement, RestorationAgreement):
        said = (
            f"The images of student and teacher differ by {agreement.distance:.2f} of 255 levels on average. "
            f"Against the teacher's images, the student's have a PSNR of {agreement.psnr:.2f} dB."
        )
        parts.append(Section("Images beside the teacher's", said))
    return parts


def _by_image(found: Mapping[str, RestorationFindings]) -> Table:
    """PSNR of every network and of bicubic enlargement, and SSIM of the student, by image."""
    student, others = found["student"], {role: its for role, its in found.items() if role != "student"}
    order = sorted(range(len(student.images)), key=lambda at: student.images[at].psnr)[:ROWS]
    rows = [
        [
            str(student.images[at].index),
            f"{student.images[at].bicubic:.2f}",
            f"{student.images[at].psnr:.2f}",
            *(f"{its.images[at].psnr:.2f}" for its in others.values()),
            None if (likeness := student.images[at].ssim) is None else f"{likeness:.4f}",
        ]
        for at in order
    ]
    more = f" The {ROWS} lowest of {len(student.images)}." if len(order) < len(student.images) else ""
    return Table(
        [
            "image",
            "bicubic (dB)",
            "student (dB)",
            *(f"{role} (dB)" for role in others),
            "SSIM of the student",
        ],
        rows,
        title="PSNR by image",
        notes=f"Images are counted from 0, the lowest PSNR of the student first.{more}",
    )


def weaknesses(found: RestorationFindings) -> Iterator[str]:
    """What a model card says of a student's weak points: sentences of Markdown.

    Args:
        found: the student's findings.
    """
    worst = min(found.images, key=lambda each: each.psnr - each.bicubic)
    gain = fmean(each.psnr - each.bicubic for each in found.images)
    yield f"Its images have a PSNR {gain:+.2f} dB beside bicubic enlargement on average."
    yield (
        f"It gains least on image {worst.index}: {worst.psnr:.2f} dB, where bicubic enlargement has "
        f"{worst.bicubic:.2f} dB."
    )
