from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from limbeck.errors import LimbeckError
from limbeck.studies.cells import cells_of
from limbeck.studies.study import read_study
from limbeck.studies.tuning.space import Range, in_notation, in_settings, placeholders
from tuned_studies import write_tuning


def test_places_are_found_and_filled_as_the_notation_and_the_config_write_values() -> None:
    text = "ce + $w*kd(temperature=$t) + fitnet(layer=$layer, pairs=$pairs)"
    assert list(placeholders({"a": [text], "b": {"lr": "$lr"}})) == ["w", "t", "layer", "pairs", "lr"]
    values = {"w": 0.5, "t": 4, "layer": "stage 2", "pairs": [1, 2], "lr": 0.1, "on": True}
    assert in_notation(text, values) == ('ce + 0.5*kd(temperature=4) + fitnet(layer="stage 2", pairs=[1, 2])')
    assert in_settings({"optimizer": {"lr": "$lr", "nesterov": "$on"}, "epochs": 3}, values) == {
        "optimizer": {"lr": 0.1, "nesterov": True},
        "epochs": 3,
    }
    with pytest.raises(LimbeckError, match=r"one place such as \$lr, and '2\*\$lr' is neither"):
        in_settings({"lr": "2*$lr"}, values)


def test_a_range_is_a_list_or_numbers_and_says_what_it_is() -> None:
    assert Range.model_validate([1, "a"]).ends == (1, "a")
    assert str(Range.model_validate([1, "a"])) == '[1, "a"]'
    assert str(Range(low=0.1, high=10, log=True)) == "0.1 to 10 by factors"


def test_what_is_filled_is_an_ordinary_study_and_what_is_not_can_be_tuned_alone(tmp_path: Path) -> None:
    study = read_study(write_tuning(tmp_path))
    with pytest.raises(
        LimbeckError, match=r"leaves weight, temperature open \(space\); `limbeck tune` chooses"
    ):
        cells_of(study, tmp_path)
    filled = study.filled({"KD": {"weight": 2.5}})
    assert {name: entry.objective for name, entry in filled.objectives.items()} == {
        "alone": "ce",
        "KD": "ce + 2.5*kd(temperature=1)",
        "DKD": "ce + 0.1*dkd",
    }
    assert len(cells_of(filled, tmp_path).students) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": {"alone": "ce", "KD": "$wait*kd"}}, "unknown place of the objective 'KD'.*: 'wait'"),
        ({"space": {"weight": [1], "temperature": [1], "lr": [1]}}, r"the range 'lr' is used nowhere.*\$lr"),
        ({"space": {"weight": {"low": 2, "high": 1}}}, "should be a list such as .1, 2, 4., or have a low"),
        ({"space": {"weight": {"low": 0, "high": 1, "log": True}}}, "should have a low above 0"),
        (
            {"space": {"weight": {"choices": [1], "low": 1}}},
            "should be a list, or numbers from low to high, not both",
        ),
        (
            {"space": {"weight": {"lo": 2, "high": 1}}},
            "unknown study key in space.weight: 'lo'; did you mean 'low'",
        ),
        ({"tune": {"budget": "20"}}, 'should be a time, such as "90s", "30min" or "2h"'),
        ({"tune": {"budget": 20}}, 'should be a time, such as "90s", "30min" or "2h"'),
        ({"tune": {"budgets": "20s"}}, "unknown study key in tune: 'budgets'; did you mean 'budget'"),
        ({"tune": {}}, "the study lacks tune.budget"),
        (
            {"space": {"objective": [1]}, "objectives": {"alone": "ce", "KD": "$objective*kd"}},
            "no range may be named 'objective'",
        ),
    ],
)
def test_what_is_wrong_in_a_space_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        read_study(write_tuning(tmp_path, **changes))
