from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from small_runs import same, state_of, three_classes

from limbeck import runs
from limbeck.errors import LimbeckError
from limbeck.runs import Run

GIVEN: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 20,
    "settings": {"training.trackers": [], "training.checkpoint_every": 1},
    "display": False,
}


def test_who_watches_is_told_of_each_epoch_and_may_end_a_run_that_goes_on_all_the_same(
    tmp_path: Path,
) -> None:
    told: list[tuple[int, float]] = []

    def watch(epoch: int, figures: Mapping[str, float]) -> None:
        told.append((epoch, figures["top1"]))
        if len(told) == 2:
            raise RuntimeError("enough")

    source = three_classes()
    whole = runs.train(model="mlp(hidden=[4])", data=source, out=tmp_path / "whole", **GIVEN)
    with pytest.raises(RuntimeError, match="enough"):
        runs.train(model="mlp(hidden=[4])", data=source, out=tmp_path / "run", watch=watch, **GIVEN)
    run = Run(tmp_path / "run")
    assert not run.finished
    runs.train(data=source, out=run.path, resume=True, display=False, watch=watch)
    assert [epoch for epoch, _ in told] == [1, 2, 2, 3], "the epoch that was ended is done again"
    lines = [(line["epoch"], line["validation"]["top1"]) for line in run.history]
    assert sorted(set(told)) == lines
    assert same(state_of(run), state_of(whole))
    distilled: list[int] = []
    runs.distill(
        student="mlp(hidden=[4])",
        teacher=whole,
        data=source,
        out=tmp_path / "distilled",
        watch=lambda epoch, figures: distilled.append(epoch),
        **GIVEN,
    )
    assert distilled == [1, 2, 3]


@pytest.mark.parametrize("error", [LimbeckError("enough"), OSError("enough")])
def test_errors_of_files_end_a_run_too_where_they_come_from_who_watches(
    error: Exception, tmp_path: Path
) -> None:
    def watch(epoch: int, figures: Mapping[str, float]) -> None:
        raise error

    with pytest.raises(type(error), match="enough"):
        runs.train(model="mlp(hidden=[4])", data=three_classes(), out=tmp_path, watch=watch, **GIVEN)
    assert len(Run(tmp_path).history) == 1


def test_several_processes_are_not_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(LimbeckError, match="watch is told in one process, and 2 were started together"):
        runs.train(
            model="mlp(hidden=[4])",
            data=three_classes(),
            out=tmp_path / "run",
            watch=lambda epoch, figures: None,
            **GIVEN,
        )
    assert not (tmp_path / "run").exists()
