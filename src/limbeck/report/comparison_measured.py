"""The parts of a comparison's page that the evaluations of its runs fill, over the seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from limbeck.evaluation.results import Evaluation, NetworkResult
from limbeck.report.agreement import CKA, decided
from limbeck.report.page import Block, Section
from limbeck.report.robustness import robustness
from limbeck.report.sections import drawn
from limbeck.report.table import Table, spread
from limbeck.studies.contender import Contender
from limbeck.tasks import Task
from limbeck.tasks.wording import Cell


def sections(contenders: Sequence[Contender]) -> list[Section]:
    """Agreement, robustness and what the task shows of several networks, as far as they were measured."""
    found = [each for it in contenders for each in it.evaluations]
    if not found or any(each.task != found[0].task for each in found):
        return []  # nothing was measured, or not the same thing
    task, networks = found[0].found_task, _networks(contenders, found)
    parts: list[tuple[str, list[Block]]] = [
        ("Agreement with the teacher", _agreement(contenders, task)),
        ("Robustness to noisy inputs", robustness(networks, task.primary)),
    ]
    findings = {name: [each.findings for each in its] for name, its in networks.items()}
    return [*(Section(heading, body) for heading, body in parts if body), *drawn(task.compared(findings))]


def _networks(
    contenders: Sequence[Contender], found: Sequence[Evaluation]
) -> Mapping[str, Sequence[NetworkResult]]:
    """The students by contender, then their teachers, each once, by what they are and where they lie."""
    networks = {it.name: [each.student for each in it.evaluations] for it in contenders if it.evaluations}
    teachers: dict[str, dict[str | None, NetworkResult]] = {}
    for teacher in (each.networks["teacher"] for each in found if "teacher" in each.networks):
        teachers.setdefault(teacher.name, {}).setdefault(teacher.run, teacher)
    for name, its in teachers.items():
        networks["teacher" if len(teachers) == 1 else f"teacher {name}"] = list(its.values())
    return networks


def _agreement(contenders: Sequence[Contender], task: Task) -> list[Block]:
    rows: list[list[Cell]] = []
    for it in contenders:
        if found := [(each.agreement, each.cka) for each in it.evaluations if each.agreement]:
            shares = [its.agreement for its, _ in found]
            rows.append(
                [
                    it.name,
                    spread([None if share is None else 100 * share for share in shares], 1),
                    spread([its.distance for its, _ in found], 3),
                    spread([None if cka is None else cka.embedding for _, cka in found], 3),
                ]
            )
    columns = ["run", "agreement (%)", "distance", "CKA of embeddings"]
    notes = f"Agreement: {decided(task)}. Distance: {task.distance}. CKA: {CKA}."
    return [Table("How close each student is to its teacher", columns, rows, notes)] if rows else []
