"""The parts of a run's page that its evaluation fills."""

from __future__ import annotations

from limbeck.evaluation.results import Evaluation
from limbeck.report.calibration import calibration
from limbeck.report.confusion import confusion
from limbeck.report.cost import cost
from limbeck.report.fidelity import fidelity
from limbeck.report.page import Block, Section
from limbeck.report.robustness import robustness


def sections(found: Evaluation) -> list[Section]:
    """Cost, confusion, calibration, robustness and fidelity, as far as they were measured."""
    networks = {str(role): [network] for role, network in found.networks.items()}
    parts: list[tuple[str, list[Block]]] = [
        ("Cost", cost(found)),
        ("Confusion", confusion(found)),
        ("Calibration", calibration(networks)),
        ("Robustness to noisy inputs", robustness(networks)),
        ("Fidelity to the teacher", fidelity(found)),
        ("What was left out", list(found.notes)),
    ]
    return [Section(heading, body) for heading, body in parts if body]
