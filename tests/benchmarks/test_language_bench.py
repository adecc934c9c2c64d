"""The page of the benchmark of language models, and how the memory of a step is taken."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")

from benchmarks.language.peers import FULL, KD, peaks
from benchmarks.language.readme import readme
from benchmarks.speed.machine import describe

MEBIBYTES = 2**20


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of a process is Linux's")
def test_the_memory_of_a_step_is_what_it_takes_beyond_what_stays() -> None:
    kept = []

    def make() -> object:
        kept.append(torch.ones(16 * MEBIBYTES))

        def step() -> float:
            return torch.ones(32 * MEBIBYTES).sum().item()

        return step

    found = peaks(make)  # type: ignore[arg-type]
    assert found["step"] == pytest.approx(128 * MEBIBYTES, rel=0.2)
    assert found["process"] > 192 * MEBIBYTES


def test_the_page_shows_what_was_measured() -> None:
    machine = describe("cpu")
    step = {
        "of": {"divergence": KD, **vars(FULL)},
        "machine": machine,
        "versions": {"trl": "1.16.0", "transformers": "5.23.0"},
        "parameters": {"teacher": 9_000_000, "student": 3_000_000},
        "losses": {"trl, data": 0.25, "limbeck, data": 0.25},
        "seconds": {"trl, data": [4.0, 2.0, 3.0], "limbeck, data": [1.0, 2.0, 1.5]},
        "tokens": {"trl, data": 1016, "limbeck, data": 1016},
        "peaks": {
            "trl, data": {"step": 200 * MEBIBYTES, "process": 900 * MEBIBYTES},
            "limbeck, data": {"step": 50 * MEBIBYTES, "process": 700 * MEBIBYTES},
        },
    }
    page = readme({}, {}, {"step": step})
    assert "| trl, data | 3.00 | 339 | 200 | 900 | 0.25000 |" in page
    assert "| limbeck, data | 1.50 | 677 | 50 | 700 | 0.25000 |" in page
    assert "## Beside trl and transformers" not in readme({}, {}, {})
