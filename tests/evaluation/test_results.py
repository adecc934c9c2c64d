from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from limbeck.errors import LimbeckError
from limbeck.evaluation.results import Evaluation, Timing, read
from limbeck.tasks import Classification
from limbeck.tasks.classification.calibration import Bin
from limbeck.tasks.classification.findings import ClassificationAgreement, ClassificationFindings

RATE = {"value": 0.75, "low": 0.3, "high": 0.95, "samples": 4}
FINDINGS = {
    "accuracy": {"top1": RATE, "top5": None, "per_class": [RATE, None]},
    "nll": 0.5,
    "calibration": {
        "ece": 0.125,
        "temperature": 1.5,
        "ece_after": 0.1,
        "nll_after": 0.4,
        "bins": [{"confidence": 0.9, "accuracy": 0.75, "samples": 4}],
    },
    "confusion": {
        "classes": 2,
        "cells": [[0, 0, 3], [0, 1, 1]],
        "pairs": [{"target": 0, "predicted": 1, "samples": 1}],
    },
}
REST = {
    "name": "cnn",
    "run": "runs/a",
    "robustness": {"jpeg": [0.7, 0.6, 0.5, 0.4, 0.3]},
    "noiseless": 0.75,
    "cost": {
        "parameters": 10,
        "multiply_adds": 20,
        "bytes": 40,
        "peak_bytes": 80,
        "latency": {"1": {"median_ms": 1.0, "p95_ms": 2.0}},
        "throughput": 1000.0,
    },
}
CORRELATION = {"difference": 0.25, "matrix": [[0.0, 0.5], [0.5, 0.0]]}
CKA = {"embedding": 0.9, "stages": [[0.8, 0.7]]}


def version1() -> dict[str, Any]:
    """As limbeck wrote it before there were other tasks."""
    return {
        "version": 1,
        "suite": "full",
        "split": "test",
        "data": {"name": "animals", "fingerprint": "f" * 16, "classes": 2},
        "samples": 4,
        "class_names": ["cat", "dog"],
        "device": "cpu",
        "machine": {"processor": "Z80", "threads": 1},
        "seed": 0,
        "networks": {"student": {**REST, **FINDINGS}, "teacher": {**REST, **FINDINGS}},
        "fidelity": {"agreement": 0.5, "kl": 0.125, "cka": CKA, "correlation": CORRELATION},
        "mistakes": [{"index": 3, "target": 0, "student": 1, "teacher": 0}],
        "notes": ["A note."],
    }


def version2() -> dict[str, Any]:
    """The same, as it is written now."""
    network = {
        **REST,
        "metrics": {"top1": 0.75, "nll": 0.5, "ece": 0.125},
        "intervals": {"top1": RATE},
        "findings": FINDINGS,
    }
    return {
        "version": 2,
        "task": {"name": "classification", "names": ["cat", "dog"]},
        "suite": "full",
        "split": "test",
        "data": {"name": "animals", "fingerprint": "f" * 16},
        "samples": 4,
        "device": "cpu",
        "machine": {"processor": "Z80", "threads": 1},
        "seed": 0,
        "networks": {"student": network, "teacher": network},
        "agreement": {
            "agreement": 0.5,
            "distance": 0.125,
            "examples": [{"index": 3, "target": "cat", "student": "dog", "teacher": "cat"}],
            "correlation": CORRELATION,
        },
        "cka": CKA,
        "supervision": None,
        "written": None,
        "scores": [],
        "notes": ["A note."],
    }


def written(record: object, folder: Path) -> Path:
    file = folder / "evaluation.json"
    file.write_text(json.dumps(record))
    return file


def test_a_file_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "evaluation.json") is None


def test_what_was_written_is_read_as_the_classes_of_the_task(tmp_path: Path) -> None:
    found = read(written(version2(), tmp_path))
    assert found is not None
    assert found.found_task == Classification(("cat", "dog"))
    assert found.found_task is found.found_task
    assert isinstance(found.student.findings, ClassificationFindings)
    assert found.student.findings.confusion.matrix == ((3, 1), (0, 0))
    assert isinstance(found.agreement, ClassificationAgreement)
    assert found.agreement.correlation.matrix == ((0.0, 0.5), (0.5, 0.0))
    assert found.student.cost.latency == {1: Timing(median_ms=1, p95_ms=2)}
    assert found.timed_on == "Z80 (cpu), 1 thread"
    again = json.loads(found.model_dump_json())
    assert again == version2()
    assert read(written(again, tmp_path)) == found


def test_how_hard_the_targets_were_is_read_and_older_files_do_not_say(tmp_path: Path) -> None:
    targets = {
        "labels": {"complexity": 2.5, "relative": 1.25},
        "uniform": {"complexity": 0.0, "relative": None},
    }
    its = {"samples": 8, "seed": 1, "ridge": 0.01, "kernel": "mean", "trained": targets, "initial": None}
    record = {**version2(), "supervision": its}
    found = read(written(record, tmp_path))
    assert found is not None
    assert found.supervision is not None
    assert found.supervision.trained["labels"].relative == 1.25
    assert json.loads(found.model_dump_json()) == record
    del record["supervision"]
    older = read(written(record, tmp_path))
    assert older is not None
    assert older.supervision is None


def test_a_task_with_tuples_is_recorded_as_json_is() -> None:
    record = {**version2(), "task": Classification(("cat", "dog")).record()}
    assert Evaluation.model_validate(record).task == version2()["task"]


def test_version_1_is_read(tmp_path: Path) -> None:
    found = read(written(version1(), tmp_path))
    assert found is not None
    assert json.loads(found.model_dump_json()) == version2()


def test_version_1_without_a_teacher_and_with_top5(tmp_path: Path) -> None:
    old = version1()
    accuracy = {**FINDINGS["accuracy"], "top5": RATE}  # type: ignore[dict-item]
    old |= {
        "fidelity": None,
        "mistakes": [],
        "networks": {"student": {**REST, **FINDINGS, "accuracy": accuracy}},
    }
    found = read(written(old, tmp_path))
    assert found is not None
    assert (found.agreement, found.cka) == (None, None)
    assert list(found.student.metrics) == ["top1", "top5", "nll", "ece"]
    assert found.student.intervals["top5"].high == 0.95


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"networks": {"student": {}}}, "'accuracy'"),
        ({"mistakes": [{"index": 0, "target": 9, "student": 0, "teacher": 0}]}, "list index out of range"),
        ({"networks": None}, "NoneType"),
    ],
)
def test_a_damaged_version_1_is_named(change: dict[str, Any], problem: str, tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=f"evaluation.json' cannot be read: .* version 1 .*{problem}"):
        read(written(version1() | change, tmp_path))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "all of it: Expecting property name"),
        ('{"version": 3}', "version: Input should be 2"),
        ("{}", "task: Field required"),
        ("[]", "all of it: Input should be a valid dictionary"),
    ],
)
def test_a_damaged_file_is_named(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(LimbeckError, match=f"evaluation.json' is damaged: {problem}"):
        read(tmp_path / "evaluation.json")


def test_damaged_findings_are_named(tmp_path: Path) -> None:
    record = version2()
    record["networks"]["student"]["findings"] = {**FINDINGS, "nll": "low"}
    with pytest.raises(LimbeckError, match=r"is damaged: networks\.nll: Input should be a valid number"):
        read(written(record, tmp_path))
    record = version2()
    record["agreement"].pop("correlation")
    with pytest.raises(LimbeckError, match=r"is damaged: agreement\.correlation: Field required"):
        read(written(record, tmp_path))


def test_an_unknown_task_names_what_to_install(tmp_path: Path) -> None:
    record = {**version2(), "task": {"name": "ordinal", "names": ["low", "high"]}}
    with pytest.raises(
        LimbeckError,
        match=r"evaluation.json' cannot be read: unknown task 'ordinal'.* if a package brings it, install",
    ):
        read(written(record, tmp_path))


def test_records_are_checked_and_cannot_be_changed() -> None:
    timing = Timing(median_ms=1, p95_ms=2)
    with pytest.raises(ValueError, match="frozen"):
        timing.median_ms = 3  # type: ignore[misc]
    with pytest.raises(ValueError, match="Extra inputs"):
        Timing(median_ms=1, p95_ms=2, p99_ms=3)  # type: ignore[call-arg]


def test_what_is_no_number_survives_the_file(tmp_path: Path) -> None:
    found = Bin(confidence=math.nan, accuracy=math.inf, samples=1)
    again = Bin.model_validate_json(found.model_dump_json())
    assert math.isnan(again.confidence)
    assert again.accuracy == math.inf
    record = version2()
    record["networks"]["student"]["metrics"]["nll"] = math.nan
    record["networks"]["student"]["findings"] = {**FINDINGS, "nll": math.nan}
    read_back = read(written(record, tmp_path))
    assert read_back is not None
    assert '"nll":NaN' in read_back.model_dump_json()
    assert math.isnan(read_back.student.metrics["nll"])
