from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from limbeck import data
from limbeck.errors import LimbeckError
from limbeck.studies import running
from limbeck.studies.records import Records
from limbeck.studies.study import read_study
from limbeck.studies.tuning import door
from limbeck.studies.tuning.door import Tuned, tune
from tuned_studies import write_tuning


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tuned]:
    folder = tmp_path_factory.mktemp("tuned")
    return folder, tune(read_study(write_tuning(folder)), folder / "home")


def test_the_winners_run_with_fresh_seeds_and_only_they_see_the_test_split(tuned: tuple[Path, Tuned]) -> None:
    folder, found = tuned
    distilled, alone = found.searched
    assert distilled.best.objective in ("KD", "DKD")
    assert {each.side.seed for each in found.searched} == {2}
    for each in found.searched:
        finished = [trial for trial in each.trials if trial.state == "finished"]
        assert each.best.value == max(trial.value for trial in finished if trial.value is not None)
        assert each.seconds >= 1
    assert found.group is not None
    assert set(found.group.compared) == {"alone", distilled.best.objective}
    records = Records(folder / "home" / "results.json").read()
    students = {key: record for key, record in records.items() if not key.startswith("teachers/")}
    assert sorted(record.result.seed for record in students.values()) == [0, 0, 1, 1]
    for record in students.values():
        assert record.result.metrics.test is not None
    base = found.group.compared["alone"].records[0].identity
    assert base["training.optimizer.lr"] == alone.best.values["lr"]
    assert base["objective"] == f"label_smoothing(epsilon={alone.best.values['smoothing']})"
    for file in (folder / "home" / "trials").glob("*/result.json"):
        assert json.loads(file.read_text())["metrics"]["test"] is None


def test_called_again_it_tells_the_same_and_runs_nothing(
    tuned: tuple[Path, Tuned], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = tuned
    for name in ("train", "distill"):
        monkeypatch.setattr(running, name, None)
    again = tune(read_study(folder / "tries.yaml"), folder / "home")
    assert again.searched == found.searched
    assert again.group == found.group


def test_a_change_of_what_was_asked_is_listed(tuned: tuple[Path, Tuned], tmp_path: Path) -> None:
    folder, _ = tuned
    changed = read_study(write_tuning(tmp_path, tune={"budget": "2s"}, students={"tiny": "mlp(hidden=[5])"}))
    with pytest.raises(LimbeckError, match="the study has changed since its tuning began") as error:
        tune(changed, folder / "home")
    assert "tune.budget was '1s' and is '2s'" in str(error.value)
    assert "distilled.run.student.model was 'mlp(hidden=[4])' and is 'mlp(hidden=[5])'" in str(error.value)


def test_numbers_of_steps_stay_those_of_the_trials(tmp_path: Path) -> None:
    objectives = {"alone": "ce", "KD": "0.001*ce + $weight*kd", "DKD": "ce + 0.001*dkd"}
    file = write_tuning(
        tmp_path, seeds=1, data="digits(labeled=50)", objectives=objectives, space={"weight": [1e-6, 2e-6]}
    )
    found = tune(read_study(file), tmp_path / "home")
    assert found.group is not None
    steps = {
        record.result.steps for each in found.group.compared.values() for record in each.records.values()
    }
    assert steps == {64}, "all samples, of which 50 have labels, in batches of 32 for 2 epochs"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tune": None}, "does not say how it is tuned; give tune: "),
        ({"tune": {"budget": "1s", "seed": 1}}, "tune.seed=1 is among the seeds of the study"),
        ({"students": {"a": "mlp", "b": "mlp"}}, "the study has 2 pairs; name one under pairs"),
        (
            {"objectives": {"alone": "ce", "KD": "ce + kd(temperature=$t)"}, "space": {"t": [1, 0]}},
            "temperature",
        ),
        ({"students": {"tiny": "mpl"}}, "unknown model 'mpl'; did you mean 'mlp'"),
    ],
)
def test_what_cannot_be_tuned_is_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    file = write_tuning(tmp_path, **changes)
    with pytest.raises(LimbeckError, match=message):
        tune(read_study(file), tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_a_teacher_that_has_learned_nothing_ends_it_before_anything_is_tried(tmp_path: Path) -> None:
    untrained = {"epochs": 1, "optimizer": {"lr": 1e-9}}
    teachers = {"good": {"model": "mlp(hidden=[4])", "training": untrained}}
    study = write_tuning(tmp_path, data="digits", teachers=teachers)
    with pytest.raises(LimbeckError, match=r"the teacher 'good' is of the run .* no better than chance"):
        tune(read_study(study), tmp_path / "home")
    assert not (tmp_path / "home" / "trials").exists()


def test_data_without_a_validation_split_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "data_of", lambda config: replace(data.load("iris"), validation=None))
    with pytest.raises(LimbeckError, match="iris has no validation split, and nothing is chosen by the test"):
        tune(read_study(write_tuning(tmp_path)), tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_without_optuna_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(LimbeckError, match=r"optuna is not installed; `pip install 'limbeck\[tune\]'`"):
        tune(read_study(write_tuning(tmp_path)), tmp_path / "home")
