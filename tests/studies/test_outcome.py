from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from limbeck.errors import LimbeckError
from limbeck.studies.cells import Cells, cells_of
from limbeck.studies.outcome import groups
from limbeck.studies.records import CellRecord
from limbeck.studies.study import Study, read_study
from study_files import write_study
from study_records import records_of

OBJECTIVES = {"alone": "ce", "KD": "0.1*ce + 0.9*kd", "DKD": "ce + dkd"}


def top1(name: str, seed: int) -> float:
    """alone 70 to 74; KD 2, 3, 2, 3, 2 points above; DKD as good."""
    return 0.7 + seed / 100 + {"teacher": 0.2, "alone": 0.0, "KD": 0.02 + seed % 2 / 100, "DKD": 0.0}[name]


def study_of(tmp_path: Path, **changes: Any) -> tuple[Study, Cells, dict[str, CellRecord]]:
    study = read_study(write_study(tmp_path, seeds=5, objectives=OBJECTIVES, **changes))
    cells = cells_of(study, tmp_path / "home")
    return study, cells, records_of(cells, tmp_path / "made", top1)


def test_each_pair_has_its_objectives_beside_the_baseline_that_they_share(tmp_path: Path) -> None:
    study, cells, records = study_of(tmp_path)
    first, second = groups(study, cells, records)
    assert first.title == "tiny taught by big on data"
    assert second.title == "tiny taught by middle on data"
    assert list(first.compared) == ["alone", "KD", "DKD"]
    assert first.compared["alone"].records == second.compared["alone"].records
    assert first.values("KD") == pytest.approx({0: 72.0, 1: 74.0, 2: 74.0, 3: 76.0, 4: 76.0})
    assert first.teacher_values() == pytest.approx({"big": 90.0})
    kd = first.compared["KD"]
    assert kd.difference is not None
    assert kd.difference.mean == pytest.approx(2.4)
    assert kd.difference.effect == pytest.approx(2.4 / 0.3**0.5)
    assert kd.corrected == pytest.approx(2 * (kd.difference.p or 0))  # the smaller of two
    assert kd.samples is not None
    assert kd.samples[0] < 2.4 < kd.samples[1]
    assert first.compared["DKD"].corrected == 1
    assert kd.equal


def test_unequal_steps_are_noticed(tmp_path: Path) -> None:
    study, cells, _ = study_of(tmp_path)
    records = records_of(cells, tmp_path / "more", top1, lambda name: 200 if name == "KD" else 100)
    first = groups(study, cells, records)[0]
    assert [each.equal for each in first.compared.values()] == [True, False, True]


def test_at_equal_cost_contenders_are_read_at_the_budget_of_the_cheapest(tmp_path: Path) -> None:
    study, cells, _ = study_of(tmp_path)
    records = records_of(cells, tmp_path / "more", top1, lambda name: 200 if name == "KD" else 100)
    first = groups(study, cells, records)[0]
    budget, found = first.at_equal_cost("steps") or (0.0, {})
    assert budget == 100
    assert found == pytest.approx({"alone": 72.0, "KD": 74.4 - 20, "DKD": 72.0})
    forwards = first.at_equal_cost("forwards")
    assert forwards is not None
    assert set(forwards[1]) == {"KD", "DKD"}


def test_a_missing_baseline_and_unpaired_seeds_are_errors_unless_partial_is_said(tmp_path: Path) -> None:
    study, cells, records = study_of(tmp_path)
    without = {key: record for key, record in records.items() if "alone" not in key}
    with pytest.raises(LimbeckError, match="the baseline 'alone' is not finished with any seed"):
        groups(study, cells, without)
    assert groups(study, cells, without, partial=True)[0].compared["KD"].difference is None
    fewer = {key: record for key, record in records.items() if key != "data/tiny-of-big/kd-3"}
    with pytest.raises(LimbeckError, match=r"tiny taught by big on data: .*'KD' was not run with seed 3"):
        groups(study, cells, fewer)
    difference = groups(study, cells, fewer, partial=True)[0].compared["KD"].difference
    assert difference is not None
    assert difference.pairs == 4


def test_nothing_finished_is_said(tmp_path: Path) -> None:
    study, cells, _ = study_of(tmp_path)
    with pytest.raises(LimbeckError, match="no cell of the study is finished yet"):
        groups(study, cells, {})
