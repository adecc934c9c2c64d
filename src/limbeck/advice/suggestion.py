"""Suggestions: the rules that fit, in the order that the nearest evidence gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from limbeck.advice.evidence import Cost, Evidence, Finding, evidence
from limbeck.advice.guide import GUIDE, Rule, Try
from limbeck.advice.situation import Situation
from limbeck.methods.base import training_reads
from limbeck.objective import parse

CACHED_FIELDS = {"logits", "embedding"}
READABLE = {"logits": {"logits"}, "answers": {"logits"}, "embeddings": CACHED_FIELDS}
"""What can be read of a teacher of a kind; of others everything."""
ASKED = ("network", "logits", "embeddings")
"""Teachers that answer when they are asked, and whose answers may be kept."""
ORDER = {"better": 0, "undecided": 1, "worse": 2}


@dataclass(frozen=True)
class Suggestion:
    """An objective to try.

    Attributes:
        objective: in the notation.
        options: of `limbeck distill` that go with it, or what to do before; empty if nothing.
        at_hand: what it is for.
        because: the reason.
        findings: what was measured of it in the task, the nearest data first; empty where nothing was.
        near: how many of them are of such data: the same inputs, labels, and few samples or many.
        costs: what a training step took.
        cached: what `--cache-teacher` may keep of the teacher's answers, so that a step costs no forward of
            it; empty if nothing.
    """

    objective: str
    options: str
    at_hand: str
    because: str
    findings: tuple[Finding, ...]
    near: int
    costs: tuple[Cost, ...]
    cached: str

    @property
    def verdict(self) -> str:
        """What the nearest evidence says: better, worse or undecided; undecided without any on such data."""
        found = {each.verdict for each in self.findings[: self.near]}
        return found.pop() if len(found) == 1 else "undecided"

    def affordable(self, budget: float | None) -> bool:
        """Whether no measured cost is above the budget, with a cache where the teacher may be cached."""
        known = [*self.took("live"), *self.took("cached")]
        return budget is None or not known or min(known) <= budget

    def took(self, teacher: Literal["live", "cached"]) -> list[float]:
        """The times of a step that were measured, over that of the student alone, the shortest first.

        Args:
            teacher: how its answers came. None are known from a cache that the objective cannot do with.
        """
        if teacher == "cached" and not self.cached:
            return []
        return sorted(each.ratio for each in self.costs if each.teacher == teacher)


def suggest(given: Situation, known: Evidence | None = None) -> tuple[Suggestion, ...]:
    """What to try, the first first.

    An objective that was measured on such data comes first if it was better than the student alone, by an
    interval over enough seeds, and last if it was worse; otherwise the guide's order stays. What is measured
    to cost more than the budget is left out; what was not measured stays in.

    Args:
        given: what is at hand.
        known: what was measured; what ships with limbeck if left out.
    """
    known = evidence() if known is None else known
    found: dict[tuple[str, str], Suggestion] = {}
    for rule in GUIDE:
        if given.task in rule.tasks and rule.fits(given):
            for each in rule.tries:
                if _readable(each, given):
                    found.setdefault((each.objective, each.options), _suggestion(rule, each, given, known))
    return tuple(
        sorted(
            (each for each in found.values() if each.affordable(given.budget)),
            key=lambda each: ORDER[each.verdict],
        )
    )


def _readable(each: Try, given: Situation) -> bool:
    """Whether the teacher has what the objective reads of it."""
    reads = set(parse(each.objective).all_reads.teacher)
    return given.teacher not in READABLE or reads <= READABLE[given.teacher]


def _suggestion(rule: Rule, each: Try, given: Situation, known: Evidence) -> Suggestion:
    of_task = [found for found in known.of(each.objective, each.how) if found.task == given.task]
    findings = sorted(of_task, key=lambda found: _distance(found, given))
    reads = training_reads(parse(each.objective))
    fields = set(reads.teacher)
    keeps = fields and fields <= CACHED_FIELDS and not reads.further
    return Suggestion(
        each.objective,
        each.options,
        rule.at_hand,
        rule.because,
        tuple(findings),
        sum(not _distance(found, given) for found in findings),
        known.costs_of(each.objective, each.how),
        ("both" if len(fields) > 1 else "".join(fields)) if keeps and given.teacher in ASKED else "",
    )


def _distance(found: Finding, given: Situation) -> int:
    """0 for evidence of such data; the more, the less it has in common."""
    known = None not in (given.samples, found.samples)
    other_size = known and Situation(samples=found.samples).few != given.few
    return 4 * (found.kind != given.kind) + 2 * (found.labels != given.labels) + other_size
