"""A run of two processes with student and teacher in shares ends as one with both of them whole."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch.distributed.fsdp import fully_shard

import limbeck
from limbeck import Run
from limbeck.errors import LimbeckError
from limbeck.models.weights import load_state
from two_processes import as_launched, run_in_two_processes

PLAIN = {"training.trackers": [], "training.precision": "fp32", "training.memory_format": "contiguous"}
SETTINGS = {
    **PLAIN,
    "training.optimizer": {"name": "adamw", "lr": 0.01},
    "training.selection": "validation",
    "training.ema": 0.9,
    "training.freeze": ["stages.0.0.*"],
    "training.layer_decay": 0.7,
    "training.rates": {"classifier.*": 0.005},
}
STUDENT = "cnn(channels=[6, 9])"


def distilled(rank: int, world: int, folder: str, sharding: str) -> dict[str, Any]:
    """What one of the processes sees of the run's result."""
    as_launched(rank, world)
    with patch("limbeck.training.sharding.fully_shard", wraps=fully_shard) as sharded:
        run = limbeck.distill(
            student=STUDENT,
            teacher=f"{folder}/teacher",
            data="digits(labeled=200)",
            objective="ce + kd(temperature=4)",
            epochs=2,
            batch_size=40,
            settings={**SETTINGS, "training.sharding": sharding},
            out=f"{folder}/{sharding}",
            display=False,
        )
    return {"top1": run.result.metrics.on("test")["top1"], "sharded": sharded.call_count}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sharded-runs")
    limbeck.train(
        model="cnn(channels=[9, 12])",
        data="digits(labeled=200)",
        epochs=2,
        settings=PLAIN,
        out=made / "teacher",
        display=False,
    )
    return made


def test_what_is_shipped_is_the_same(folder: Path) -> None:
    pytest.importorskip("torch", "2.7")
    jobs = [(distilled, (str(folder), sharding)) for sharding in ("none", "both")]
    whole, shared = run_in_two_processes(jobs, [Path(__file__).parent, *map(Path, sys.path)])
    assert [rank["sharded"] for rank in whole] == [0, 0]
    assert [rank["sharded"] for rank in shared] == [6, 6], "two stages and the rest of each network"
    for rank in shared:
        assert rank["top1"] == pytest.approx(whole[0]["top1"], abs=0.005)
    one, other = (load_state(folder / each / "student.safetensors") for each in ("none", "both"))
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-5, msg=name)
    lines = [Run(folder / each).history for each in ("none", "both")]
    for expected, found in zip(*lines, strict=True):
        assert found["terms"] == pytest.approx(expected["terms"], rel=1e-4)
        assert found["validation"] == pytest.approx(expected["validation"], rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"training.keep_every": 1}, "training.keep_every was not tried with a sharded student"),
        ({"training.optimizer": "muon"}, "muon was not tried with a sharded student; use adamw"),
        ({"training.compile": True}, "training.compile=True was not tried with a sharded"),
        ({"objective": "mgd(ce)"}, "mgd.low is a phase before training, which was not tried with a"),
        ({"teacher.cache": "logits"}, "training.sharding=both is for teachers that are networks and asked"),
    ],
)
def test_what_was_not_tried_is_refused_before_anything_is_written(
    settings: dict[str, Any], message: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(LimbeckError, match=f"^{message}"):
        limbeck.distill(
            student=STUDENT,
            teacher=folder / "teacher",
            data="digits",
            settings={**PLAIN, "objective": "ce + kd", "training.sharding": "both", **settings},
            out=tmp_path / "run",
            display=False,
        )
    assert not (tmp_path / "run").exists()
