"""The parts of a run's page that its evaluation fills."""

from __future__ import annotations

from limbeck.evaluation.results import Evaluation
from limbeck.report.agreement import agreement
from limbeck.report.cost import cost
from limbeck.report.page import Block, Section
from limbeck.report.robustness import robustness
from limbeck.report.sections import drawn
from limbeck.report.supervision import supervision
from limbeck.report.task_scores import task_scores
from limbeck.report.written import written


def sections(found: Evaluation) -> list[Section]:
    """Cost, agreement, robustness and what the task shows, as far as they were measured."""
    task = found.found_task
    networks = {str(role): [network] for role, network in found.networks.items()}
    findings = {str(role): network.findings for role, network in found.networks.items()}
    before: list[tuple[str, list[Block]]] = [
        ("Cost", cost(found)),
        ("Agreement with the teacher", agreement(found)),
        ("Supervision complexity", supervision(found)),
        ("Robustness to noisy inputs", robustness(networks, task.primary)),
    ]
    return [
        *(Section(heading, body) for heading, body in before if body),
        *drawn(task.sections(findings, found.agreement)),
        *([Section("Task scores", scores)] if (scores := task_scores(found)) else []),
        *([Section("What the networks write", text)] if (text := written(found)) else []),
        *([Section("What was left out", list(found.notes))] if found.notes else []),
    ]
