from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from limbeck.errors import LimbeckError
from limbeck.evaluation.results import Data, Machine, Timing
from limbeck.files import digest
from limbeck.runs.exports.quantization import FILE, Figures, Quantization, Sizes, Times, read
from limbeck.tasks import Classification, Regression


def record(**changes: Any) -> Quantization:
    half, whole = (Timing(median_ms=value, p95_ms=2 * value) for value in (0.25, 0.5))
    given = {
        "file": "student.int8.onnx",
        "digest": "0" * 16,
        "mode": "static",
        "calibration": 512,
        "task": Classification(("a", "b")).record(),
        "data": Data(name="digits", fingerprint="abcd"),
        "splits": {
            "validation": Figures(
                samples=40, before={"top1": 0.9}, after={"top1": 0.875}, agreement=0.95, distance=0.01
            ),
            "test": Figures(samples=9, before={}, after={}, agreement=1.0, distance=0.02),
        },
        "decided_on": "validation",
        "drop": 2.5,
        "max_drop": 3.0,
        "latency": {1: Times(before=whole, after=half), 32: Times(before=half, after=whole)},
        "bytes": Sizes(before=44357, after=27768),
        "machine": Machine(processor="a processor", threads=1),
        "onnxruntime": "1.31.1",
    }
    return Quantization(**{**given, **changes})


def test_the_table_of_a_classifier() -> None:
    assert list(record().rows) == [
        ("top-1 (%), validation", "90.00", "87.50"),
        ("agreement (%), validation", None, "95.00"),
        ("agreement (%), test", None, "100.00"),
        ("latency, batch 1 (ms)", "0.500", "0.250"),
        ("latency, batch 32 (ms)", "0.250", "0.500"),
        ("file (bytes)", 44357, 27768),
    ]
    assert record().notes == (
        "Times are medians of 50 calls in onnxruntime 1.31.1 on a processor, 1 thread; the two files took "
        "turns."
    )


def test_the_table_of_a_regression_has_the_distance_of_the_answers() -> None:
    found = Figures(samples=40, before={"rmse": 66.01}, after={"rmse": 66.2}, agreement=None, distance=0.01)
    made = record(task=Regression(("x",), (0.0,), (1.0,)).record(), splits={"validation": found})
    assert list(made.rows)[:2] == [
        ("RMSE, validation", "66.01", "66.20"),
        ("distance, validation", None, 0.01),
    ]
    assert made.notes.endswith(
        " Distance: RMSE between student and teacher in standard deviations of the targets, where the file "
        "in float32 is the teacher."
    )


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read(tmp_path) is None
    made = record(task={"name": "classification", "names": ["a", "b"]})
    (tmp_path / FILE).write_text(made.model_dump_json())
    assert read(tmp_path) == made


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "all of it: Invalid JSON"),
        (record().model_dump_json().replace('"static"', '"s"'), "mode: Input "),
    ],
)
def test_a_damaged_record_is_named(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(LimbeckError, match=rf"quantization\.json' is damaged: {problem}"):
        read(tmp_path)


def test_it_is_of_the_file_that_lies_there(tmp_path: Path) -> None:
    file = tmp_path / "run" / "student.int8.onnx"
    file.parent.mkdir()
    assert not record().lies_in(file.parent)
    file.write_bytes(b"integers")
    found = record(digest=digest(file))
    assert found.lies_in(file.parent)
    assert not record(digest=digest(file), file=str(file.absolute())).lies_in(tmp_path)
    file.write_bytes(b"other integers")
    assert not found.lies_in(file.parent)
