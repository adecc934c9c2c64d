"""Runs of super-resolution: from folders of images to a student, its page and a file of ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import same, state_of

import limbeck
from interrupting import interrupted_after
from limbeck.evaluation import results
from limbeck.runs import Run
from limbeck.runs.exporting import export
from limbeck.tasks.restoration.findings import RestorationAgreement, RestorationFindings

FAST: dict[str, Any] = {
    "data": "restoration(scale=2, size=8)",
    "epochs": 2,
    "batch_size": 4,
    "settings": {
        "training.trackers": [],
        "training.precision": "fp32",
        "training.optimizer": {"name": "adam", "lr": 0.003},
    },
    "display": False,
}
STUDENT: dict[str, Any] = {
    **FAST,
    "student": "fsrcnn(width=4, inner=2, depth=1)",
    "objective": "mae + 0.1*metakd_sr(pairs=[[-1, -1]], every=2)",
    "baseline": "none",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs that nobody took: waves of random directions."""
    place = tmp_path_factory.mktemp("photographs")
    rows, columns = np.mgrid[:37, :45] / 4
    for split, count in (("train", 6), ("val", 2), ("test", 3)):
        (place / split).mkdir()
        for number in range(count):
            angles = np.random.default_rng(len(split) * 10 + number).uniform(-1, 1, (2, 3))
            waves = np.sin(rows[..., None] * angles[0] + columns[..., None] * angles[1])
            Image.fromarray((127 + 120 * waves).astype(np.uint8)).save(place / split / f"{number}.png")
    return place


@pytest.fixture(scope="module")
def teacher(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("teacher") / "run"
    return limbeck.train(model="edsr(width=8, depth=1)", data_dir=folder, out=out, **{**FAST, "epochs": 12})


@pytest.fixture(scope="module")
def student(teacher: Run, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("student") / "run"
    return limbeck.distill(teacher=teacher, data_dir=folder, out=out, **STUDENT)


def test_a_network_learns_to_enlarge(teacher: Run) -> None:
    found = results.read(teacher.path / "evaluation.json")
    assert found is not None
    assert list(found.student.metrics) == ["psnr", "ssim"]
    first, last = (teacher.history[at]["validation"]["psnr"] for at in (0, -1))
    assert last > first + 0.5
    assert "PSNR" in (teacher.path / "report.html").read_text()


def test_a_student_is_distilled_and_measured_on_whole_images(student: Run) -> None:
    found = results.read(student.path / "evaluation.json")
    assert found is not None
    assert isinstance(found.student.findings, RestorationFindings)
    assert len(found.student.findings.images) == 3
    assert isinstance(found.agreement, RestorationAgreement)
    assert found.agreement.examples
    page = (student.path / "report.html").read_text()
    assert "PSNR by image" in page
    assert "Images beside the teacher" in page
    card = (student.path / "README.md").read_text()
    assert "image-to-image" in card
    assert "beside bicubic enlargement on average" in card
    assert all(line["terms"]["metakd_sr.meta"] > 0 for line in student.history)


def test_an_interrupted_run_ends_as_if_nothing_had_happened(
    student: Run, teacher: Run, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with interrupted_after(1):
        limbeck.distill(teacher=teacher, data_dir=folder, out=out, **STUDENT)
    assert not Run(out).finished
    run = limbeck.distill(teacher=teacher, data_dir=folder, out=out, resume=True, **STUDENT)
    assert same(state_of(run), state_of(student))
    assert [line["terms"] for line in run.history] == [line["terms"] for line in student.history]


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        (STUDENT["objective"], "the teacher's stages are kept, and read back ever after"),
        (
            'mae + imitation + 0.1*fitnet(stage=-1, loss="l1", linear=true)',
            "the teacher is asked live: imitation reads its logits, in the units of the targets, of which a",
        ),
    ],
)
def test_maps_are_cached_and_answers_are_not(
    objective: str,
    said: str,
    teacher: Run,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    given = {**STUDENT, "objective": objective, "views": 2, "data_dir": folder, "teacher": teacher}
    settings = {"settings": {**FAST["settings"], "training.checkpoint_every": 9}, "display": True}
    runs = [
        limbeck.distill(out=tmp_path / name, **{**given, **settings, "cache_teacher": kept})
        for name, kept in (("live", None), ("cold", "all"), ("warm", "all"))
    ]
    printed = capsys.readouterr()
    assert said in printed.out + printed.err
    live, _, warm = (run.history[-1]["terms"]["total"] for run in runs)
    assert warm == pytest.approx(live, rel=1e-3)
    assert (runs[-1].result.teacher_forwards == 0) == ("kept" in said)


def test_it_is_loaded_and_enlarges_images_of_any_size(student: Run) -> None:
    network = limbeck.load(student.path)
    assert network(torch.rand(1, 3, 13, 21)).shape == (1, 3, 26, 42)
    assert network.training is False


def test_the_file_of_onnx_takes_images_of_any_size(student: Run, folder: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    made = export(student, "onnx", tmp_path / "student.onnx", data_dir=folder)
    assert "takes inputs (batch, 3, height, width) float32" in " ".join(made.lines)
    session = onnxruntime.InferenceSession(str(made.file), providers=["CPUExecutionProvider"])
    images = torch.rand(2, 3, 13, 21)
    (answer,) = session.run(None, {"inputs": images.numpy()})
    with torch.no_grad():
        expected = limbeck.load(student.path)(images)
    torch.testing.assert_close(torch.from_numpy(answer), expected, rtol=1e-4, atol=1e-4)


def test_a_network_of_another_factor_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(limbeck.LimbeckError, match=r"enlarge by the same factor, scale="):
        limbeck.train(model="edsr(width=4, depth=1, scale=3)", data_dir=folder, out=tmp_path / "run", **FAST)
    assert not (tmp_path / "run").exists()
