"""Runs of detection: from images and boxes to a student, its page and a file of ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import limbeck
from box_files import NAMES, write_yolo
from limbeck.evaluation import results
from limbeck.runs import Run
from limbeck.runs.exporting import export
from limbeck.tasks.detection.findings import BoxAgreement, BoxFindings

pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")

FAST: dict[str, Any] = {
    "data": "detection",
    "epochs": 3,
    "batch_size": 8,
    "lr": 0.01,
    "settings": {
        "training.trackers": [],
        "training.precision": "fp32",
        "training.optimizer": "adamw",
        "data.views": "crop(padding=2, flip=true)",
    },
    "display": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("boxes")
    write_yolo(place, {"train": 32, "valid": 8, "test": 8})
    return place


@pytest.fixture(scope="module")
def teacher(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return limbeck.train(
        model="fcos(channels=[16, 16, 16], levels=2, width=16)",
        data_dir=folder,
        out=tmp_path_factory.mktemp("teacher") / "run",
        **{**FAST, "epochs": 40},
    )


@pytest.fixture(scope="module")
def student(teacher: Run, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return limbeck.distill(
        student="fcos(channels=[8, 8, 8], levels=2, width=8)",
        teacher=teacher,
        objective="fcos + kd(temperature=1) + giou + 0.1*masked_generative",
        data_dir=folder,
        out=tmp_path_factory.mktemp("student") / "run",
        **FAST,
    )


def test_a_detector_learns_and_is_measured_by_average_precision(teacher: Run) -> None:
    found = results.read(teacher.path / "evaluation.json")
    assert found is not None
    assert list(found.student.metrics) == ["map", "map50", "map75", "recall"]
    assert found.student.metrics["map50"] > 0.7  # rectangles of two colors on gray
    assert "mAP" in (teacher.path / "report.html").read_text()


def test_a_student_is_distilled_and_its_boxes_are_shown(student: Run) -> None:
    found = results.read(student.path / "evaluation.json")
    assert found is not None
    assert isinstance(found.student.findings, BoxFindings)
    assert [each.boxes > 0 for each in found.student.findings.classes] == [True for _ in NAMES]
    assert found.student.findings.images == 8
    assert isinstance(found.agreement, BoxAgreement)
    assert found.agreement.examples  # three epochs do not find what forty find
    page = (student.path / "report.html").read_text()
    assert "AP50" in page
    assert "object-detection" in (student.path / "README.md").read_text()


def test_it_is_loaded_and_answers_images_of_any_size(student: Run) -> None:
    network = limbeck.load(student.path)
    assert network.training is False
    seen = network(torch.rand(2, 3, 48, 64))
    assert {name: tuple(each.shape) for name, each in seen.items()} == {
        "logits": (2, 6 * 8 + 3 * 4, 3),
        "boxes": (2, 60, 4),
        "centerness": (2, 60),
        "places": (2, 60, 3),
    }


def test_the_file_of_onnx_takes_images_of_any_size(student: Run, folder: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    made = export(student, "onnx", tmp_path / "student.onnx", data_dir=folder)
    session = onnxruntime.InferenceSession(str(made.file), providers=["CPUExecutionProvider"])
    images = torch.rand(2, 3, 48, 64)
    names = ["logits", "boxes", "centerness", "places"]
    answers = session.run(names, {"inputs": images.numpy()})
    with torch.no_grad():
        expected = limbeck.load(student.path)(images)
    for name, answer in zip(names, answers, strict=True):
        torch.testing.assert_close(torch.from_numpy(answer), expected[name], rtol=1e-4, atol=1e-3)
