"""Which objective to try first, with the reason and what was measured of it."""

from __future__ import annotations

from limbeck.optional import need

need("limbeck.advice", "data", "report", "run")

from limbeck.advice.evidence import Cost, Evidence, Finding, evidence
from limbeck.advice.guide import GUIDE, Rule, Try
from limbeck.advice.situation import Situation, situation
from limbeck.advice.suggestion import Suggestion, suggest

__all__ = [
    "GUIDE",
    "Cost",
    "Evidence",
    "Finding",
    "Rule",
    "Situation",
    "Suggestion",
    "Try",
    "evidence",
    "situation",
    "suggest",
]
