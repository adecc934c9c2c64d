from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from filelock import FileLock

from interrupting import interrupted_after
from limbeck.errors import LimbeckError
from limbeck.runs import Run
from limbeck.runs.job_data import data_of
from limbeck.studies import running
from limbeck.studies.study import read_study
from limbeck.studies.tuning import search as searching
from limbeck.studies.tuning.search import Search
from limbeck.studies.tuning.sides import Side, sides_of
from tuned_studies import write_tuning

STATE = optuna.trial.TrialState


def search(
    tmp_path: Path, budget: str = "1s", epochs: int = 2, first_rung: int | None = 1, **training: Any
) -> Search:
    """The side of a baseline without a teacher."""
    training = {"epochs": epochs, "batch_size": 32, "trackers": [], **training}
    tune = {"budget": budget, "reduction": 2, "first_rung": first_rung}
    study = read_study(write_tuning(tmp_path, training=training, tune=tune))
    cell = Side("any", study, (study.baseline,), 7).cell(tmp_path, study.baseline, {})
    source = data_of(cell.config)
    assert study.tune is not None
    return Search(sides_of(study, tmp_path, source, 7)[1], tmp_path / "home", source, study.tune)


def test_a_trial_is_an_ordinary_run_that_never_sees_the_test_split(tmp_path: Path) -> None:
    its = search(tmp_path)
    its.run()
    trials = its.opened().get_trials()
    finished = [trial for trial in trials if trial.state == STATE.COMPLETE]
    assert finished
    assert sum(trial.user_attrs["seconds"] for trial in trials) >= 1, "the budget is spent"
    for trial in finished:
        run = Run(its.path(trial.number))
        assert run.result.metrics.test is None
        assert run.result.metrics.validation is not None
        assert trial.value == run.result.metrics.validation["top1"]
        assert trial.intermediate_values[2] == trial.value
        assert run.config.training.optimizer.lr == trial.params["lr"]
        assert run.config.objective == f"label_smoothing(epsilon={trial.params['smoothing']})"
        assert run.config.seed == 7
    lines = (its.home / "trials.journal").read_text().splitlines()
    assert all(line.startswith("{") for line in lines), "a record of JSON lines"
    its.run()
    assert len(its.opened().get_trials()) == len(trials), "what is spent is spent"


def test_what_a_trial_draws_depends_on_the_seed_and_its_number_alone(tmp_path: Path) -> None:
    drawn = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        its = search(tmp_path / folder)
        its.run()
        drawn.append(its.opened().get_trials()[0].params)
    assert drawn[0] == drawn[1]


def test_a_trial_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    its = search(tmp_path)
    with interrupted_after(1):
        its.run()
    (left,) = its.opened().get_trials()
    assert left.state == STATE.RUNNING
    assert left.user_attrs["seconds"] > 0
    its.run()
    first = its.opened().get_trials()[0]
    assert (first.state, first.params) == (STATE.COMPLETE, left.params)
    assert first.user_attrs["seconds"] > left.user_attrs["seconds"]
    assert [line["epoch"] for line in Run(its.path(0)).history] == [1, 2]


def test_a_trial_that_is_worse_at_a_rung_is_stopped_there(tmp_path: Path) -> None:
    its = search(tmp_path, budget="1h", epochs=3)
    study = its.opened()
    for lr in (0.5, 0.005):
        study.enqueue_trial({"lr": lr, "weight_decay": 1e-4, "smoothing": 0.0})
    said: list[str] = []

    def note(text: str) -> None:
        said.append(text)
        if len(said) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Search(its.side, its.home, its.source, its.tune, note).run()
    good, bad = study.get_trials()
    assert (good.state, bad.state) == (STATE.COMPLETE, STATE.PRUNED)
    assert list(bad.intermediate_values) == [1]
    assert "alone 1, alone, smoothing=0, lr=0.005, weight_decay=0.0001: stopped after epoch 1" in said[1]
    assert not Run(its.path(1)).finished
    assert not (its.path(1) / "checkpoints").exists()


def test_another_process_is_left_its_trial_and_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    its = search(tmp_path)
    its.run()
    study = its.opened()
    other = study.ask()
    lock = FileLock(its.home / "locks" / f"alone-{other.number}.lock")
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        study.tell(other, 0.5)
        lock.release()

    lock.acquire()
    monkeypatch.setattr(time, "sleep", pause)
    its.run()
    assert pauses == [searching.PAUSE]
    assert not its.path(other.number).exists()


def test_a_trial_that_was_left_when_the_time_was_spent_is_closed_without_a_run(tmp_path: Path) -> None:
    its = search(tmp_path)
    its.run()
    left = its.opened().ask()
    its.run()
    assert its.opened().get_trials()[left.number].state == STATE.PRUNED
    assert not its.path(left.number).exists()


def test_trials_that_all_fail_end_the_search_with_their_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: object, **named: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(running, "train", fails)
    its = search(tmp_path)
    with pytest.raises(
        LimbeckError, match=r"3 trials of the alone side failed, and none is .*alone-2.log.*luck"
    ):
        its.run()
    assert "out of luck" in (its.home / "logs" / "alone-2.log").read_text()


@pytest.mark.parametrize(
    ("training", "last"),
    [({"max_steps": 1}, 1), ({"early_stopping": {"patience": 1, "min_delta": 1.0}}, 2)],
)
def test_a_trial_that_is_over_before_its_last_epoch_is_finished_and_not_stopped(
    training: dict[str, Any], last: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    its = search(tmp_path, budget="1h", epochs=20, first_rung=last, **training)
    monkeypatch.setattr(optuna.trial.Trial, "should_prune", lambda trial: last in _reported(trial))

    def note(text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Search(its.side, its.home, its.source, its.tune, note).run()
    (trial,) = its.opened().get_trials()
    assert (trial.state, max(trial.intermediate_values)) == (STATE.COMPLETE, last)


def test_the_first_rung_is_a_ninth_of_the_epochs_that_there_are(tmp_path: Path) -> None:
    its = search(tmp_path, epochs=90, first_rung=None)
    assert its.opened().pruner._min_resource == 10  # type: ignore[attr-defined]
    steps = -(-len(its.source.train) // 32)
    (tmp_path / "bound").mkdir()
    its = search(tmp_path / "bound", epochs=90, first_rung=None, max_steps=18 * steps)
    assert its.opened().pruner._min_resource == 2  # type: ignore[attr-defined]


def _reported(trial: optuna.Trial) -> dict[int, float]:
    return trial.storage.get_trial(trial._trial_id).intermediate_values
