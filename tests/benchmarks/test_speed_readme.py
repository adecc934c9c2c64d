"""benchmarks/speed: what README.md says of results that are given by hand."""

from typing import Any

import pytest
from benchmarks.speed import epochs, maps, step
from benchmarks.speed.networks import PAIRS
from benchmarks.speed.readme import readme

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
    took = {step.ALONE: [1.0, 1.0], step.ALONE_FEW: [2.0, 2.0], "lwkd": [2.08, 2.08]}
    took |= {f"{name}, cached": [1.1, 1.1] for name in ("kd", "icd", "mgd(kd)")}
    text = readme({"step": place("cpu 64", precision="bf16", size=50_000, seconds=took)})
    assert cells(text, "step of lwkd: at most 1.05 x the student alone")[1:] == ["1.04 x", "yes"]
    assert cells(text, "step of kd, cached: at most 1.05 x the student alone")[1:] == ["1.10 x", "**no**"]
    assert "Abacus, 2 cores (avx2), 8.0 GiB" in text
    assert "No GPU was to be had" in text


def test_a_step_with_columns_that_stay_empty() -> None:
    names = {f"{name}, cached" for name in ("kd", "icd", "mgd(kd)")} | {"lwkd"}
    alone = {step.ALONE: [2.0], step.ALONE_FEW: [1.0]}
    took = {**alone, "at, live": [5.0], "ce": [2.0], **{key: [2.0] for key in names}}
    text = readme({"step": place("cpu 64", precision="bf16", size=50_000, seconds=took)})
    assert cells(text, "at")[2:] == ["2.50", "", "", "", "", ""]
    assert cells(text, "ce")[2:] == ["", "1.00", "", "", "", ""]
    assert cells(text, "lwkd")[2:] == ["", "2.00", "", "", "", ""]  # over the student with as few classes


def test_steps_that_read_maps() -> None:
    kinds = {"live": 3.0, "cached": 1.2, "given": 1.1}
    seconds = {
        setting: {"ce": [1.0]} | {f"{name}, {kind}": [took] for name in names for kind, took in kinds.items()}
        for setting, names in (("images", maps.IMAGES), ("pixels", maps.PIXELS))
    }
    seconds["images"]["at, cached"] = [1.1]
    sizes = dict.fromkeys([*maps.IMAGES, *maps.PIXELS], 65_540)
    text = readme({"maps": place("cpu 64", precision="bf16", size=2048, seconds=seconds, bytes=sizes)})
    target = "step of {}, cached: at most 1.10 x ce"
    assert cells(text, target.format("at"))[1:] == ["1.10 x, of which 1.10 x its own work", "yes"]
    assert cells(text, target.format("kd, pixels"))[1:] == ["1.20 x, of which 1.10 x its own work", "**no**"]
    assert cells(text, "fitnet")[2:6] == ["65,540", "3.00", "1.20", "1.10"]
    assert cells(text, "cwd, pixels")[3:] == ["3.00", "1.20", "1.10", *[""] * 6]


PLAIN, PLAIN_LOADED = f"{epochs.PLAIN}, 0 workers", f"{epochs.PLAIN}, 8 workers"


def whole_epochs(**changed: float) -> dict[str, Any]:
    """Epochs of 50,000 images in so many seconds; the bf16 loop is slowed down by its workers."""
    seconds = {PLAIN: 72.0, PLAIN_LOADED: 36.0, f"{epochs.MODERN}, 0 workers": 18.0}
    seconds |= {f"{epochs.MODERN}, 8 workers": 20.0, epochs.LIVE: 9.0, epochs.COLD: 6.0, epochs.HALF: 4.5}
    seconds |= {epochs.WARM: 3.0, epochs.ALONE: 3.0, **changed}
    took = {name: [value] for name, value in seconds.items()}
    return {"images": 50_000, "workers": 8, "seconds": dict.fromkeys(PAIRS, took)}


def test_epochs_and_what_is_extrapolated() -> None:
    text = readme({"epochs": place("cpu 64", **whole_epochs())})
    assert cells(text, "resnet32x4 -> resnet8x4, cold: at least 5 x the plain loop")[1:] == ["6.00 x", "yes"]
    assert cells(text, "resnet56 -> resnet20, warm: at least 3.5 x the plain loop")[1:] == ["12.00 x", "yes"]
    assert "Why epochs are not faster" not in text
    pair = text[text.index("## 2. Epochs: resnet32x4") : text.index("### Whole studies: resnet32x4")]
    assert cells(pair, PLAIN)[1:4] == ["694", "0.50 x", "0.25 x"]
    assert cells(pair, epochs.WARM)[1:] == ["16,667", "12.00 x", "6.00 x", *[""] * 6]  # no GPU's columns
    study = text[text.index("### Whole studies: resnet32x4") : text.index("## 2. Epochs: resnet56")]
    assert "Extrapolated" in study
    # 240 epochs at 3 s and 4 cold ones' worth of 3 s more are 732 s; the plain loop takes 2.4 hours.
    assert cells(study, "1 run | 4")[2:] == ["1.7 %", "0.2", "2.4", "11.8 x", "1.2", "5.9 x"]


def test_epochs_that_miss_their_targets_say_why() -> None:
    found = whole_epochs(**{epochs.WARM: 6.0, epochs.ALONE: 5.9})
    text = readme({"epochs": place("cpu 64", **found)}).replace("\n", " ")
    assert "**no**" in text
    assert "This processor has no AMX." in text
    assert "resnet32x4 -> resnet8x4: 6.1 x for the student alone, 4.0 x with the teacher live" in text
    assert "resnet56 -> resnet20: " not in text  # whose targets are lower


def test_a_run_end_to_end_takes_a_gpu() -> None:
    assert "Not measured: no GPU was to be had." in readme({})
    run = {"pair": "a -> b", "images": 50_000, "epochs": 240, "seconds": 1200.0}
    text = readme({"whole": place("cuda 512", **run)})
    assert cells(text, "GPU, batch 512")[1:] == ["20.0 min", "5.00 s", "10,000"]


def test_views_that_so_many_epochs_ask_for() -> None:
    assert epochs.asked(1, 240) == 1
    assert epochs.asked(162, 1) == pytest.approx(1)
    assert epochs.asked(162, 240) == pytest.approx(125.4, abs=0.4)


def test_a_cold_study_costs_no_more_than_cold_epochs() -> None:
    costs = {"cold": 5.0, "half": 3.0, "warm": 2.0}
    assert epochs.total(**costs, views=10**9, epochs=240) == pytest.approx(240 * 5, rel=1e-3)
    assert epochs.total(**costs, views=1, epochs=240) == 239 * 2 + 5


def test_a_study_is_interpolated_between_three_epochs() -> None:
    # Of two views, 1, 1/2 and 1/4 are not known yet: a quarter lies halfway between half known and warm.
    assert epochs.total(cold=5, half=4, warm=2, views=2, epochs=3) == 5 + 4 + 3
    # Where the teacher's cost is linear in what it is asked, the number of views asked for decides.
    linear = epochs.total(cold=6, half=4, warm=2, views=16, epochs=240)
    assert linear == pytest.approx(240 * 2 + epochs.asked(16, 240) * 4)


def test_peaks_of_several_processes() -> None:
    peaks = {"none": [{"process": size * 2**20} for size in (500, 510, 530)]}
    assert cells(readme({"memory": place("cpu 64", peak=peaks)}), "CPU, batch 64") == [
        "CPU, batch 64",
        "none",
        "510 MiB (500 to 530)",
        "",
    ]


def test_filling_is_extrapolated() -> None:
    views = {
        str(count): {"seconds": [1.0, 6.0 * count, 200.0], "bytes": 1000 * count} for count in (1, 4, 16)
    }
    text = readme({"filling": place("cpu 64", images=500, views=views)})
    assert cells(text, "4") == ["4", "24.0 s", "1.0 to 200.0 s", "0.00 MB", "40.0 min", "0 MB"]
    assert cells(text, "162")[4:] == ["1,620.0 min", "16 MB"]


def test_losses_with_and_without_the_cache() -> None:
    def runs(losses: list[float], top1: float) -> dict[str, Any]:
        return {"top1": {"0": top1}, "losses": {"0": losses}}

    contenders = {
        "live, 162 views": runs([2.0, 1.0], 50.0),
        "cached, 162 views": runs([2.002, 1.1], 51.0),
        "cached, 4 views": runs([3.0, 3.0], 49.0),
    }
    found = {"contenders": contenders, "data": "d", "student": "s", "epochs": 2, "precision": "bf16"}
    found["teacher"] = {"model": "t", "top1": 60.0}
    text = readme({"accuracy": place("cpu 64", **found)})
    assert cells(text, "cached, 162 views")[1:] == ["51.00", "+1.00", "1.0e-03", "1.0e-01"]
    assert cells(text, "cached, 4 views")[1:] == ["49.00", "-1.00", "", ""]
    assert "in precision `bf16`" in text.replace("\n", " ")
