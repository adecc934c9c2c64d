from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_runs import QUICK, make_teacher, three_classes

import limbeck
from limbeck.errors import LimbeckError
from limbeck.runs import Run
from limbeck.runs.evaluate import evaluate


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_teacher(tmp_path_factory.mktemp("runs") / "run")


def test_it_measures_what_the_run_had_measured(run: Run) -> None:
    for given in (run, run.path, str(run.path)):
        found = evaluate(given)
        assert found.keys() == {"validation", "test"}
        for split, metrics in found.items():
            assert metrics == pytest.approx(run.result["metrics"][split], rel=1e-9)


def test_it_measures_the_weights_that_are_there(run: Run, tmp_path: Path) -> None:
    copy = Run(Path(shutil.copytree(run.path, tmp_path / "copy")))
    network = limbeck.load(copy)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        list(network.parameters())[-1][3] = 1.0  # every scan is a three
    metadata = limbeck.models.weights.read_metadata(run.path / "student.safetensors")
    limbeck.models.save(network, copy.path / "student.safetensors", metadata)
    targets = limbeck.data.load("digits").test.targets  # type: ignore[union-attr]
    assert evaluate(copy)["test"]["top1"] == pytest.approx((targets == 3).double().mean().item())


def test_data_that_was_handed_over_is_refused(tmp_path: Path) -> None:
    made = limbeck.train(model="mlp", data=three_classes(), out=tmp_path / "run", **QUICK)
    with pytest.raises(LimbeckError, match=r"was handed over as an object; use limbeck\.evaluation"):
        evaluate(made)


def test_what_is_no_finished_run_is_refused(run: Run, tmp_path: Path) -> None:
    shutil.copy(run.path / "student.safetensors", tmp_path)
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "student.safetensors"):
        with pytest.raises(LimbeckError, match=rf"'{place}' is no run's directory: it holds no config\.yaml"):
            evaluate(place)
    (tmp_path / "student.safetensors").unlink()
    shutil.copy(run.path / "config.yaml", tmp_path)
    with pytest.raises(LimbeckError, match=r"holds no student\.safetensors"):
        evaluate(tmp_path)


def test_data_without_anything_to_measure_on_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    source = replace(limbeck.data.load("digits"), validation=None, test=None)
    monkeypatch.setattr(limbeck.data, "load", lambda *arguments: source)
    with pytest.raises(LimbeckError, match="digits has neither a validation nor a test split"):
        evaluate(run)


class TestOtherData:
    def test_a_run_is_measured_on_the_data_that_are_named(self, run: Run) -> None:
        assert evaluate(run, "digits(labelled=500)") == evaluate(run)

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ("digit", "unknown data set 'digit'; did you mean 'digits'"),
            ("breast_cancer", r"the student cannot take inputs of shape \(30,\): "),
        ],
    )
    def test_data_that_do_not_fit_are_refused(self, data: str, message: str, run: Run) -> None:
        with pytest.raises(LimbeckError, match=message):
            evaluate(run, data)

    def test_data_of_other_classes_are_refused(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        source = limbeck.data.load("digits")
        monkeypatch.setattr(limbeck.data, "load", lambda *given: replace(source, class_names=("a", "b")))
        with pytest.raises(LimbeckError, match="the student tells 10 classes apart, and digits has 2"):
            evaluate(run, "digits")
