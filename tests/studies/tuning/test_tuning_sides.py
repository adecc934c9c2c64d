from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from limbeck.errors import LimbeckError
from limbeck.runs.job_data import data_of
from limbeck.studies.study import Study, read_study
from limbeck.studies.tuning.sides import Side, sides_of
from tuned_studies import write_tuning


def sides(tmp_path: Path, **changes: Any) -> tuple[Side, Side]:
    study = read_study(write_tuning(tmp_path, **changes))
    source = data_of(_first(study, tmp_path).config)
    return sides_of(study, tmp_path, source, seed=7)


def _first(study: Study, home: Path) -> Any:
    return Side("any", study, (study.baseline,), 7).cell(home, study.baseline, {})


def test_a_baseline_that_leaves_nothing_open_has_a_space_of_its_own(tmp_path: Path) -> None:
    distilled, alone = sides(tmp_path, training={"epochs": 2, "optimizer": {"lr": 0.02}, "trackers": []})
    assert distilled.names == ("KD", "DKD")
    assert list(distilled.space("KD")) == ["weight", "temperature"]
    assert list(distilled.space("DKD")) == ["weight"]
    assert {name: (its.low, its.high, its.log) for name, its in alone.space("alone").items()} == {
        "smoothing": (0.0, 0.3, False),
        "lr": (0.002, 0.2, True),
        "weight_decay": (1e-6, 1e-2, True),
    }
    cell = alone.cell(tmp_path, "alone", {"smoothing": 0.1, "lr": 0.03, "weight_decay": 1e-4})
    assert cell.config.objective == "label_smoothing(epsilon=0.1)"
    assert (cell.config.training.optimizer.lr, cell.config.training.optimizer.weight_decay) == (0.03, 1e-4)
    assert cell.config.seed == 7
    distilled_cell = distilled.cell(tmp_path, "KD", {"weight": 3.0, "temperature": 4})
    assert distilled_cell.config.objective == "ce + 3.0*kd(temperature=4)"
    assert distilled_cell.config.training.optimizer.lr == 0.02


def test_a_baseline_with_a_space_keeps_it_and_other_tasks_have_no_smoothing(tmp_path: Path) -> None:
    _, alone = sides(
        tmp_path,
        objectives={
            "alone": {"objective": "ce", "training": {"optimizer": {"lr": "$rate"}}},
            "KD": "ce + $rate*kd",
        },
        space={"rate": [0.1, 0.2]},
    )
    assert list(alone.space("alone")) == ["rate"]
    _, alone = sides(
        tmp_path,
        data="diabetes",
        objectives={"alone": "mse", "both": "mse + $weight*imitation"},
        space={"weight": [0.1, 0.2]},
    )
    assert list(alone.space("alone")) == ["lr", "weight_decay"]


def test_one_objective_without_a_place_is_no_choice(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match="there is nothing to choose: give two objectives or more"):
        sides(tmp_path, objectives={"alone": "ce", "KD": "ce + kd"}, space=None)


@pytest.mark.parametrize("where", ["study", "baseline"])
def test_an_optimizer_that_is_named_by_a_text_stays_for_both_sides(where: str, tmp_path: Path) -> None:
    named = {"optimizer": "adamw"}
    training = {"epochs": 2, "trackers": [], **(named if where == "study" else {})}
    objectives = {
        "alone": {"objective": "ce", "training": {} if where == "study" else named},
        "KD": "ce + $weight*kd",
    }
    _, alone = sides(
        tmp_path, training=training, objectives=objectives, space={"weight": {"low": 0.1, "high": 10}}
    )
    assert alone.space("alone")["lr"].low == pytest.approx(1e-4), "a tenth of AdamW's own"
    cell = alone.cell(tmp_path, "alone", {"smoothing": 0.1, "lr": 0.002, "weight_decay": 1e-4})
    optimizer = cell.config.training.optimizer
    assert (optimizer.name, optimizer.lr, optimizer.weight_decay) == ("adamw", 0.002, 1e-4)
