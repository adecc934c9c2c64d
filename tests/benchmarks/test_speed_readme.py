"""benchmarks/speed: what README.md says of results that are given by hand."""

from typing import Any

import epochs
import pytest
import step
from networks import PAIRS
from readme import readme

MACHINE = {
    "processor": "Abacus",
    "cores": 2,
    "flags": ["avx2"],
    "memory_gib": 8.0,
    "gpu": None,
    "threads": 2,
    "torch": "2.13",
    "python": "3.11",
    "system": "Linux",
}


def place(name: str, **found: Any) -> dict[str, Any]:
    return {name: {"machine": MACHINE, **found}}


def cells(text: str, start: str) -> list[str]:
    """The cells of the one row that starts so."""
    (row,) = [line for line in text.splitlines() if line.startswith(f"| {start} |")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_targets_that_are_reached_and_missed() -> None:
    took = {step.ALONE: [1.0, 1.0], "lwkd": [1.04, 1.04]}
    took |= {f"{name}, cached": [1.1, 1.1] for name in ("kd", "icd", "mgd(kd)")}
    text = readme({"step": place("cpu 64", precision="bf16", seconds=took)})
    assert cells(text, "step of lwkd: at most 1.05 x the student alone")[1:] == ["1.04 x", "yes"]
    assert cells(text, "step of kd, cached: at most 1.05 x the student alone")[1:] == ["1.10 x", "**no**"]
    assert "Abacus, 2 cores (avx2), 8.0 GiB" in text
    assert "No GPU was to be had" in text


def test_a_step_with_columns_that_stay_empty() -> None:
    names = {f"{name}, cached" for name in ("kd", "icd", "mgd(kd)")} | {"lwkd"}
    took = {step.ALONE: [2.0], "at, live": [5.0], "ce": [2.0], **{key: [2.0] for key in names}}
    text = readme({"step": place("cpu 64", precision="bf16", seconds=took)})
    assert cells(text, "at")[2:] == ["2.50", "", "", "", "", ""]
    assert cells(text, "ce")[2:] == ["", "1.00", "", "", "", ""]


def test_epochs_and_what_is_extrapolated() -> None:
    names = (epochs.PLAIN, epochs.MODERN, epochs.LIVE, epochs.COLD, epochs.WARM, epochs.ALONE)
    seconds = dict(zip(names, ([36.0], [18.0], [9.0], [6.0], [3.0], [3.0]), strict=True))
    found = {"images": 50_000, "workers": 0, "seconds": dict.fromkeys(PAIRS, seconds)}
    text = readme({"epochs": place("cpu 64", **found)})
    assert cells(text, "resnet32x4 -> resnet8x4, cold: at least 5 x the plain loop")[1:] == ["6.00 x", "yes"]
    assert cells(text, "resnet56 -> resnet20, warm: at least 3.5 x the plain loop")[1:] == ["12.00 x", "yes"]
    study = text[text.index("### Whole studies: resnet32x4") : text.index("## 2. Epochs: resnet56")]
    assert "Extrapolated" in study
    # 240 epochs at 3 s and 4 cold ones' worth of 3 s more are 732 s; the plain loop takes 2.4 hours.
    assert cells(study, "1 run | 4")[2:] == ["1.7 %", "0.2", "2.4", "11.8 x", "1.2", "5.9 x"]


def test_views_that_so_many_epochs_ask_for() -> None:
    assert epochs.asked(1, 240) == 1
    assert epochs.asked(162, 1) == pytest.approx(1)
    assert epochs.asked(162, 240) == pytest.approx(125.4, abs=0.4)


def test_a_cold_study_costs_no_more_than_cold_epochs() -> None:
    assert epochs.total(cold=5, warm=2, views=10**9, epochs=240) == pytest.approx(240 * 5, rel=1e-3)
    assert epochs.total(cold=5, warm=2, views=1, epochs=240) == 239 * 2 + 5


def test_filling_is_extrapolated() -> None:
    views = {count: {"seconds": float(count), "bytes": 1000 * count} for count in ("1", "4", "16")}
    views = {count: {"seconds": 6.0 * int(count), "bytes": 1000 * int(count)} for count in views}
    text = readme({"filling": place("cpu 64", images=500, views=views)})
    assert cells(text, "4") == ["4", "24.0 s", "0.00 MB", "40.0 min", "0 MB"]
    assert cells(text, "162")[3:] == ["1,620.0 min", "16 MB"]


def test_losses_with_and_without_the_cache() -> None:
    def runs(losses: list[float], top1: float) -> dict[str, Any]:
        return {"top1": {"0": top1}, "losses": {"0": losses}, "seconds": {"0": 9.0}}

    contenders = {
        "live, 162 views": runs([2.0, 1.0], 50.0),
        "cached, 162 views": runs([2.002, 1.1], 51.0),
        "cached, 4 views": runs([3.0, 3.0], 49.0),
    }
    found = {"contenders": contenders, "data": "d", "student": "s", "epochs": 2}
    found["teacher"] = {"model": "t", "top1": 60.0}
    text = readme({"accuracy": place("cpu 64", **found)})
    assert cells(text, "cached, 162 views")[1:] == ["51.00", "+1.00", "1.0e-03", "1.0e-01", "9 s"]
    assert cells(text, "cached, 4 views")[1:] == ["49.00", "-1.00", "", "", "9 s"]
