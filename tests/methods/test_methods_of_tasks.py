"""Methods of one task, and those that compare maps: two processes learn from a batch what one does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from task_settings import OBJECTIVES, trained, trained_together

from limbeck.methods import METHODS
from two_processes import run_in_two_processes

FURTHER = {
    "segmentation": (
        "0.5*ce + 0.5*kd(temperature=2)",
        'ce + bdd(over="positions")',
        "ce + 10*pairwise",
        "ce + 10*pairwise(adversary=0.01)",
        "ce + cwd(stage=0)",
        'rdd(switch=0, combine="or", hardest=0.8)',
        'rdd(switch=0, smooth=true, combine="student")',
    ),
    "segmentation, half unlabeled": ("ce + kd", "ce + 3*cwd", "rdd(switch=0)"),
    "detection": ("fcos + ce + kd", "fcos + 100*masked_generative"),
    "language": (
        "seqkd(ce, length=8)",
        "on_policy(ce + kd(temperature=1), fraction=0.5, length=8)",
        "ce + on_policy(kd(temperature=1), temperature=0, length=8)",
    ),
}
"""Objectives besides those of `OBJECTIVES`, by task."""

CASES = [
    *((METHODS[name].tasks[0], objective) for name, objective in OBJECTIVES.items()),
    *((task, objective) for task, objectives in FURTHER.items() for objective in objectives),
]
every_case = pytest.mark.parametrize(("task", "objective"), CASES)

DEPENDS_ON_PIECES = {
    "rdd": "the hardest pixels are those of a piece",
    "metakd_sr": "half of a piece is held out",
}
"""Methods that accumulation changes."""


@pytest.fixture(scope="module")
def both() -> dict[tuple[str, str], list[dict[str, Any]]]:
    jobs = [(trained_together, case) for case in CASES]
    results = run_in_two_processes(jobs, paths=[Path(__file__).parent, *map(Path, sys.path)])
    return dict(zip(CASES, results, strict=True))


@pytest.fixture(scope="module")
def alone() -> dict[tuple[str, str], dict[str, Any]]:
    return {case: trained(*case) for case in CASES}


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found["terms"] == pytest.approx(expected["terms"], rel=1e-6, abs=1e-12)
    for ours, theirs in zip(found["gradients"], expected["gradients"], strict=True):
        assert ours.keys() == theirs.keys()
        assert any(each.abs().max() > 1e-6 for each in theirs.values())
        for name, gradient in theirs.items():
            torch.testing.assert_close(ours[name], gradient, rtol=1e-8, atol=1e-11, msg=name)


def test_every_method_of_a_task_is_tried() -> None:
    assert OBJECTIVES.keys() == {name for name, method in METHODS.items() if method.tasks}


@every_case
def test_two_processes_give_the_gradients_of_one(
    task: str, objective: str, both: dict[Any, list[dict[str, Any]]], alone: dict[Any, dict[str, Any]]
) -> None:
    case = task, objective
    for rank in both[case]:
        same(rank, alone[case])
    if task != "detection":  # where every place of every image is a row
        first, second = (rank["rows"] for rank in both[case])
        assert first != second, "a mean over each process would be another one"


@every_case
def test_accumulation_changes_nothing(task: str, objective: str, alone: dict[Any, dict[str, Any]]) -> None:
    if reasons := [why for name, why in DEPENDS_ON_PIECES.items() if name in objective]:
        pytest.skip(reasons[0])
    same(trained(task, objective, accumulation=2), alone[task, objective])
