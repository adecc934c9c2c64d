"""benchmarks/methods: who takes part, and what is written of them."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.methods import contenders
from benchmarks.methods.readme import BEGIN, END, guide, readme

from limbeck import checks
from limbeck.methods import METHODS
from limbeck.objective import parse
from limbeck.tasks import TASKS


@pytest.mark.parametrize("name", contenders.ALL)
def test_every_contender_is_in_the_notation(name: str) -> None:
    each = contenders.ALL[name]
    checks.serves(parse(each.objective), TASKS["classification"].of_width(10))
    assert each.teacher in ("teacher", "both", "chain", "twin", "friendly", "schedule")
    named = parse(each.objective).all_reads.teachers
    assert named == () or each.teacher == "both"


def test_every_method_takes_part() -> None:
    named = {text for each in contenders.ALL.values() for text in each.objective.replace("(", " ").split()}
    used = {part.split("*")[-1] for part in named}
    own = {
        name
        for name, it in METHODS.items()
        if it.__module__.startswith("limbeck.") and it.rows not in ("values", "vectors") and not it.tasks
    }
    assert own - used - {"kd", "mtpd", "sftn", "nasty", "tinybert", "label_smoothing", "tfkd"} == set()


def figures() -> dict[str, Any]:
    """Made-up figures of the digits: `ce` at 90, each further contender a tenth above the one before."""
    names = ["ce", "kd", "rkd", "icd", "lwkd", "dkd", "MGD(KD 0.8) stable"]
    runs = {
        name: {str(seed): dict.fromkeys(("validation", "test"), 90 + place / 10 + seed) for seed in range(5)}
        for place, name in enumerate(names)
    }
    spent = {"step_over_ce": 1.5, "parameters": 12, "bytes": 3000, "reads": ["logits"]}
    return {
        "digits": {
            "facts": {
                "of": {"student": "cnn", "epochs": 4},
                "data": {"name": "digits, 100 training scans", "train": 100},
                "parameters": 3,
                "teachers": {"teacher": {"model": "cnn", "parameters": 9, "top1": 0.98}},
            },
            "budgets": {"2": {"0": {"validation": 90.0}, "1": {"validation": 91.0}}},
            "runs": runs,
            "cost": dict.fromkeys(names, spent),
        }
    }


def test_the_best_on_validation_go_on_with_the_first_three() -> None:
    assert list(contenders.best(figures(), count=2)) == [
        "ce",
        "kd",
        "dkd",
        "rkd",
        "lwkd",
        "icd",
        "MGD(KD 0.8) stable",
    ]


def test_differences_are_corrected_for_their_number() -> None:
    text = readme(figures())
    row = next(line for line in text.splitlines() if line.startswith("| dkd |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[3:5] == ["+0.50 (+0.50 to +0.50)", "0.000"]
    assert cells[6:] == ["1.50", "12", "3 kB", "logits"]
    assert "2 epochs 90.50 ± 0.71 %" in " ".join(text.split())


def test_the_guide_is_written_between_its_marks() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    written = guide(page, figures())
    assert written.startswith(f"before\n{BEGIN}\n")
    assert written.endswith(f"{END}\nafter\n")
    assert "| rkd | 1.50 | 3 kB | logits | +0.20 (+0.20 to +0.20) |" in written
    assert "old" not in written
    assert guide(written, figures()) == written
