from __future__ import annotations

import importlib
import json
import time
from pathlib import Path

import pytest
from small_training import Fit, Regression, batches, stage

from limbeck.errors import LimbeckError
from limbeck.training import Trainer, trackers
from limbeck.training.trackers import check_trackers


def trained(folder: Path, tracker: str) -> list[float]:
    """A training of two epochs; its loss in each."""
    fit = Fit(Regression())
    trainer = Trainer(device="cpu", display=False, directory=folder, trackers=[tracker])
    trainer.fit(fit, [stage(fit, batches(4))])
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line["terms"]["mse"] for line in lines]


def test_weights_and_biases_records_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    losses = trained(tmp_path / "run", "wandb")
    assert [path.name for path in tmp_path.iterdir()] == ["run"], "nothing beside the run"
    (file,) = (tmp_path / "run" / "trackers" / "wandb").glob("offline-run-*/*.wandb")
    wanted = [b"training/mse", *(repr(loss).encode() for loss in losses)]
    for _ in range(100):  # another process writes it
        if all(part in file.read_bytes() for part in wanted):
            return
        time.sleep(0.1)
    pytest.fail(f"{file} lacks some of {wanted}")


def test_mlflow_records_in_the_runs_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    losses = trained(tmp_path / "run", "mlflow")
    assert [path.name for path in tmp_path.iterdir()] == ["run"], "nothing beside the run"
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'run' / 'trackers' / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'limbeck'")
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "training/mse")
    assert [point.value for point in history] == pytest.approx(losses)
    assert [point.step for point in history] == [1, 2]
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize("name", trackers.EXTRAS)
def test_one_that_is_not_installed_names_its_extra(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "get_available_trackers", list)
    with pytest.raises(LimbeckError) as error:
        check_trackers([name], tmp_path)
    assert str(error.value) == (
        f"the tracker {name!r} is not installed here; `pip install 'limbeck[{name}]'` brings it, or leave it "
        "out of the trackers"
    )


def test_tensorboard_that_cannot_write_says_so_in_a_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record_writer = importlib.import_module("tensorboard.summary.writer.record_writer")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record_writer.RecordWriter, "write", full)
    fit = Fit(Regression())
    trainer = Trainer(device="cpu", directory=tmp_path, trackers=["tensorboard"])
    trainer.fit(fit, [stage(fit, batches(4))])
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert "the trackers cannot write: No space left on device; training goes on without it" in said
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
