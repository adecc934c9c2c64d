"""Which labels a teacher learned from, where those of the data are noisy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_runs import QUICK, make_student, plain_network, three_classes

import limbeck
from limbeck.data import noisy_labels
from limbeck.errors import LimbeckError
from limbeck.runs import Run

NOISY = "noisy_labels(digits(labeled=200), rate=0.3)"
NOISE = limbeck.data.load(NOISY).noise


def labels(which: str) -> dict[str, Any]:
    return {"settings": {**QUICK["settings"], "teacher.labels": which}}


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """One that learned from the clean labels, and one from the noisy ones."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        which: limbeck.train(
            model="mlp(hidden=[8])",
            data=data,
            out=folder / which,
            **{**QUICK, "epochs": 12, "batch_size": 20},
        )
        for which, data in (("clean", "digits"), ("noisy", NOISY))
    }


@pytest.mark.parametrize("which", ["clean", "noisy"])
def test_what_is_said_is_checked_and_recorded(which: str, teachers: dict[str, Run], tmp_path: Path) -> None:
    run = make_student(tmp_path / "run", teachers[which], data=NOISY, **labels(which))
    assert run.result.teachers["teacher"].labels == which
    assert run.result.data.noise == NOISE
    assert run.result.data.labeled == 200
    assert teachers[which].result.data.noise == (NOISE if which == "noisy" else None)
    assert f"labels: {which}" in (run.path / "config.yaml").read_text()
    again = limbeck.distill(run.path / "config.yaml", out=tmp_path / "again", display=False)
    assert again.result.metrics == run.result.metrics


def test_nothing_said_is_refused(teachers: dict[str, Run], tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=r"are noisy; say which ones .*: set teacher\.labels=clean or"):
        make_student(tmp_path / "run", teachers["clean"], data=NOISY)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("which", "said", "data", "message"),
    [
        ("clean", "noisy", NOISY, r"learned from noisy_labels\(rate=0\.3.*clean' learned from clean labels"),
        (
            "noisy",
            "clean",
            NOISY,
            r"learned from clean labels, but '.*noisy' learned from noisy_labels",
        ),
        ("noisy", "noisy", "noisy_labels(digits, rate=0.3)", r"learned from .*, but '.*noisy' learned from"),
        ("noisy", "noisy", "noisy_labels(digits, rate=0.1)", r"rate=0\.1.*, but '.*noisy_labels\(rate=0\.3"),
        ("clean", "clean", "digits", r"the labels of digits are clean; leave out teacher\.labels"),
        ("clean", "dirty", NOISY, r"teacher\.labels='dirty' should be 'clean' or 'noisy'"),
    ],
)
def test_what_is_not_so_is_refused(
    which: str, said: str, data: str, message: str, teachers: dict[str, Run], tmp_path: Path
) -> None:
    with pytest.raises(LimbeckError, match=message):
        make_student(tmp_path / "run", teachers[which], data=data, **labels(said))
    assert not (tmp_path / "run").exists()


def test_a_weights_file_of_a_run_has_its_record(teachers: dict[str, Run], tmp_path: Path) -> None:
    weights = teachers["clean"].path / "student.safetensors"
    with pytest.raises(LimbeckError, match=r"but '.*clean/student\.safetensors' learned from clean labels"):
        make_student(tmp_path / "run", weights, data=NOISY, **labels("noisy"))
    named = {"teacher.model": "mlp(hidden=[8])", "teacher.weights": str(weights)}
    with pytest.raises(LimbeckError, match=r"but '.*clean/student\.safetensors' learned from clean labels"):
        make_student(tmp_path / "run", None, data=NOISY, settings={**labels("noisy")["settings"], **named})
    assert make_student(tmp_path / "run", weights, data=NOISY, **labels("clean")).finished


def test_a_network_without_a_record_is_believed(tmp_path: Path) -> None:
    source = noisy_labels(three_classes(), rate=0.2)
    changes = {"student": plain_network(), "data": source, "teacher": plain_network(8)}
    with pytest.raises(LimbeckError, match="say which ones the teacher learned from"):
        make_student(tmp_path / "run", **changes)
    run = make_student(tmp_path / "run", **changes, **labels("clean"))
    assert run.result.teachers["teacher"].labels == "clean"


def test_without_a_teacher_there_is_nothing_to_say(tmp_path: Path) -> None:
    run = limbeck.train(model="mlp(hidden=[4])", data=NOISY, out=tmp_path / "run", **QUICK)
    assert run.result.teachers == {}
