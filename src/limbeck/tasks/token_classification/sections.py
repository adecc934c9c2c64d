"""What a report shows of networks that label words, and what a model card says of their weak points."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from limbeck.tasks.measuring import Agreement, Findings
from limbeck.tasks.parts.by_class import percent
from limbeck.tasks.sections import Bars, Section, Table
from limbeck.tasks.token_classification.findings import EntityType, TokenAgreement, TokenFindings
from limbeck.tasks.token_classification.spans import Scheme

ROWS = 100
"""Types of the table; of more, those with the most entities."""

BARS = 20
"""Types of a figure; of more, those that are known least."""

RULES = {
    "IOB": "a run of words that begins with B, or with I behind O or another type",
    "BIOES": "a run of words from B to E, or one word with S",
    "BILOU": "a run of words from B to L, or one word with U",
    "IO": "a run of words with the same tag, which is not O",
    "words": "each word, as there is no tag O",
}
"""What an entity is, by the name of the scheme."""


def sections(scheme: Scheme, found: Mapping[str, Findings], agreement: Agreement | None) -> Sequence[Section]:
    """The sections of a report; see `limbeck.tasks.Task.sections`.

    Args:
        scheme: how tags become entities.
        found: findings by role, the student's among them.
        agreement: agreement of student and teacher; None without a teacher.
    """
    each = {role: its for role, its in found.items() if isinstance(its, TokenFindings)}
    text = (
        f"An entity is {RULES[scheme.name]}. It is right if its first word, its last word and its type are."
    )
    parts = [Section("Entities", text, [_by_type(scheme, each), _missed(each)])]
    if isinstance(agreement, TokenAgreement):
        assert agreement.agreement is not None, "tags always have one"
        said = (
            f"Student and teacher give {100 * agreement.agreement:.1f} % of the words the same tag. "
            f"Against the teacher's entities, the student's have an F1 of {100 * agreement.entity_f1:.1f} "
            f"%. The mean divergence KL(teacher, student) of a word is {agreement.distance:.3f} nats."
        )
        parts.append(Section("Entities beside the teacher's", said))
    return parts


def _by_type(scheme: Scheme, found: Mapping[str, TokenFindings]) -> Table:
    """Precision, recall and F1 of the student by type, and the F1 of the others."""
    student, others = found["student"].types, {role: its for role, its in found.items() if role != "student"}
    order = sorted(range(len(student)), key=lambda at: -student[at].entities)[:ROWS]
    rows = [
        [
            scheme.types[at],
            f"{student[at].entities:,}",
            *map(percent, (student[at].precision, student[at].recall, student[at].f1)),
            *(percent(its.types[at].f1) for its in others.values()),
        ]
        for at in order
    ]
    mean = percent(found["student"].metrics["macro_f1"])
    notes = f"The student's; the mean of its F1 is {mean} %, the macro F1."
    if len(order) < len(student):
        notes += f" The {len(order)} types with the most entities, of {len(student)}."
    return Table(
        [
            "type",
            "entities",
            "precision (%)",
            "recall (%)",
            "F1 (%)",
            *(f"F1 of the {role} (%)" for role in others),
        ],
        rows,
        title="By type",
        notes=notes,
    )


def _missed(found: Mapping[str, TokenFindings]) -> Table:
    """What becomes of the entities, by network."""
    rows = []
    for role, its in found.items():
        together, missed = its.all, its.missed
        counts = (together.right, missed.other_type, missed.other_words, missed.absent)
        rows.append([role, *(f"{count:,}" for count in counts), f"{together.found - together.right:,}"])
    return Table(
        ["network", "found", "another type", "other words", "not seen", "answered wrongly"],
        rows,
        title="What becomes of the entities",
        notes='"Another type": the words are right. "Other words": some of the words are in an entity '
        'that was answered. "Answered wrongly": entities that were answered and are none, however close '
        "they come.",
    )


def compared(scheme: Scheme, found: Mapping[str, Sequence[Findings]]) -> Sequence[Section]:
    """The sections of a comparison; see `limbeck.tasks.Task.compared`.

    Args:
        scheme: how tags become entities.
        found: findings by the name of the network, those of each seed.
    """
    scores = {
        name: [
            _mean([each.types[at] for each in seeds if isinstance(each, TokenFindings)])
            for at in range(len(scheme.types))
        ]
        for name, seeds in found.items()
    }
    known = {
        at: fmean(values)
        for at in range(len(scheme.types))
        if (values := [its[at] for its in scores.values() if not math.isnan(its[at])])
    }
    worst = sorted(known, key=lambda at: known[at])[:BARS]
    which = f" The {len(worst)} least known of {len(known)}." if len(worst) < len(known) else ""
    bars = Bars(
        "F1 by type",
        "entity F1 (%)",
        [scheme.types[at] for at in worst],
        {name: [its[at] for at in worst] for name, its in scores.items()},
        kind="points",
        notes=f"Means over the seeds, the least known type first.{which}",
    )
    return [Section("Entities", figures=[bars])]


def _mean(seeds: Sequence[EntityType]) -> float:
    """The mean F1 of a type in percent; NaN where it occurs for no seed."""
    scores = [100 * f1 for each in seeds if (f1 := each.f1) is not None]
    return fmean(scores) if scores else math.nan


def weaknesses(scheme: Scheme, found: TokenFindings) -> Iterator[str]:
    """What a model card says of a student's weak points: sentences of Markdown.

    Args:
        scheme: how tags become entities.
        found: the student's findings.
    """
    scored = [
        (f1, name, its)
        for name, its in zip(scheme.types, found.types, strict=True)
        if its.entities and (f1 := its.f1) is not None
    ]
    if scored:
        f1, name, its = min(scored, key=lambda each: each[0])
        yield (
            f"It is weakest on `{name}`: an F1 of {percent(f1)} % on {its.entities:,} "
            f"{'entity' if its.entities == 1 else 'entities'}."
        )
    missed = found.missed
    if total := missed.other_type + missed.other_words + missed.absent:
        yield (
            f"Of the {total:,} entities that it misses, it gives {missed.other_type:,} another type and "
            f"{missed.other_words:,} other words, and does not see {missed.absent:,}."
        )
    if found.lost:
        yield (
            f"It does not read {found.lost:,} of {found.words:,} words, which are cut off; they count as "
            "answered O."
        )
