"""Runs whose teacher's maps are cached: planned, filled, bounded by a budget, and resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_runs import same, state_of, timeless

import limbeck
from limbeck.cli.cache import _planned
from limbeck.errors import LimbeckError
from limbeck.runs import Run
from limbeck.runs.arguments import RunArguments
from limbeck.runs.asking import stretches
from limbeck.runs.filling import Filling, fill
from limbeck.runs.planning import plan
from limbeck.teachers import CachedTeacher
from limbeck.teachers.asked import AskedNetwork
from limbeck.teachers.cache_admin import cache_files

SETTINGS = {
    "training.trackers": [],
    "training.precision": "fp32",
    "data.views": "crop(padding=1)",
    "teacher.trust": True,
}
NETWORK = "cnn(channels=[2, 3])"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "teachers"


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = {key: value for key, value in SETTINGS.items() if not key.startswith("teacher")}
    out = tmp_path_factory.mktemp("teacher") / "run"
    return limbeck.train(
        model=NETWORK, data="digits", epochs=1, batch_size=250, settings=settings, out=out, display=False
    )


def given(teacher: Run, **changes: Any) -> dict[str, Any]:
    return {
        "student": "cnn(channels=[2, 2])",
        "teacher": teacher.path,
        "data": "digits",
        "objective": "ce + 1000*at + kd",
        "cache_teacher": "all",
        "views": 2,
        "batch_size": 250,
        "settings": SETTINGS,
        **changes,
    }


def student(out: Path, teacher: Run, **changes: Any) -> Run:
    return limbeck.distill(out=out, epochs=3, **given(teacher, **changes))


SIZES = {
    "logits": 24,
    "stages[0], attention with p=2": 132,
    "stages[1], attention with p=2": 36,
}


def test_a_plan_says_what_each_file_takes_and_keeps_nothing(taught: Run, cache: Path) -> None:
    (planned,) = plan(RunArguments(**given(taught)))
    assert planned.bytes == SIZES
    assert (planned.samples, planned.views, planned.kept, planned.shortage) == (1000, 2, 2, "")
    assert 0 < planned.seconds < 1
    assert not cache.exists()
    *_, last = fill(**given(taught))
    assert last == Filling(2, 1000, 2000, 2000)
    sizes = sorted(file.stat().st_size - 4096 for file in cache_files())
    assert sizes == sorted(2000 * size for size in planned.bytes.values())


def test_a_plan_has_the_phases_that_ask_for_something_else(taught: Run) -> None:
    phases = 'ce + 200*ft(form="paper", epochs=1) + kd'
    first, training = plan(RunArguments(**given(taught, objective=phases)))
    assert first.bytes == {"stages[1]": 100}
    assert training.bytes == {"stages[1]": 100, "logits": 24}
    (both,) = plan(RunArguments(**given(taught, objective=None, student=None, cache_teacher="both")))
    assert list(both.bytes) == ["logits", "embedding"]


@pytest.mark.parametrize(
    ("budget", "kept", "said"),
    [
        ("1GB", 2, ""),
        ("200KB", 1, "1 of 2 views are cached, for a view of 1,000 samples takes 192.0 kB, and"),
        ("100KB", 0, "the teacher is asked live: a view of 1,000 samples takes 192.0 kB, and the budget of"),
    ],
)
def test_a_plan_says_what_a_budget_has_room_for(budget: str, kept: int, said: str, taught: Run) -> None:
    (planned,) = plan(RunArguments(**given(taught, cache_budget=budget)))
    assert planned.kept == kept
    assert planned.shortage.startswith(said)
    assert bool(said) == bool(planned.shortage)
    lines = list(_planned(planned))
    assert lines[0] == "logits: 1,000 rows of 24 bytes a view"
    assert lines[3].startswith("1 view: 3,000 rows, 192.0 kB, about ")
    assert lines[4].startswith("2 views: 6,000 rows, 384.0 kB, about ")
    assert lines[5:] == ([planned.shortage] if said else [])


def test_what_cannot_be_planned(taught: Run) -> None:
    with pytest.raises(LimbeckError, match="depends on the student and the objective; give them"):
        list(stretches(RunArguments(**given(taught, student=None))))
    expected = "the teacher is asked live: infoflow reads its stages, which no cache keeps"
    with pytest.raises(LimbeckError, match=expected):
        list(stretches(RunArguments(**given(taught, objective='ce + infoflow(auxiliary="none")'))))


def test_a_run_after_a_filling_asks_nothing(
    taught: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = 'ce + 1000*at + 200*ft(form="paper", epochs=1) + mgd(kd, epochs=1)'
    list(fill(**given(taught, objective=objective)))

    def ask(*arguments: Any) -> Any:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(AskedNetwork, "ask", ask)
    run = student(tmp_path / "run", taught, objective=objective)
    assert set(run.result.teachers["teacher"].cached) == {"stages", "embedding", "logits"}


@pytest.mark.parametrize("budget", [None, "240KB"])
def test_a_resumed_run_ends_with_the_same_bits(
    budget: str | None, taught: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"cache_budget": budget}
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "one"))
    whole = student(tmp_path / "whole", taught, **changes)
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "two"))
    steps, call = [0], CachedTeacher.__call__

    def dying(self: CachedTeacher, batch: Any) -> Any:
        steps[0] += 1
        if steps[0] == 8:
            raise KeyboardInterrupt
        return call(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(CachedTeacher, "__call__", dying)
        with pytest.raises(KeyboardInterrupt):
            student(tmp_path / "killed", taught, **changes)
    killed = student(tmp_path / "killed", taught, **changes, resume=True)
    assert [line["terms"] for line in timeless(killed.history)] == [
        line["terms"] for line in timeless(whole.history)
    ]
    assert same(state_of(killed), state_of(whole))
    for first in (tmp_path / "one" / "teachers").iterdir():
        assert first.read_bytes() == (tmp_path / "two" / "teachers" / first.name).read_bytes()


def test_a_run_whose_budget_is_too_small_is_the_live_one_and_says_so(
    taught: Run, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bounded = student(tmp_path / "bounded", taught, cache_budget="100KB")
    printed = capsys.readouterr()
    said = "the teacher is asked live: a view of 1,000 samples takes 192.0 kB, and the budget of its"
    assert (printed.out + printed.err).count(said) == 1
    live = student(tmp_path / "live", taught, cache_teacher=None)
    assert same(state_of(bounded), state_of(live))
    assert bounded.result.teachers["teacher"].cached == ()
    assert not cache.exists()


def test_a_filling_without_room_for_a_view_fills_nothing(taught: Run, cache: Path) -> None:
    said = r"^nothing is filled: a view of 1,000 samples takes 192.0 kB, and .* leaves 100.0 kB; give it more"
    with pytest.raises(LimbeckError, match=said):
        list(fill(**given(taught, cache_budget="100KB")))
    assert not cache.exists()


def test_a_filling_keeps_what_there_is_room_for(taught: Run) -> None:
    *_, last = fill(**given(taught, cache_budget="240KB"))
    assert (last.views, last.done) == (1, 1000)
    assert last.shortage.startswith("1 of 2 views are cached, for a view of 1,000 samples takes 192.0 kB")
