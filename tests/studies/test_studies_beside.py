from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finished_runs import finished_run
from limbeck.runs import Run
from limbeck.runs.result import BaselineResult, Metrics, Result
from limbeck.studies.beside import over_seeds
from limbeck.studies.statistics import paired_difference

DISTILLED = {seed: 0.80 + seed / 100 for seed in range(6)}
ALONE = {seed: 0.78 - seed % 2 / 100 for seed in range(6)}


def beside(path: Path, seed: int, *, steps: int = 16, **given: Any) -> Run:
    """A run with the student alone beside it; what each reached follows its seed."""
    run = finished_run(path, "kd", seed, DISTILLED[seed], **given)
    its = BaselineResult(
        place=f"../alone-{seed}",
        objective="ce",
        parameters=650,
        steps=steps,
        metrics=Metrics(test={"top1": ALONE[seed]}, validation=None),
        metric="top1",
        split="test",
        values={seed: (DISTILLED[seed], ALONE[seed])},
        difference=DISTILLED[seed] - ALONE[seed],
    )
    run.result.model_copy(update={"baseline": its}).write(path / "result.json")
    return run


def found(run: Run) -> BaselineResult:
    its = over_seeds(run, run.result).alone
    assert its is not None
    return its


def test_the_difference_rests_on_every_seed_once(tmp_path: Path) -> None:
    runs = [beside(tmp_path / f"kd-{seed}", seed) for seed in range(5)]
    beside(tmp_path / "kd-3-again", 3)
    its = found(runs[2])
    assert its.values == {seed: (DISTILLED[seed], ALONE[seed]) for seed in range(5)}
    paired = paired_difference({s: DISTILLED[s] for s in range(5)}, {s: ALONE[s] for s in range(5)})
    assert (its.difference, its.interval) == (paired.mean, paired.interval)
    assert its.verdict == "better"
    assert its.metrics.on("test")["top1"] == ALONE[2], "the figures of the run itself stay"


def test_from_one_seed_there_is_no_interval_and_from_few_no_verdict(tmp_path: Path) -> None:
    run = beside(tmp_path / "kd-0", 0)
    assert over_seeds(run, run.result) == run.result
    beside(tmp_path / "kd-1", 1)
    its = found(run)
    assert (list(its.values), its.verdict) == ([0, 1], None)
    assert its.interval is not None


@pytest.mark.parametrize(
    "given",
    [
        {"epochs": 3},
        {"steps": 17},
        {"fingerprint": "bbbb"},
        {"settings": {"training.clip": 1.0}},
        {"settings": {"teacher.model": "runs/other"}},
    ],
)
def test_a_run_that_differs_in_more_than_the_seed_does_not_count(
    given: dict[str, Any], tmp_path: Path
) -> None:
    run = beside(tmp_path / "kd-0", 0)
    beside(tmp_path / "kd-1", 1, **given)
    assert list(found(run).values) == [0]


def test_data_that_is_drawn_with_the_seed_is_one_data_set(tmp_path: Path) -> None:
    run, *_ = (
        beside(tmp_path / f"kd-{s}", s, data=f"digits(labeled=9, seed={s})", fingerprint=f"f{s}")
        for s in range(3)
    )
    assert list(found(run).values) == [0, 1, 2]


def taught(path: Path, seed: int, weights: str) -> Run:
    """A run by one of several teachers that were made alike."""
    run = beside(path, seed, settings={"teacher.model": f"runs/{weights}"})
    result: Result = run.result
    teacher = result.teachers["teacher"].model_copy(update={"weights": weights, "recipe": "r"})
    result.model_copy(update={"teachers": {"teacher": teacher}}).write(path / "result.json")
    return run


def test_teachers_that_were_made_alike_are_one_where_each_seed_has_its_own(tmp_path: Path) -> None:
    run = taught(tmp_path / "kd-0", 0, "t0")
    taught(tmp_path / "kd-1", 1, "t1")
    assert list(found(run).values) == [0, 1]
    taught(tmp_path / "kd-1-other", 1, "t0")
    taught(tmp_path / "kd-2", 2, "t1")
    assert list(found(run).values) == [0, 1], "a seed has several: those of the same weights count"


def test_what_is_damaged_or_stands_alone_does_not_count(tmp_path: Path) -> None:
    run = beside(tmp_path / "kd-0", 0)
    (beside(tmp_path / "kd-1", 1).path / "result.json").write_text("{}")
    finished_run(tmp_path / "kd-2", "kd", 2)
    (tmp_path / "notes").mkdir()
    assert list(found(run).values) == [0]
    assert over_seeds(Run(tmp_path / "kd-2"), Run(tmp_path / "kd-2").result).baseline is None


def test_of_some_metrics_less_is_better(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from limbeck.tasks import Classification, Metric

    monkeypatch.setattr(Classification, "metrics", (Metric("top1", "RMSE", higher=False),))
    run, *_ = (beside(tmp_path / f"kd-{seed}", seed) for seed in range(5))
    assert found(run).verdict == "worse"
