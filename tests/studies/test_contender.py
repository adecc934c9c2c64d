from __future__ import annotations

from typing import Any

import pytest

from limbeck.errors import LimbeckError
from limbeck.runs.result import DataResult, Metrics, Result, StudentResult
from limbeck.studies.contender import Contender, common_task, unequal
from limbeck.studies.measures import measures


def result(seed: int = 0, **changes: Any) -> Result:
    return Result(
        objective="ce",
        arguments={},
        seed=seed,
        selection="last",
        task={"name": "classification", "names": ["a", "b"]},
        student=StudentResult(model="cnn", parameters=1),
        metrics=Metrics(test={"top1": 0.5 + seed / 10}, validation=None),
        agreement=None,
        seconds=1,
        data=DataResult(
            name="d", fingerprint="f", train=1, labeled=1, validation=1, test=1, outputs=2, measured={}
        ),
    ).model_copy(update=changes)


def line(phase: str, step: int) -> dict[str, Any]:
    return {"phase": phase, "step": step, "terms": {}}


def test_it_needs_a_history_for_each_result() -> None:
    with pytest.raises(LimbeckError, match="'a' needs a history for each result"):
        Contender("a", [result()], [])
    with pytest.raises(LimbeckError, match="it has 0 results"):
        Contender("a", [], [])


def test_a_seed_counts_once() -> None:
    with pytest.raises(LimbeckError, match="'a' has two runs with one seed"):
        Contender("a", [result(3), result(3)], [[], []])


def test_values_are_by_seed_where_they_were_measured() -> None:
    unmeasured = result(2, metrics=Metrics(test=None, validation={"top1": 0.25}))
    made = Contender("a", [result(1), unmeasured], [[], []])
    test, validation = measures(["top1", "validation.top1"], made.task)
    assert made.values(test) == {1: 60}
    assert made.values(validation) == {2: 25}
    assert made.seeds == (1, 2)


def test_steps_are_recorded_or_those_of_the_last_line_of_training() -> None:
    history = [line("mgd.low", 90), line("training", 8), line("training", 16)]
    made = Contender("a", [result(0, steps=7), result(1), result(2)], [history, history, history[:1]])
    assert made.steps == {0: 7, 1: 16}


def test_steps_are_compared_seed_by_seed() -> None:
    one = Contender("a", [result(0, steps=7), result(1, steps=9)], [[], []])
    assert not unequal(one, Contender("b", [result(1, steps=9), result(2, steps=5)], [[], []]))
    assert unequal(one, Contender("b", [result(1, steps=8)], [[]]))
    assert not unequal(one, Contender("b", [result(1)], [[]])), "it is not known"


def test_the_task_that_all_have() -> None:
    one = Contender("a", [result()], [[]])
    other = Contender("b", [result(task={"name": "classification", "names": ["x", "y", "z"]})], [[]])
    assert common_task([one, other]) == one.task
