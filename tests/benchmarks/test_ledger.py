"""benchmarks.ledger: a figure is measured once, on whatever machine."""

from __future__ import annotations

from pathlib import Path

from benchmarks.ledger import Ledger


def test_what_is_written_down_is_not_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    asked: list[int] = []

    def measure() -> dict[str, float]:
        asked.append(len(asked))
        return {"top1": 90.0 + len(asked)}

    of = {"objective": "ce", "epochs": (1, 2)}
    assert Ledger(file).once("digits", "ce", "0", of=of, measure=measure)["top1"] == 91.0
    assert Ledger(file).once("digits", "ce", "0", of=of, measure=measure)["top1"] == 91.0
    assert Ledger(file).once("digits", "ce", "1", of=of, measure=measure)["top1"] == 92.0
    assert Ledger(file).found["digits"]["ce"]["0"] == {
        "of": {"objective": "ce", "epochs": [1, 2]},
        "top1": 91.0,
    }


def test_figures_of_other_settings_are_measured_anew(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "results.json")
    ledger.once("ce", of={"epochs": 1}, measure=lambda: {"top1": 1})
    kept = ledger.once("ce", of={"epochs": 2}, measure=lambda: {"top1": 2})
    assert kept == {"of": {"epochs": 2}, "top1": 2}


def test_it_knows_what_is_missing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "results.json")
    ledger.once("digits", "ce", of={"seeds": (1, 2)}, measure=lambda: {"top1": 1})
    assert ledger.has("digits", "ce", of={"seeds": (1, 2)})
    assert not ledger.has("digits", "ce", of={"seeds": (1,)})
    assert not ledger.has("digits", "kd", of={"seeds": (1, 2)})
    assert not ledger.has("texts", "ce", of={"seeds": (1, 2)})
