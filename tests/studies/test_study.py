from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from limbeck.errors import LimbeckError
from limbeck.studies.cells import cells_of
from limbeck.studies.study import read_study, shipped
from study_files import write_study


def test_a_study_has_a_cell_for_each_pair_objective_and_seed_and_shares_what_needs_no_teacher(
    tmp_path: Path,
) -> None:
    cells = cells_of(read_study(write_study(tmp_path)), tmp_path / "home")
    assert [cell.key for cell in cells.all] == [
        "teachers/big",
        "teachers/middle",
        "data/tiny/alone-0",
        "data/tiny-of-big/kd-0",
        "data/tiny-of-middle/kd-0",
        "data/tiny/alone-1",
        "data/tiny-of-big/kd-1",
        "data/tiny-of-middle/kd-1",
    ]
    by_key = {cell.key: cell for cell in cells.all}
    assert by_key["teachers/big"].config.training.epochs == 12
    assert by_key["data/tiny/alone-1"].config.taught_by == {}
    middle = by_key["data/tiny-of-middle/kd-1"]
    assert middle.config.seed == 1
    assert middle.config.teacher is not None
    assert middle.config.teacher.model == str(tmp_path / "home" / "teachers" / "middle")
    assert middle.config.teacher.cache == "logits"
    assert [need.key for need in middle.needs] == ["teachers/middle"]
    assert [need.key for need in by_key["teachers/middle"].needs] == ["teachers/big"]


def test_the_identity_of_a_cell_is_the_same_elsewhere_and_follows_its_teachers(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path))
    here, there = (
        {cell.key: cell.identity for cell in cells_of(study, tmp_path / place).all} for place in "ab"
    )
    assert here == there
    teachers = {"big": {"model": "mlp(hidden=[16])", "training": {"epochs": 13, "batch_size": 10}}}
    changed = read_study(
        write_study(tmp_path, teachers=teachers, pairs=[{"student": "tiny", "teacher": "big"}])
    )
    other = {cell.key: cell.identity for cell in cells_of(changed, tmp_path / "a").all}
    assert other["data/tiny-of-big/kd-0"] != here["data/tiny-of-big/kd-0"]
    assert other["data/tiny/alone-0"] == here["data/tiny/alone-0"]


def test_the_words_of_only_choose_cells_with_the_teachers_they_need(tmp_path: Path) -> None:
    cells = cells_of(read_study(write_study(tmp_path)), tmp_path)
    assert [cell.key for cell in cells.only(["of-middle/kd-0"]).all] == [
        "teachers/big",
        "teachers/middle",
        "data/tiny-of-middle/kd-0",
    ]
    assert [cell.key for cell in cells.only(["alone"]).all] == ["data/tiny/alone-0", "data/tiny/alone-1"]
    with pytest.raises(LimbeckError, match=r"no cell of the study has 'CRD' \(--only\)"):
        cells.only(["CRD"])


def test_training_of_objective_wins_over_pair_student_and_study(tmp_path: Path) -> None:
    file = write_study(
        tmp_path,
        students={"tiny": {"model": "mlp(hidden=[4])", "training": {"epochs": 3, "batch_size": 30}}},
        objectives={"alone": "ce", "long": {"objective": "ce", "training": {"epochs": 7}}},
    )
    found = {cell.key: cell.config.training for cell in cells_of(read_study(file), tmp_path).students}
    assert [found[key].epochs for key in ("data/tiny/alone-0", "data/tiny/long-0")] == [3, 7]
    assert found["data/tiny/long-0"].batch_size == 30
    assert found["data/tiny/long-0"].views == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"baseline": "allone"},
            "unknown baseline, an objective of the study: 'allone'; did you mean 'alone'",
        ),
        ({"objective": {}}, "unknown study key: 'objective'; did you mean 'objectives'"),
        ({"pairs": [{"student": "tine"}]}, "unknown student of a pair: 'tine'; did you mean 'tiny'"),
        ({"pairs": [{"student": "tiny", "teacher": "bog"}]}, "unknown teacher of a pair: 'bog'"),
        ({"seeds": [1, 1]}, "study value seeds=.* should be one seed or more, from 0 on, each once"),
        ({"seeds": 0}, "should be one seed or more"),
        ({"question": None}, "the study lacks question"),
        ({"objectives": {"alone": "ce", "KD": "kdd"}}, "unknown method 'kdd'; did you mean 'kd'"),
        ({"objectives": {"alone": "ce", "KD": "kd", "kd": "dkd"}}, "would both write to"),
        ({"training": {"epoch": 2}}, "unknown config key in training: 'epoch'; did you mean 'epochs'"),
        ({"teachers": {}, "pairs": None}, "'KD' reads a teacher, and the pair of 'tiny' on 'data' has none"),
        (
            {"teachers": {"big": {"model": "mlp", "teacher": "big"}}, "pairs": None},
            "teach each other in a circle",
        ),
        (
            {
                "data": {"a": "digits", "b": "iris"},
                "pairs": [{"student": "tiny"}],
                "objectives": {"alone": "ce"},
            },
            "the pair of 'tiny' does not say its data; the study has a, b",
        ),
    ],
)
def test_what_is_wrong_in_a_study_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    file = write_study(tmp_path, **changes)
    with pytest.raises(LimbeckError, match=message):
        cells_of(read_study(file), tmp_path)


def test_scale_small_changes_what_the_file_says_and_notes_it(tmp_path: Path) -> None:
    small = {"seeds": 1, "data": {"data": {"name": "digits(labeled=20)"}}, "training": {"epochs": 1}}
    file = write_study(tmp_path, data={"data": {"name": "digits"}}, small=small)
    study = read_study(file, "small")
    assert study.seeds == (0,)
    assert study.data["data"].name == "digits(labeled=20)"
    assert study.training["epochs"] == 1
    assert study.training["batch_size"] == 25
    assert "--scale small" in study.note
    with pytest.raises(LimbeckError, match="has nothing under small"):
        read_study(write_study(tmp_path), "small")


def test_scale_small_changes_parts_of_what_the_file_writes_in_short(tmp_path: Path) -> None:
    small = {"training": {"optimizer": {"lr": 0.5}}, "students": {"tiny": {"training": {"epochs": 2}}}}
    file = write_study(tmp_path, training={"optimizer": "adamw"}, students={"tiny": "mlp"}, small=small)
    study = read_study(file, "small")
    assert study.training["optimizer"] == {"name": "adamw", "lr": 0.5}
    assert study.students["tiny"].model == "mlp"
    assert study.students["tiny"].training == {"epochs": 2}


def test_a_study_that_is_not_there_is_named_with_the_nearest_that_limbeck_ships(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=r"there is no study 'nothing.yaml'"):
        read_study(Path("nothing.yaml"))
    with pytest.raises(LimbeckError, match="unknown study 'cifar100-crds'; did you mean 'cifar100-crd'"):
        read_study(Path("cifar100-crds"))


@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_study_that_limbeck_ships_can_be_read_in_both_scales(name: str, tmp_path: Path) -> None:
    for scale in ("full", "small"):
        study = read_study(Path(name), scale)
        assert cells_of(study, tmp_path).students


def test_a_text_for_an_optimizer_or_a_schedule_is_its_name_so_that_parts_come_over_it(tmp_path: Path) -> None:
    study = read_study(
        write_study(
            tmp_path,
            training={"epochs": 2, "optimizer": "adamw", "schedule": "one_cycle"},
            students={"tiny": {"model": "mlp(hidden=[4])", "training": {"optimizer": {"lr": 0.002}}}},
        )
    )
    assert study.training == {
        "epochs": 2,
        "optimizer": {"name": "adamw"},
        "schedule": {"name": "one_cycle"},
    }
    training = cells_of(study, tmp_path).students[0].config.training
    assert (training.optimizer.name, training.optimizer.lr) == ("adamw", 0.002)
    assert str(training.schedule.name) == "one_cycle"
