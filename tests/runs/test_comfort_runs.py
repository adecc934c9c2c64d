"""Runs whose training is bounded, averaged, frozen in part, or optimized otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import same, state_of, three_classes

from limbeck import runs
from limbeck.data import Source
from limbeck.data.storage.base import Resident
from limbeck.errors import LimbeckError
from limbeck.runs import Run
from limbeck.training.saving import SavePoints

GIVEN: dict[str, Any] = {
    "model": "mlp(hidden=[8, 6])",
    "epochs": 3,
    "batch_size": 20,
    "settings": {"training.trackers": [], "training.precision": "fp32"},
    "display": False,
}


def trained(out: Path, source: Source | None = None, **changes: Any) -> Run:
    settings = {**GIVEN["settings"], **changes.pop("settings", {})}
    given = {"data": source or three_classes(), "out": out, **GIVEN, **changes, "settings": settings}
    return runs.train(**given)


def test_max_steps_bound_a_run_and_what_it_counts(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", max_steps=5)
    assert (run.result.steps, run.result.samples_seen) == (5, 100)
    assert [line["step"] for line in run.history] == [3, 5]
    assert run.config.training.max_steps == 5
    assert trained(tmp_path / "whole").result.samples_seen == 180


def test_a_bound_that_binds_nothing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(tmp_path / "run", max_steps=500, ema=0.999, display=True)
    said = capsys.readouterr().err
    assert "training ends after 9 steps, with its 3 epochs (--epochs), before max_steps=500\n" in said
    assert "ema=0.999 averages over about 1,000 steps, and training has 9, so its first steps count" in said


def test_a_run_that_stops_early_says_so(tmp_path: Path) -> None:
    run = trained(
        tmp_path / "run", epochs=40, early_stopping=2, lr=1e-9, settings={"training.keep_every": 100}
    )
    assert (run.result.steps, run.result.samples_seen) == (9, 180)
    (note,) = [note for note in run.result.notes if "stopped" in note]
    assert note.startswith("Training stopped early after epoch 3: top-1 on the validation split has not")
    assert list(run.kept) == [3], "the last epoch is kept"
    assert run.config.training.early_stopping is not None
    assert "| optimizer steps | 9 |" in (run.path / "README.md").read_text()


def test_each_of_a_pair_stops_by_its_own_figures(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        **GIVEN,
        "data": three_classes(),
        "student": "mlp(hidden=[4])",
        "objective": "label_smoothing",
        "baseline": "auto",
        "early_stopping": 1,
        "epochs": 12,
        "lr": 0.3,
    }
    del given["model"]
    run = runs.distill(out=tmp_path / "run", **given)
    alone = Run(tmp_path / "run-alone")
    assert alone.config.training.early_stopping == run.config.training.early_stopping
    its = run.result.alone
    assert its is not None
    assert its.steps == alone.result.steps
    assert its.in_steps(its.steps) == "in as many steps"
    assert its.in_steps(its.steps + 3) == f"in {its.steps} steps, beside {its.steps + 3}"
    runs.distill(out=tmp_path / "again", **given)
    assert not (tmp_path / "again-alone").exists(), "the first one is it, whenever it stopped"


def test_early_stopping_needs_a_validation_split(tmp_path: Path) -> None:
    source = three_classes()
    without = replace(source, validation=None)
    with pytest.raises(LimbeckError) as error:
        trained(tmp_path / "run", without, early_stopping=3)
    assert str(error.value) == (
        "training is stopped early by the validation split, and triples has none; leave out "
        "training.early_stopping (--early-stopping)"
    )
    assert not (tmp_path / "run").exists()


def test_the_average_is_what_is_shipped(tmp_path: Path) -> None:
    plain, averaged = trained(tmp_path / "plain"), trained(tmp_path / "averaged", ema=0.5)
    assert [line["terms"] for line in plain.history] == [line["terms"] for line in averaged.history]
    assert not same(state_of(plain), state_of(averaged))
    assert averaged.history[-1]["validation"]["nll"] == pytest.approx(
        averaged.result.metrics.on("validation")["nll"], rel=1e-6
    ), "what is measured on the way is what is written"
    assert "their average over the steps, with a decay of 0.5" in (averaged.path / "README.md").read_text()


def test_frozen_parts_stay_as_they_began(tmp_path: Path) -> None:
    free = trained(tmp_path / "free", max_steps=1, lr=1e-12)
    frozen = trained(tmp_path / "frozen", freeze=["layers.0"])
    began, after = state_of(free), state_of(frozen)
    for name, value in began.items():
        assert torch.allclose(value, after[name], atol=1e-9) == (
            name.startswith("layers.0") or "normalization" in name
        ), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"freeze": ["layrs.0"]},
            "no parameter of the student is called 'layrs.0'; did you mean 'layers.0'?",
        ),
        ({"freeze": ["*"]}, "nothing of the student MLP is trained"),
        ({"device": "cuda:7"}, "device='cuda:7' is not available here"),
        (
            {"device": "cpu", "settings": {"training.precision": "fp16"}},
            "precision='fp16' needs a CUDA device",
        ),
        ({"ema": 1.0}, "training.ema=1.0 should be less than 1"),
        ({"early_stopping": 0}, "training.early_stopping.patience=0 should be greater than or equal to 1"),
        ({"max_steps": 0}, "training.max_steps=0 should be greater than or equal to 1"),
        ({"layer_decay": 2.0}, "training.layer_decay=2.0 should be less than or equal to 1"),
        ({"device": "gpu"}, "training.device='gpu' should be auto, cpu, cuda, mps, or cuda:1 for one of"),
        (
            {"freeze": ["layers"], "settings": {"training.optimizer": "muon"}},
            "muon is for the matrices between the embedding and the head of a network, and MLP has none",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(LimbeckError) as error:
        trained(tmp_path / "run", **changes)
    assert message in str(error.value)
    assert not (tmp_path / "run").exists()


class DeadError(BaseException):
    pass


@pytest.mark.parametrize(
    "optimizer",
    [
        "sgd",
        pytest.param(
            "muon",
            marks=pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9 has no Muon"),
        ),
        "lion",
    ],
)
def test_a_resumed_run_ends_with_the_same_weights(
    optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if optimizer == "lion":
        pytest.importorskip("lion_pytorch")
    changes: dict[str, Any] = {
        "max_steps": 8,
        "ema": 0.8,
        "early_stopping": 5,
        "layer_decay": 0.5,
        "freeze": ["layers.1.linear.bias"],
        "save_every": 1,
        "settings": {"training.optimizer.name": optimizer, "training.rates": {"classifier.*": 0.01}},
    }
    whole = trained(tmp_path / "whole", **changes)
    after_step = SavePoints.after_step

    def dying(self: SavePoints, number: int) -> Any:
        due = after_step(self, number)
        if number == 5:
            raise DeadError
        return due

    monkeypatch.setattr(SavePoints, "after_step", dying)
    with pytest.raises(DeadError):
        trained(tmp_path / "run", **changes)
    monkeypatch.undo()
    run = trained(tmp_path / "run", **changes, resume=True)
    assert same(state_of(run), state_of(whole))
    strip = [{k: v for k, v in line.items() if k != "seconds"} for line in run.history]
    assert strip == [{k: v for k, v in line.items() if k != "seconds"} for line in whole.history]


def weighed(weights: list[float], labels: list[int] | None = None) -> Source:
    """60 rows of 4 features, of which the targets of those that weigh nothing may be anything."""
    source = three_classes()
    assert isinstance(source.train.samples, Resident)
    targets = source.train.targets if labels is None else torch.tensor(labels)
    train = replace(source.train, targets=targets, weights=torch.tensor(weights))
    return replace(source, train=train)


def test_labels_that_weigh_nothing_teach_nothing(tmp_path: Path) -> None:
    weights = [0.0 if row % 4 == 1 else 1.0 + row % 2 for row in range(60)]
    right = three_classes().train.targets.tolist()
    wrong = [(label + (weight == 0)) % 3 for label, weight in zip(right, weights, strict=True)]
    assert wrong != right
    runs_of = [
        trained(tmp_path / name, weighed(weights, labels)) for name, labels in (("a", right), ("b", wrong))
    ]
    assert same(*map(state_of, runs_of))
    assert not same(state_of(runs_of[0]), state_of(trained(tmp_path / "plain")))


def test_accumulation_changes_nothing_of_weights(tmp_path: Path) -> None:
    source = weighed([float(row % 5) for row in range(60)])
    whole, parts = (
        trained(tmp_path / str(pieces), source, settings={"training.accumulation": pieces})
        for pieces in (1, 4)
    )
    for name, tensor in state_of(whole).items():
        torch.testing.assert_close(state_of(parts)[name], tensor, rtol=1e-4, atol=1e-5)


def test_weights_are_recorded_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(tmp_path / "run", weighed([0.5, 1.0, 3.0] * 20), display=True)
    assert "training samples have weights from 0.5 to 3, which count in ce and" in capsys.readouterr().err
    assert run.result.data.weights == (0.5, 3.0)
    card = (run.path / "README.md").read_text()
    assert "| weights of training samples | 0.5 to 3, in the terms that fit the labels |" in card
    assert run.result.data.fingerprint != trained(tmp_path / "plain").result.data.fingerprint


def test_an_average_has_time_to_forget_its_first_steps_before_training_is_stopped(tmp_path: Path) -> None:
    # three steps an epoch, and nothing learns: 10 steps are over after epoch 4
    run = trained(tmp_path / "run", epochs=40, early_stopping=2, lr=1e-9, ema=0.9)
    assert run.result.steps == 3 * (4 + 2)
