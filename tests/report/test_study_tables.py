from __future__ import annotations

from pathlib import Path

import pytest

from limbeck.report.study_page import study_page
from limbeck.report.study_tables import (
    all_tables,
    cost_table,
    noise_table,
    outcome_table,
    rank_table,
    records_of,
    transfer_table,
)
from limbeck.studies.cells import cells_of
from limbeck.studies.outcome import Group, groups
from limbeck.studies.study import Study, read_study
from study_files import write_study
from study_records import records_of as made_records


def top1(name: str, seed: int) -> float:
    return 0.7 + seed / 100 + {"teacher": 0.2, "alone": 0.0, "KD": 0.02 + seed % 2 / 100}[name]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, list[Group]]:
    folder = tmp_path_factory.mktemp("tables")
    study = read_study(write_study(folder, seeds=5, note="On digits."))
    cells = cells_of(study, folder / "home")
    return study, groups(study, cells, made_records(cells, folder / "made", top1))


def test_outcome_says_difference_interval_effect_and_what_it_is_not_about(
    found: tuple[Study, list[Group]],
) -> None:
    study, (first, _) = found
    table = outcome_table(study, first)
    alone, kd = table.rows
    assert alone == ["alone", "72.00 ± 1.58", None, None, None, None, 5, "baseline"]
    # sd 0.5477 of the differences 2, 3, 2, 3, 2; 2.776445 is the 97.5 % point of Student's t with 4 degrees
    assert kd[:4] == ["KD", "74.40 ± 1.67", "+2.40 (+1.72 to +3.08)", "+4.38"]
    assert kd[6:] == [5, "better"]
    assert "Teacher, top-1 (%): big 90.00." in table.notes
    assert "Neither is about another teacher, student or data set." in table.notes
    assert table.notes.endswith("On digits.")


def test_few_seeds_have_no_verdict(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path, seeds=2))
    cells = cells_of(study, tmp_path / "home")
    table = outcome_table(study, groups(study, cells, made_records(cells, tmp_path / "made", top1))[0])
    assert table.rows[1][-1] == "none from 2 of 5 seeds"


def test_costs_noise_and_ranks_have_a_row_for_each(found: tuple[Study, list[Group]]) -> None:
    study, both = found
    costs = cost_table(study, both[0])
    assert costs.columns[:3] == [
        "objective",
        "optimizer steps",
        "validation top-1 (%) at 100 optimizer steps",
    ]
    assert costs.rows[1][:3] == ["KD", 100, "74.40"]
    noise = noise_table(study, both[0])
    assert noise is not None
    assert [row[0] for row in noise.rows] == ["teacher big", "alone", "KD"]
    assert noise.rows[1][1:] == ["72.00 ± 1.58", "42.00 ± 1.58"]
    assert transfer_table(study, both[0]) is None
    ranked = rank_table(study, both)
    assert ranked is not None
    assert ranked.rows == [["KD", "1.00"], ["alone", "2.00"]]
    assert rank_table(study, both[:1]) is None
    assert len(all_tables(study, both)) == 7
    assert records_of(both)[1]["difference"] == pytest.approx(2.4)


def test_page_leads_with_the_question_and_the_best_difference(found: tuple[Study, list[Group]]) -> None:
    page = study_page(*found)
    assert "Does a teacher help?" in page
    assert "KD is the best of 1 at equal steps, +2.40 points against alone" in page
    assert "tiny taught by middle on data" in page
