"""benchmarks.evidence: what ships is what was measured, and the guide is in docs/methods.md."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import evidence
from limbeck.advice import GUIDE


def test_what_ships_and_what_the_page_says_is_up_to_date() -> None:
    remedy = "run `make evidence`"
    assert evidence.SHIPPED.read_text("utf-8") == evidence.shipped(evidence.collected()), remedy
    page = evidence.PAGE.read_text("utf-8")
    assert page == evidence.page(page), remedy
    assert all(rule.at_hand in page for rule in GUIDE)


def write(folder: Path, place: str, found: object) -> None:
    file = folder / place
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(found))


def test_each_seed_is_compared_with_the_student_alone_on_that_seed(tmp_path: Path) -> None:
    runs = {"ce": {"0": 90.0, "1": 92.0, "2": 50.0}, "kd": {"0": 91.0, "1": 95.0}, "icd": {"7": 99.0}}
    runs["kd, 880 epochs"] = {"0": 99.0, "1": 99.0}  # not in as many steps
    task = {
        "facts": {"data": {"name": "digits, 100 training scans", "train": 100}},
        "runs": {
            name: {seed: {"test": value} for seed, value in values.items()} for name, values in runs.items()
        },
        "cost": {"kd": {"of": {"objective": "0.1*ce + 0.9*kd"}, "step_over_ce": 1.64}},
    }
    write(tmp_path, "methods/results.json", {"digits": task})
    found = evidence.collected(tmp_path)
    (kd,) = found.findings  # no seed of icd has a student alone
    assert (kd.objective, kd.pairs, kd.samples) == ("0.1*ce + 0.9*kd", 2, 100)
    assert (kd.value, kd.alone, kd.difference) == (93.0, 91.0, 2.0)
    assert kd.interval == pytest.approx((-10.706, 14.706))  # 2 ± 12.706 * sqrt(2) / sqrt(2)
    assert [(each.ratio, each.teacher) for each in found.costs] == [(1.64, "live")]


def test_figures_of_other_tasks(tmp_path: Path) -> None:
    cells = {
        "alone": {"0": {"of": {"objective": "ce"}, "test": {"miou": 0.5}}},
        "CWD": {"0": {"of": {"objective": "ce + 3*cwd"}, "test": {"miou": 0.6}}},
    }
    write(tmp_path, "pixels/segmentation.json", {"cells": cells})
    spoken = {
        "fine-tuning": {"0": {"of": {"objective": "ce"}, "nll": 3.0}},
        "KD": {"0": {"of": {"objective": "kd(temperature=1)"}, "nll": 2.5}},
    }
    write(tmp_path, "language/results.json", {"shakespeare": {"cells": spoken}})
    embedded = {
        "alone": {"0": {"of": {"objective": "contrastive"}, "ndcg10_test": 30.0, "spearman_test": 60.0}},
        "cosine": {"0": {"of": {"objective": "cosine"}, "ndcg10_test": 33.0, "spearman_test": 70.0}},
    }
    write(tmp_path, "embeddings/results.json", {"students": {"static table": embedded}})
    found = {each.task: each for each in evidence.collected(tmp_path).findings}
    told = {task: (each.difference, each.metric, each.higher, each.pairs) for task, each in found.items()}
    assert told == {
        "segmentation": (pytest.approx(10.0), "mIoU", True, 1),
        "language": (-0.5, "NLL", False, 1),
        "retrieval": (pytest.approx(0.03), "nDCG@10", True, 1),
        "similarity": (pytest.approx(0.1), "Spearman", True, 1),
    }
