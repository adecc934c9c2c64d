from __future__ import annotations

import io
import time
from typing import Any

import pytest
from rich.console import Console

from limbeck.training.display import Display
from limbeck.training.length import Length
from scripted_loop import TOP1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=terminal, width=120, color_system=None), file


def line(epoch: int, **more: Any) -> dict[str, Any]:
    return {"epoch": epoch, "terms": {"total": 1.5, "ce": 1.23456}, **more}


def test_off_a_terminal_an_epoch_is_a_plain_line(clock: list[float]) -> None:
    where, file = console(terminal=False)
    with Display(enabled=True, console=where) as display:
        display.begin("training", 0, Length.of(10, 3), TOP1)
        display.step(10)
        clock[0] += 30
        display.epoch(line(1, validation={"top1": 0.9876}))
        clock[0] += 50
        display.epoch(line(2))
        display.note("[kd] is noted")
        display.epoch(line(3))
    assert file.getvalue().splitlines() == [
        "training 1/3  total 1.5  ce 1.235  validation top-1 98.8 %  1:00 left",
        "training 2/3  total 1.5  ce 1.235  0:40 left",
        "[kd] is noted",
        "training 3/3  total 1.5  ce 1.235  done",
    ]


def test_a_long_line_is_not_broken(clock: list[float]) -> None:
    where, file = console(terminal=False)
    with Display(enabled=True, console=where) as display:
        display.begin("training", 0, Length.of(1, 1))
        display.epoch({"epoch": 1, "terms": {f"term_{number}": 0.5 for number in range(20)}})
    assert len(file.getvalue().splitlines()) == 1


def test_after_a_resume_the_time_left_counts_from_there(clock: list[float]) -> None:
    where, file = console(terminal=False)
    with Display(enabled=True, console=where) as display:
        display.begin("training", 8, Length.of(1, 10))
        clock[0] += 4000
        display.epoch(line(9))
    assert file.getvalue().endswith("1:06:40 left\n")


def test_a_terminal_shows_a_bar_with_the_same_figures() -> None:
    where, file = console(terminal=True)
    with Display(enabled=True, console=where) as display:
        display.begin("mgd.low", 0, Length.of(4, 2))
        display.step(4)
        display.epoch(line(1, validation={"top1": 0.5}))
        display.epoch(line(2))
    shown = file.getvalue()
    assert "mgd.low 2/2" in shown
    assert "total 1.5  ce 1.235  done" in shown
    assert "\n".join(shown.splitlines()).count("mgd.low 2/2  ") == 0, "no plain lines besides the bar"


def test_disabled_it_shows_nothing() -> None:
    for terminal in (False, True):
        where, file = console(terminal=terminal)
        with Display(enabled=False, console=where) as display:
            display.begin("training", 0, Length.of(1, 1))
            display.step(1)
            display.note("a note")
            display.epoch(line(1))
        assert file.getvalue() == ""


def test_it_writes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with Display(enabled=True) as display:
        display.begin("training", 0, Length.of(1, 1))
        display.epoch(line(1))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "training 1/1  total 1.5  ce 1.235  done\n"
