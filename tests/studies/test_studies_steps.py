from __future__ import annotations

from pathlib import Path

import pytest

from interrupting import interrupted_after
from limbeck.runs.job_data import data_of
from limbeck.studies.cells import cells_of
from limbeck.studies.outcome import groups
from limbeck.studies.records import Records
from limbeck.studies.rehearsal import rehearse
from limbeck.studies.running import run_study
from limbeck.studies.steps import with_equal_steps
from limbeck.studies.study import Figures, read_study
from study_files import SMALL, write_study

PAIRS = [{"student": "tiny", "teacher": "big"}]


def test_the_student_alone_takes_as_many_steps_where_few_samples_have_labels(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path, seeds=1, pairs=PAIRS))
    cells, records = cells_of(study, tmp_path), Records(tmp_path / "results.json")
    alone = next(cell for cell in cells.students if cell.objective == "alone")
    with interrupted_after(1):
        run_study(cells.only(["alone"]), tmp_path, records, Figures())
    run_study(cells, tmp_path, records, Figures())
    by_key = records.read()
    distilled = by_key["data/tiny-of-big/kd-0"].result
    assert distilled.steps == by_key[alone.key].result.steps == 80
    samples = len(data_of(alone.config).train)
    assert alone.run.config.training.samples_per_epoch == 40 * SMALL["training"]["batch_size"] >= samples
    (group,) = groups(study, cells, by_key)
    assert group.compared["KD"].equal
    assert run_study(cells, tmp_path, Records(tmp_path / "other.json"), Figures()).finished, "it is unchanged"


@pytest.mark.parametrize(
    ("data", "training", "samples"),
    [
        ("digits(labeled=50)", {}, 1000),
        ("digits(labeled=50)", {"samples_per_epoch": 70}, 70),
        ("digits", {}, None),
    ],
)
def test_where_labels_are_complete_or_the_epoch_is_given_nothing_changes(
    tmp_path: Path, data: str, training: dict[str, int], samples: int | None
) -> None:
    file = write_study(tmp_path, data=data, training={**SMALL["training"], **training})
    cell = cells_of(read_study(file), tmp_path).students[0]
    assert cell.steps_of == SMALL["objectives"]["KD"]
    settled = with_equal_steps(cell.config, cell.steps_of, data_of(cell.config))
    assert settled.training.samples_per_epoch == samples


def test_a_plan_takes_a_study_of_few_labels_and_labels_alone_need_no_other_steps(tmp_path: Path) -> None:
    cells = cells_of(read_study(write_study(tmp_path, seeds=1, pairs=PAIRS)), tmp_path / "home")
    (kind,) = rehearse(cells.only(["alone"]), [], timed=True)
    assert kind.seconds is not None
    assert kind.seconds > 0
    without = read_study(write_study(tmp_path, seeds=1, teachers={}, pairs=None, objectives={"alone": "ce"}))
    assert cells_of(without, tmp_path).students[0].steps_of is None, "there is nothing to be equal to"
