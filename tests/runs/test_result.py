from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from finished_runs import finished_run
from limbeck import tasks
from limbeck.errors import LimbeckError
from limbeck.runs.result import Metrics, Result, TeacherResult

OLD: dict[str, Any] = {
    "objective": "0.1*ce + 0.9*kd(temperature=4)",
    "arguments": {"ce": {"weight": 0.1, "method": "ce"}},
    "seed": 3,
    "selection": "validation",
    "choices": {"precision": "fp32", "memory_format": "contiguous", "compile": False},
    "student": {"model": "mlp", "parameters": 650, "top1": 0.75},
    "teacher": {
        "model": "runs/teacher",
        "weights": "aa",
        "recipe": None,
        "labels": None,
        "parameters": 1210,
        "cached": ["logits"],
        "top1": 0.875,
    },
    "metrics": {"test": {"top1": 0.75, "nll": 0.5, "ece": 0.25}, "validation": {"top1": 1.0}},
    "agreement": 0.5,
    "seconds": 1.25,
    "data": {
        "name": "triples",
        "hub": None,
        "fingerprint": "f",
        "train": 60,
        "labeled": 24,
        "validation": 12,
        "test": 8,
        "classes": 3,
        "measured": {"validation": 12, "test": 8},
        "views": {"policy": "none", "count": 1, "drawn": 1},
        "noise": None,
    },
}
"""A record as they were before they had a version."""


def written(folder: Path, record: Any) -> Path:
    file = folder / "result.json"
    file.write_text(record if isinstance(record, str) else json.dumps(record))
    return file


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    made = finished_run(tmp_path / "run", "kd", agreement=0.25).result
    teacher = made.teachers["teacher"].model_copy(update={"metrics": {"top1": math.inf}})
    made = made.model_copy(update={"teachers": {"big": teacher}, "notes": ("Ä note.",), "steps": 7})
    made.write(tmp_path / "result.json")
    assert Result.read(tmp_path / "result.json") == made
    record = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert record["version"] == 2
    assert record["teachers"]["big"]["metrics"] == {"top1": math.inf}
    assert list(record)[1:4] == ["objective", "arguments", "seed"]


def test_a_record_without_a_version_says_the_same_in_its_own_words(tmp_path: Path) -> None:
    found = Result.read(written(tmp_path, OLD))
    assert found.version == 2
    assert found.teachers == {
        "teacher": TeacherResult(
            model="runs/teacher",
            weights="aa",
            parameters=1210,
            cached=("logits",),
            metrics={"top1": 0.875},
        )
    }
    assert found.teacher == found.teachers["teacher"]
    assert found.student.model_dump() == {"model": "mlp", "parameters": 650}
    assert found.metrics == Metrics(**OLD["metrics"])
    assert found.task == {"name": "classification", "names": ["0", "1", "2"]}
    assert tasks.from_record(found.task).width == found.data.outputs == 3
    assert (found.seed, found.selection, found.agreement, found.seconds) == (3, "validation", 0.5, 1.25)
    assert found.choices == OLD["choices"]
    assert (found.steps, found.samples_seen, found.teacher_forwards) == (None, None, None)
    unchanged = {key: value for key, value in OLD["data"].items() if key != "classes"}
    assert found.data.model_dump(exclude={"outputs", "weights"}) == unchanged


def test_the_weights_beside_it_say_what_its_classes_are_called(tmp_path: Path) -> None:
    card = {"model": "mlp", "class_names": ["a", "b", "c"], "input_shape": [4], "mean": None, "std": None}
    tensors = {"weight": torch.ones(2)}
    safetensors.torch.save_file(tensors, tmp_path / "student.safetensors", {"limbeck": json.dumps(card)})
    assert Result.read(written(tmp_path, OLD)).task["names"] == ["a", "b", "c"]


def test_a_record_of_before_all_was_written_down(tmp_path: Path) -> None:
    old = {key: value for key, value in OLD.items() if key not in ("choices", "arguments")}
    data = {key: value for key, value in OLD["data"].items() if key not in ("measured", "views", "noise")}
    found = Result.read(written(tmp_path, {**old, "teacher": None, "data": {**data, "test": 0}}))
    assert found.teachers == {}
    assert found.teacher is None
    assert found.choices == {}
    assert found.data.measured == {"validation": 12}
    assert found.data.views is None


def test_the_metrics_of_a_split_that_there_is_not(tmp_path: Path) -> None:
    metrics = Metrics(test={"top1": 0.5}, validation=None)
    assert metrics.on("test") == {"top1": 0.5}
    assert metrics.by_split() == {"test": {"top1": 0.5}}
    with pytest.raises(LimbeckError, match="the run was not measured on a validation split"):
        metrics.on("validation")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ('{"objective": ', "is damaged: "),
        ("[]", "is damaged: all of it: "),
        ({"objective": "ce"}, "is damaged: 'student'"),
        ({**OLD, "seed": "x"}, "is damaged: seed: "),
        ({**OLD, "version": 3}, "is damaged: version: Input should be 2"),
        ({**OLD, "more": 1}, "is damaged: more: "),
    ],
)
def test_a_record_that_is_damaged(record: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=message):
        Result.read(written(tmp_path, record))


def test_a_record_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=r"none.json' cannot be read: No such file"):
        Result.read(tmp_path / "none.json")
