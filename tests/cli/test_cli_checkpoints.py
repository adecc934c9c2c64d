"""`limbeck import` and `limbeck export`: networks from elsewhere, and back."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Command, content

import limbeck
from limbeck import models
from limbeck.models import Normalization
from limbeck.runs import Run

PAGE = Path(__file__).parents[2] / "docs" / "checkpoints.md"


def checkpoint(
    path: str, spec: str = "resnet8", size: int = 32, channels: int = 3, classes: int = 100
) -> None:
    """A file as the CRD benchmark's are."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = models.build(spec, example=torch.empty(1, channels, size, size), num_classes=classes)
    torch.save({"epoch": 240, "model": network.state_dict(), "best_acc": torch.tensor(70.0)}, path)


def test_a_published_checkpoint(command: Command) -> None:
    checkpoint("best.pth")
    answer = command("import", "best.pth", "--model", "resnet8", "--classes", "100", "--out", "runs/teacher")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines() == [
        "ResNet, 83,892 parameters",
        "takes pixels in [0, 1] and normalizes them: mean 0.5071, 0.4867, 0.4408; std 0.2675, 0.2565, 0.2761",
        "runs/teacher/student.safetensors",
    ]
    theirs = limbeck.load_checkpoint("best.pth", "resnet8").state_dict()
    ours = limbeck.load("runs/teacher").state_dict()
    assert all(torch.equal(tensor, ours[key]) for key, tensor in theirs.items())
    assert "(2, 100)" in command("inspect", "runs/teacher", "--input", "3x32x32").out


def test_from_an_imported_teacher_to_a_student(command: Command) -> None:
    checkpoint("digits.pt", "resnet8", size=8, channels=1, classes=10)
    given = ("--classes", "10", "--input", "1x8x8", "--mean", "0.31", "--std", ".38")
    answer = command("import", "digits.pt", "--model", "resnet8", *given, "--out", "teacher")
    assert answer.out.splitlines()[1].endswith("mean 0.31; std 0.38")
    measured = command("evaluate", "teacher", "--data", "digits")
    assert measured.code == 0
    top1 = re.search(r"top-1 \(%\) +│ +([\d.]+) ", measured.out)
    assert top1
    quick = (
        "--epochs",
        "1",
        "--batch-size",
        "250",
        "--set",
        "training.trackers=[]",
        "--set",
        "teacher.trust=true",
    )
    distilled = command(
        *("distill", "--student", "mlp", "--teacher", "teacher", "--out", "run", "--baseline", "none"), *quick
    )
    assert distilled.code == 0
    taught_by = Run(Path("run")).result.teachers["teacher"]
    assert taught_by.model == "teacher"
    assert f"{100 * (taught_by.metrics or {})['top1']:.2f}" == top1[1]


def test_back_to_the_benchmark(command: Command) -> None:
    checkpoint("best.pth", "wrn_16_1", classes=7)
    mean = ("--normalization", "imagenet")
    command("import", "best.pth", "--model", "wrn_16_1", "--classes", "7", *mean, "--out", "run")
    answer = command("export", "run", "--format", "repdistiller", "--out", "student.pth")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines() == [
        "student.pth",
        "a checkpoint of wrn_16_1, {'model': state_dict}",
        "it takes images that were normalized before: mean 0.485, 0.456, 0.406; std 0.229, 0.224, 0.225",
    ]
    state = torch.load("student.pth", weights_only=True)["model"]
    theirs = torch.load("best.pth", weights_only=True)["model"]
    assert list(state) == list(theirs)
    assert all(torch.equal(state[key], theirs[key]) for key in theirs)
    assert command("export", "run", "--format", "repdistiller", "--out", "student.pth").code == 2
    assert (
        command("export", "run", "--format", "repdistiller", "--out", "student.pth", "--overwrite").code == 0
    )


def test_pixels_as_they_are(command: Command) -> None:
    checkpoint("best.pth", channels=1)
    given = ("--model", "resnet8", "--input", "1x32x32", "--normalization", "none", "--out", "run")
    assert command("import", "best.pth", *given).code == 0
    assert models.normalization_of(limbeck.load("run")) == Normalization((0.0,), (1.0,))


def test_the_page_in_the_docs(command: Command) -> None:
    checkpoint("resnet8x4_best.pth", "resnet8x4")
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("$ limbeck ")]
    assert [line.split()[2] for line in lines] == ["import", "inspect", "export"]
    for line in lines:
        answer = command(*shlex.split(line)[2:])
        assert answer.code == 0, answer.err


@pytest.fixture
def refused(command: Command, tmp_path: Path) -> Any:
    """Calls a command that should be refused with nothing changed; gives the message."""

    def call(*arguments: str) -> str:
        before = content(tmp_path)
        answer = command(*arguments)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err.startswith("limbeck: ")
        assert answer.err.count("\n") == 1
        assert content(tmp_path) == before
        return answer.err.removeprefix("limbeck: ").rstrip("\n")

    return call


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.pth", "--model", "resnet8"), "there is no weights file 'nowhere.pth'"),
        (
            ("last.pth", "--model", "resnet8"),
            "'last.pth' holds a pickled argparse.Namespace; a pickle can run",
        ),
        (("best.pth", "--model", "resnt8"), "unknown model 'resnt8'; did you mean 'resnet8'?"),
        (("best.pth", "--model", "resnet20"), "; it fits resnet8 with 3 channels and 100 classes"),
        (("best.pth", "--model", "resnet8", "--classes", "10"), "fc.weight (100, 64) for (10, 64)"),
        (
            ("best.pth", "--model", "resnet8", "--input", "3x32"),
            "takes images, channels x height x width, not",
        ),
        (
            ("best.pth", "--model", "resnet8", "--input", "rgb"),
            "--input takes a shape such as 3x32x32, not 'rgb'",
        ),
        (
            ("best.pth", "--model", "resnet8", "--input", "3x64x64"),
            "say how the images of resnet8 were normalized, with normalization (--normalization cifar100|",
        ),
        (
            ("best.pth", "--model", "timm:nets"),
            "timm is not installed; `pip install 'limbeck[zoo]'` brings it",
        ),
        (
            ("best.pth", "--model", "resnet8", "--normalization", "cifar10"),
            "--normalization takes cifar100, imagenet, none, not 'cifar10'; give any other with --mean and",
        ),
        (
            ("best.pth", "--model", "resnet8", "--normalization", "none", "--std", "1,1,1"),
            "--normalization stands for a mean and a std; leave out --mean and --std",
        ),
        (("best.pth", "--model", "resnet8", "--mean", "0,0,0"), "--mean and --std go together"),
        (
            ("best.pth", "--model", "resnet8", "--mean", "0;0;0", "--std", "1,1,1"),
            "--mean takes a number for each channel, 0.5,0.5,0.5, not '0;0;0'",
        ),
        (
            ("best.pth", "--model", "resnet8", "--mean", "0,0,0", "--std", "1,1,0"),
            "a normalization needs finite means and finite stds above 0",
        ),
        (
            ("best.pth", "--model", "resnet8", "--mean", "0,0", "--std", "1,1"),
            "the normalization is for 2 channels, and the images have 3",
        ),
        (
            ("best.pth", "--model", "resnet8", "--out", "best.pth"),
            "'best.pth' is a file; a run needs a directory",
        ),
        (("best.pth", "--model", "resnet8", "--out", "notes"), "'notes' holds files that are no run; choose"),
    ],
)
def test_what_cannot_be_imported(
    arguments: tuple[str, ...], message: str, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    checkpoint("best.pth")
    torch.save({"opt": argparse.Namespace(trial=1), "model": torch.load("best.pth")["model"]}, "last.pth")
    Path("notes").mkdir()
    Path("notes/thesis.tex").write_text("precious")
    assert message in refused("import", *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("nowhere", "--format", "repdistiller", "--out", "s.pth"),
            "there is no 'nowhere'; give the",
        ),
        (
            ("TEACHER", "--format", "repdistiller", "--out", "s.pth"),
            "this MLP is none of the CRD benchmark's",
        ),
        (("TEACHER", "--format", "onyx", "--out", "s.pth"), "unknown format 'onyx'; did you mean 'onnx'?"),
        (
            ("TEACHER", "--format", "repdistiller", "--out", "there"),
            "'there' exists; say overwrite=True (--overwrite) or choose another out (--out)",
        ),
    ],
)
def test_what_cannot_be_exported(
    arguments: tuple[str, ...], message: str, refused: Any, teacher: Run
) -> None:
    Path("there").write_text("precious")
    assert message in refused("export", *(text.replace("TEACHER", str(teacher.path)) for text in arguments))


def test_measuring_an_imported_network_needs_data(refused: Any, command: Command) -> None:
    checkpoint("best.pth")
    command("import", "best.pth", "--model", "resnet8", "--out", "run")
    assert refused("evaluate", "run") == (
        "'run' was imported and has no data of its own; name some with data (--data)"
    )
    assert "normalizes inputs of shape (B, 3, ...), and got (2, 1, 8, 8)" in refused(
        "evaluate", "run", "--data", "digits"
    )
