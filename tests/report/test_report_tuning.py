from __future__ import annotations

from pathlib import Path

import pytest

from limbeck.report.tuning import tuning_page, tuning_tables
from limbeck.runs.job_data import data_of
from limbeck.studies.cells import cells_of
from limbeck.studies.outcome import groups
from limbeck.studies.running import Progress
from limbeck.studies.study import read_study
from limbeck.studies.tuning.door import Searched, Tried, Tuned
from limbeck.studies.tuning.sides import sides_of
from study_records import records_of
from tuned_studies import write_tuning


def top1(name: str, seed: int) -> float:
    return 0.7 + seed / 100 + {"teacher": 0.2, "alone": 0.0, "KD": 0.02 + seed % 2 / 100, "DKD": 0.0}[name]


@pytest.fixture
def tuned(tmp_path: Path) -> Tuned:
    study = read_study(write_tuning(tmp_path, seeds=5, data="digits"))
    won = study.filled({"KD": {"weight": 2.0, "temperature": 4}})
    cells = cells_of(won, tmp_path)
    source = data_of(cells.students[0].config)
    distilled, alone = sides_of(study, tmp_path, source, seed=5)
    best = Tried(1, "finished", "KD", {"weight": 2.0, "temperature": 4}, 2, 0.91, 130.0)
    stopped = Tried(0, "stopped", "DKD", {"weight": 0.123456}, 1, 0.5, 1.5)
    failed = Tried(2, "failed", "DKD", {"weight": 10.0}, 0, None, 0.5)
    base = Tried(0, "finished", "alone", {"smoothing": 0.1, "lr": 0.05, "weight_decay": 1e-4}, 2, 0.9, 132.0)
    (group,) = groups(won, cells, records_of(cells, tmp_path / "made", top1))
    searched = Searched(distilled, (stopped, best, failed), best), Searched(alone, (base,), base)
    return Tuned(won, source, searched, Progress((), {}, (), ()), group)


def test_a_table_says_what_was_tried_in_which_time_and_what_was_chosen(tuned: Tuned) -> None:
    tried, outcome, cost = tuning_tables(tuned)
    assert [list(row) for row in tried.rows] == [
        ["distilled", 1, 1, 1, "0:02:12", "91.00", "KD, weight=2, temperature=4"],
        ["alone", 1, 0, 0, "0:02:12", "90.00", "alone, smoothing=0.1, lr=0.05, weight_decay=0.0001"],
    ]
    assert tried.notes.startswith("Each side had 1s.")
    assert (
        "Searched: distilled, weight 0.1 to 10 by factors, temperature [1, 4]; alone, smoothing 0 to 0.3, "
        "lr 0.005 to 0.5 by factors, weight_decay 1e-06 to 0.01 by factors."
    ) in tried.notes
    assert [row[0] for row in outcome.rows] == ["alone", "KD", "DKD"]
    assert cost.caption.startswith("What it cost")


def test_before_all_is_run_there_is_no_figure_of_the_test_split(tuned: Tuned) -> None:
    left = Tuned(tuned.study, tuned.source, tuned.searched, tuned.progress, None)
    assert [table.caption for table in tuning_tables(left)] == ["What was tried"]


def test_the_page_leads_with_what_fresh_seeds_show_and_lists_every_trial(tuned: Tuned) -> None:
    text = tuning_page(tuned)
    assert (
        "KD, weight=2, temperature=4 beside alone, smoothing=0.1, lr=0.05, weight_decay=0.0001: "
        "+2.40 points of test top-1 over 5 fresh seeds (95 % interval +1.72 to +3.08)."
    ) in text
    assert "Every trial, distilled" in text
    assert "DKD, weight=0.123" in text
