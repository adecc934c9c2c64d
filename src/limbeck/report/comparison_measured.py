"""The parts of a comparison's page that the evaluations of its runs fill, over the seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from limbeck.evaluation.fidelity import FEW_CLASSES
from limbeck.evaluation.results import NetworkResult
from limbeck.report.calibration import calibration
from limbeck.report.chart import Chart, Trace
from limbeck.report.page import Block, Section
from limbeck.report.robustness import robustness
from limbeck.report.study import Contender
from limbeck.report.table import Cell, Table, spread


def sections(contenders: Sequence[Contender]) -> list[Section]:
    """Confusion, calibration, robustness and fidelity, as far as they were measured."""
    found = [each for it in contenders for each in it.evaluations]
    if len({each.class_names for each in found}) != 1:  # nothing was measured, or not the same thing
        return []
    networks = {it.name: [each.student for each in it.evaluations] for it in contenders if it.evaluations}
    teachers: dict[str, dict[str | None, NetworkResult]] = {}  # by what they are and where they lie
    for teacher in (each.networks["teacher"] for each in found if "teacher" in each.networks):
        teachers.setdefault(teacher.name, {}).setdefault(teacher.run, teacher)
    for name, its in teachers.items():
        networks["teacher" if len(teachers) == 1 else f"teacher {name}"] = list(its.values())
    parts: list[tuple[str, list[Block]]] = [
        ("Confusion", _by_class(networks, found[0].class_names)),
        ("Calibration", calibration(networks)),
        ("Robustness to noisy inputs", robustness(networks)),
        ("Fidelity to the teacher", _fidelity(contenders)),
    ]
    return [Section(heading, body) for heading, body in parts if body]


def _by_class(networks: Mapping[str, Sequence[NetworkResult]], names: Sequence[str]) -> list[Block]:
    """The accuracy of each network on the classes that they know least."""
    by_class: dict[str, dict[str, float]] = {}
    for at, label in enumerate(names):
        for name, found in networks.items():
            if rates := [100 * rate.value for each in found if (rate := each.accuracy.per_class[at])]:
                by_class.setdefault(label, {})[name] = fmean(rates)
    worst = sorted(by_class, key=lambda label: fmean(by_class[label].values()))[:FEW_CLASSES]
    traces = []
    for name in networks:
        x = [label for label in worst if name in by_class[label]]
        traces.append(Trace(name, x, [by_class[label][name] for label in x], kind="points"))
    caption = "Means over the seeds, the least known class first."
    if len(worst) < len(by_class):
        caption += f" The {len(worst)} least known of {len(by_class)}."
    return [Chart("Accuracy by class", traces, "class", "accuracy (%)", caption, horizontal=True)]


def _fidelity(contenders: Sequence[Contender]) -> list[Block]:
    rows: list[list[Cell]] = []
    for it in contenders:
        if found := [each.fidelity for each in it.evaluations if each.fidelity]:
            rows.append(
                [
                    it.name,
                    spread([100 * each.agreement for each in found], 1),
                    spread([each.kl for each in found], 3),
                    spread([each.cka.embedding for each in found], 3),
                    spread([each.correlation.difference for each in found], 3),
                ]
            )
    columns = ["run", "agreement (%)", "KL divergence (nats)", "CKA of embeddings", "class correlations"]
    notes = (
        "Agreement: samples both give the same class. KL: mean, from the teacher's answers to the student's. "
        "CKA: 1 if embeddings are equal up to rotation and scale. Class correlations: mean absolute "
        "difference; 0 if equal."
    )
    return [Table("How close each student is to its teacher", columns, rows, notes)] if rows else []
