"""The parts of a run's page that its evaluation fills."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from limbeck.evaluation.results import Bin, Evaluation
from limbeck.report.chart import Chart, HeatMap, Trace
from limbeck.report.confusion import confusion
from limbeck.report.cost import cost
from limbeck.report.page import Block, Section
from limbeck.report.table import Cell, Table, percent


def sections(found: Evaluation) -> list[Section]:
    """Cost, calibration, robustness, confusion and fidelity, as far as they were measured."""
    parts: list[tuple[str, list[Block]]] = [
        ("Cost", cost(found)),
        ("Confusion", confusion(found)),
        ("Calibration", _calibration(found)),
        ("Robustness to noisy inputs", _robustness(found)),
        ("Fidelity to the teacher", _fidelity(found)),
        ("What was left out", list(found.notes)),
    ]
    return [Section(heading, body) for heading, body in parts if body]


def _calibration(found: Evaluation) -> list[Block]:
    bins = {role: network.calibration.bins for role, network in found.networks.items()}
    curves = [
        Trace(role, [100 * each.confidence for each in its], [100 * each.accuracy for each in its])
        for role, its in bins.items()
    ]
    least = 100 * min(its[0].confidence for its in bins.values())
    perfect = Trace("perfect", [least, 100.0], [least, 100.0], kind="guide")
    caption = "Each mark is a bin of equally many samples. Under the dotted line a network is too sure."
    body: list[Block] = [
        Chart("Reliability", [*curves, perfect], "confidence (%)", "accuracy (%)", caption),
        Chart(
            "How sure it is",
            [_cumulative(role, its) for role, its in bins.items()],
            "confidence (%)",
            "samples less sure than that (%)",
            "A curve far to the right is a network that is sure of most of its answers.",
        ),
    ]
    rows: list[list[Cell]] = []
    for role, network in found.networks.items():
        its = network.calibration
        temperature = None if its.temperature is None else f"{its.temperature:.2f}"
        after = None if its.ece_after is None else percent(its.ece_after)
        nll_after = None if its.nll_after is None else f"{its.nll_after:.3f}"
        rows.append([role, percent(its.ece), f"{network.nll:.3f}", temperature, after, nll_after])
    columns = ["network", "calibration error (%)", "NLL (nats)", "temperature", "error then (%)", "NLL then"]
    notes = "Calibration error: distance of confidence from accuracy over the bins. " + (
        "What follows it is had by dividing the logits by the temperature, fitted on the validation split."
        if found.student.calibration.temperature
        else "No temperature was fitted: that takes a validation split."
    )
    return [*body, Table("Confidence", columns, rows, notes)]


def _cumulative(role: str, bins: Sequence[Bin]) -> Trace:
    total, before, shares = sum(each.samples for each in bins), 0, []
    for each in bins:
        shares.append(100 * (before + each.samples / 2) / total)
        before += each.samples
    return Trace(role, [100 * each.confidence for each in bins], shares)


def _robustness(found: Evaluation) -> list[Block]:
    curves = {role: network.robustness for role, network in found.networks.items() if network.robustness}
    if not curves:
        return []
    kinds = list(next(iter(curves.values())))
    mean = {role: [fmean(at) for at in zip(*its.values(), strict=True)] for role, its in curves.items()}
    by_kind = {kind: {role: its[kind] for role, its in curves.items()} for kind in kinds}
    charts = []
    for title, at_severity in ({"mean of all kinds": mean} | by_kind).items():
        traces = []
        for role, values in at_severity.items():
            accuracy = [found.networks[role].accuracy.top1.value, *values]
            traces.append(Trace(role, range(len(accuracy)), [100 * value for value in accuracy]))
        heading = "JPEG" if title == "jpeg" else title.replace("_", " ").capitalize()
        charts.append(Chart(heading, traces, "severity", "top-1 accuracy (%)", from_zero=True))
    says = (
        "Accuracy on the same samples with noise of rising severity; 0 is none. No network was trained on it."
    )
    return [says, *charts]


def _fidelity(found: Evaluation) -> list[Block]:
    fidelity = found.fidelity
    if fidelity is None:
        return []
    rows: list[list[Cell]] = [
        ["agreement (%)", percent(fidelity.agreement), "samples both give the same class"],
        ["KL divergence (nats)", f"{fidelity.kl:.3f}", "mean, from the teacher's answers to the student's"],
        [
            "class correlations",
            f"{fidelity.correlation.difference:.3f}",
            "mean absolute difference; 0 if equal",
        ],
    ]
    if fidelity.cka.embedding is not None:
        rows.append(
            ["CKA of embeddings", f"{fidelity.cka.embedding:.3f}", "1 if equal up to rotation and scale"]
        )
    body: list[Block] = [
        Table("How close the student is to its teacher", ["measure", "value", "what it is"], rows)
    ]
    if stages := fidelity.cka.stages:
        ours, theirs = [
            [f"stage {at}" for at in range(1, size + 1)] for size in (len(stages), len(stages[0]))
        ]
        shades = [[min(max(value, 0.0), 1.0) for value in row] for row in stages]
        caption = "Linear CKA between what the stages make of the same samples: 1 is equal, 0 unrelated."
        body.append(HeatMap("Stages compared", ours, theirs, stages, shades, "student", "teacher", caption))
    return body
