"""Runs of segmentation: from folders of images and masks to a student, its page and a file of ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import same, state_of

import limbeck
from interrupting import interrupted_after
from limbeck.evaluation import results
from limbeck.runs import Run
from limbeck.runs.exporting import export
from limbeck.tasks.segmentation.findings import PixelAgreement, PixelFindings
from mask_files import pixels_and_ids, write_layout

FAST: dict[str, Any] = {
    "data": 'segmentation(size=8, names=["a", "b", "c"])',
    "epochs": 6,
    "batch_size": 4,
    "lr": 0.05,
    "settings": {
        "training.trackers": [],
        "training.precision": "fp32",
        "data.views": "scaled_crop(height=8, width=8, low=1.0, high=1.5)",
    },
    "display": False,
}


STUDENT: dict[str, Any] = {
    **FAST,
    "student": "deeplab(channels=[4, 4], output_stride=4, width=4)",
    "objective": 'ce + kd + cwd + pairwise(adversary=0.1) + bdd(over="positions")',
    "baseline": "none",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("masks")
    write_layout(place, "{split}/{n}.png", "{split}annot/{n}.png", count=8)
    return place


@pytest.fixture(scope="module")
def teacher(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = {**FAST["settings"], "data.views": "crop(padding=0, flip=true)"}
    return limbeck.train(
        model="unet(channels=[8, 8])",
        data_dir=folder,
        out=tmp_path_factory.mktemp("teacher") / "run",
        **{**FAST, "epochs": 40, "lr": 0.1, "settings": settings},
    )


@pytest.fixture(scope="module")
def student(teacher: Run, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("student") / "run"
    return limbeck.distill(teacher=teacher, data_dir=folder, out=out, **STUDENT)


def test_a_network_learns_and_is_measured_by_miou(teacher: Run) -> None:
    found = results.read(teacher.path / "evaluation.json")
    assert found is not None
    assert list(found.student.metrics) == ["miou", "pixel_accuracy", "mean_accuracy"]
    assert found.student.metrics["miou"] > 0.5  # the red channel says the class
    page = (teacher.path / "report.html").read_text()
    assert "mIoU" in page


def test_a_student_of_another_resolution_is_distilled(student: Run) -> None:
    found = results.read(student.path / "evaluation.json")
    assert found is not None
    assert isinstance(found.student.findings, PixelFindings)
    assert found.student.findings.images == 8
    assert sum(found.student.findings.pixels) == 8 * 6 * 8
    assert isinstance(found.agreement, PixelAgreement)
    assert found.agreement.examples
    page = (student.path / "report.html").read_text()
    assert "From left to right: input, label" in page
    assert "What the student takes for what" in page
    card = (student.path / "README.md").read_text()
    assert "image-segmentation" in card
    assert "It is weakest on" in card


def test_an_interrupted_run_ends_as_if_nothing_had_happened(
    student: Run, teacher: Run, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with interrupted_after(2):
        limbeck.distill(teacher=teacher, data_dir=folder, out=out, **STUDENT)
    assert not Run(out).finished
    run = limbeck.distill(teacher=teacher, data_dir=folder, out=out, resume=True, **STUDENT)
    assert same(state_of(run), state_of(student))
    assert [line["terms"] for line in run.history] == [line["terms"] for line in student.history]
    assert "pairwise.critic" in run.history[0]["terms"]


def test_it_is_loaded_and_answers_images_of_any_size(student: Run) -> None:
    network = limbeck.load(student.path)
    image = torch.from_numpy(pixels_and_ids(0, (13, 21))[0].transpose(2, 0, 1)[None] / np.float32(255))
    assert network(image).shape == (1, 3, 4, 6)
    assert network.training is False


def test_the_file_of_onnx_takes_images_of_any_size(student: Run, folder: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    made = export(student, "onnx", tmp_path / "student.onnx", data_dir=folder)
    assert "takes inputs (batch, 3, height, width) float32" in " ".join(made.lines)
    session = onnxruntime.InferenceSession(str(made.file), providers=["CPUExecutionProvider"])
    images = torch.rand(2, 3, 13, 21)
    (answer,) = session.run(["logits"], {"inputs": images.numpy()})
    with torch.no_grad():
        expected = limbeck.load(student.path)(images)
    torch.testing.assert_close(torch.from_numpy(answer), expected, rtol=1e-4, atol=1e-4)
