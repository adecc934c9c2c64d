"""benchmarks/embeddings: who takes part, what is measured once, and what is written of it."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.embeddings.contenders import METHODS, STUDENTS
from benchmarks.embeddings.readme import readme

from limbeck.objective import parse


@pytest.mark.parametrize("name", METHODS)
def test_every_contender_serves_encoders_and_only_the_first_has_no_teacher(name: str) -> None:
    assert bool(parse(METHODS[name]).all_reads.teacher) == (name != "alone")


def figures(ndcg: float, parameters: int = 1000, dimensions: int = 384) -> dict[str, float]:
    """Made-up figures of an encoder."""
    by_split = {
        f"{metric}_{which}": ndcg for metric in ("ndcg10", "spearman") for which in ("validation", "test")
    }
    return {**by_split, "parameters": parameters, "dimensions": dimensions}


def test_the_page_has_what_is_kept_and_what_is_gained() -> None:
    counts = {f"{which} queries": 10 for which in ("train", "validation", "test")}
    rate = {"queries_per_second": 100.0, "times": 1.0, "ms_per_query": 2.0, "times_alone": 1.0}
    budget = {"steps": 3, "lr": 0.001}
    results: dict[str, Any] = {
        "machine": {"name": "m"},
        "texts": {**counts, "documents": 5, "sentences": 6, "test pairs": 7},
        "teacher": figures(40.0, 9000),
        "speed": {
            "encoders": {
                "teacher": rate,
                "static table": {**rate, "queries_per_second": 5100.0, "times": 51.04},
            }
        },
        "untrained": {"static table": figures(20.0)},
        "students": {
            "static table": {
                "alone": {"0": {**figures(28.0), "of": budget}, "1": figures(30.0)},
                "cosine": {"0": figures(35.0), "1": figures(37.0)},
            }
        },
    }
    tool: dict[str, Any] = {
        "student": "two layers",
        "package": "tool 1.0",
        "seconds": 3.0,
        "mebibytes": 1234.5,
    }
    tool["processor_seconds"] = 2.5
    assert "several budgets" not in readme(results, {})
    results["budgets"] = {"static table": {"3 steps, rate 0.001": {"ndcg10_validation": 35.125}}}
    page = readme(results, {"tool layers": {"0": {**figures(37.0), **tool}}})
    assert "with several budgets (seed 0, 10 validation queries)" in page
    assert "| static table | 3 steps, rate 0.001 | 35.12 |" in page
    assert "| two layers | tool 1.0 | 37.00 | 37.00 | 3.00 | 2.50 | 1,234 | 1 |" in page
    assert "| static table | 1,000 | 5,100 | 51.0 | 2 | 1.0 | 1,536 |" in page
    assert "| before training | | 20.0 | 20.0 | 50.0 | | 20.0 | |" in page
    row = next(line for line in page.splitlines() if line.startswith("| cosine |"))
    assert "| 36.00 ± 1.41 | 36.00 ± 1.41 | 90.0 |" in row
    assert "+7.00" in row
    assert row.endswith("| 2 |")


def test_every_student_is_of_the_teacher() -> None:
    for student in STUDENTS.values():
        assert student.model.format(encoder="E", table="T").startswith(("hf:E", "hf:T"))
        assert (student.steps, student.lr) in student.tried
