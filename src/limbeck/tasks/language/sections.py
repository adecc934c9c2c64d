"""What a report shows of language models, and what a model card says of their weak points."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from limbeck.tasks.language.findings import LanguageFindings
from limbeck.tasks.measuring import Agreement, Findings
from limbeck.tasks.sections import Line, Lines, Section, Table


def sections(found: Mapping[str, Findings], agreement: Agreement | None) -> Sequence[Section]:
    """The sections of a report; see `limbeck.tasks.Task.sections`.

    Args:
        found: findings by role, the student's among them.
        agreement: agreement of student and teacher; None without a teacher.
    """
    each = {role: its for role, its in found.items() if isinstance(its, LanguageFindings)}
    parts = [Section("Predicted tokens", figures=[_table(each), _contexts(each)])]
    if agreement is not None:
        assert agreement.agreement is not None, "predictions always have one"
        text = (
            "Student and teacher hold the same token for the most probable one in "
            f"{100 * agreement.agreement:.1f} % of the predictions. The mean divergence KL(teacher, student) "
            f"of a prediction is {agreement.distance:.3f} nats."
        )
        parts.append(Section("Agreement with the teacher", text))
    return parts


def _table(found: Mapping[str, LanguageFindings]) -> Table:
    rows = [
        [
            role,
            f"{its.tokens:,}",
            None if its.bytes is None else f"{its.bytes / its.tokens:.2f}",
            f"{its.nll:.4f}",
            f"{math.exp(its.nll):.2f}" if its.nll < 700 else "inf",
            None if its.bytes is None else f"{its.nll * its.tokens / math.log(2) / its.bytes:.4f}",
            f"{100 * its.accuracy:.1f}",
        ]
        for role, its in found.items()
    ]
    columns = ["network", "tokens", "bytes a token", "NLL", "perplexity", "bits per byte", "accuracy (%)"]
    notes = (
        "The NLL is a mean over the predicted tokens, in nats; networks with other tokenizers are compared "
        "by bits per byte. Accuracy is the share of the tokens that were held for the most probable."
    )
    return Table(columns, rows, notes=notes)


def _contexts(found: Mapping[str, LanguageFindings]) -> Lines:
    lines = [
        Line(role, [(math.log2(each.first), each.nll) for each in its.contexts], role)
        for role, its in found.items()
    ]
    return Lines(
        "NLL by length of the context",
        "log2 of the tokens before the predicted one",
        "NLL (nats)",
        lines,
        notes="A point is of the tokens that are predicted from n to 2n - 1 tokens of the same document.",
    )


def weaknesses(found: LanguageFindings) -> Iterator[str]:
    """What a model card says of a student's weak points: sentences of Markdown.

    Args:
        found: the student's findings.
    """
    yield "It writes what is probable and not what is true; its text is to be checked before it is used."
    worst = max(found.contexts, key=lambda each: each.nll)
    yield (
        f"It is worst where it has {worst.first} to {worst.last} tokens to go by: {worst.nll:.2f} nats a "
        f"token, {found.nll:.2f} over all."
    )
