from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from command import Command
from small_runs import QUICK, content, make_student, make_teacher, state_of
from torch import Tensor

import limbeck
from limbeck import data, models
from limbeck.data import Source
from limbeck.data.preparation import Preparation
from limbeck.errors import LimbeckError
from limbeck.models.weights import read_metadata
from limbeck.runs import Run
from limbeck.runs.exporting import export
from limbeck.runs.exports import pt2
from limbeck.tasks import Findings

MEAN, STD = (0.25, 0.5, 0.75), (0.2, 0.25, 0.3)


def images(size: int = 8) -> Source:
    """40 random images in 4 classes, none of them held out."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(40, 3, size, size, generator=generator)
    source = data.from_tensors(pixels, torch.arange(40) % 4, validation=None, name="squares")
    return replace(source, mean=MEAN, std=STD)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A student of the CRD benchmark's, for images of 8 x 8."""
    return limbeck.train(
        model="resnet(blocks=1)",
        data=images(),
        out=tmp_path_factory.mktemp("runs") / "run",
        **QUICK,
    )


def test_a_student_goes_back_to_the_benchmark(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "student.pth"
    for given in (run, run.path, str(run.path), run.path / "student.safetensors"):
        exported = export(given, "repdistiller", out, overwrite=True)
    assert exported.file == out
    assert exported.lines == (
        "a checkpoint of resnet8, {'model': state_dict}",
        "it takes images that were normalized before: mean 0.25, 0.5, 0.75; std 0.2, 0.25, 0.3",
    )
    content = torch.load(out, weights_only=True)
    assert content.keys() == {"model"}
    assert all(torch.equal(content["model"][key], tensor) for key, tensor in state_of(run).items())

    back = limbeck.load_checkpoint(out, "resnet8", 4, size=8)
    pixels = torch.rand(2, 3, 8, 8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    with torch.no_grad():
        torch.testing.assert_close(back((pixels - mean) / std), limbeck.load(run)(pixels))


@pytest.fixture
def other(tmp_path: Path) -> Run:
    return make_teacher(tmp_path / "other")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"form": "repdistller"}, "unknown format 'repdistller'; did you mean 'repdistiller'?"),
        ({"data": "digits"}, "repdistiller is not checked on data; leave out data and data_dir"),
        (
            {"form": "safetensors", "out": None},
            r"student\.safetensors' is the run's own file; name another with",
        ),
        ({"form": "onnx"}, "the data of 'copy' was handed over as an object; name some with data"),
        (
            {"form": "pt2", "data": "digits"},
            r"the student takes inputs of shape \(3, 8, 8\), and those of digits are \(1, 8, 8\)",
        ),
        (
            {"run": "copy/student.safetensors", "form": "onnx"},
            "is no run's directory: it holds no config.yaml",
        ),
        ({"run": "nowhere"}, r"there is no 'nowhere'; give the directory of a finished run"),
        ({"out": "there.pth"}, "'there.pth' exists; say overwrite=True"),
        ({"out": "."}, "'.' is a directory; out .* names the file to write"),
        ({"out": "there.pth/x.pth"}, r"'there\.pth/x\.pth' cannot be written: "),
        (
            {"out": "copy/student.safetensors", "overwrite": True},
            "is the run's own file; name another with out",
        ),
    ],
)
def test_what_cannot_be_exported_changes_nothing(
    changes: dict[str, Any], message: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.pth").write_text("precious")
    Path("copy").symlink_to(run.path)
    before = content(tmp_path)
    with pytest.raises(LimbeckError, match=message):
        export(**{"run": "copy", "form": "repdistiller", "out": "new.pth", **changes})
    assert content(tmp_path) == before


def test_other_networks_are_refused(other: Run, tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match="this MLP is none of the CRD benchmark's networks"):
        export(other, "repdistiller", tmp_path / "student.pth")
    assert not (tmp_path / "student.pth").exists()
    assert models.normalization_of(limbeck.load(other)) is not None


def pixels_of_digits() -> Tensor:
    inputs = data.load("digits").example(7)
    assert isinstance(inputs, Tensor)
    return inputs


def test_the_weights_go_alone(other: Run, tmp_path: Path) -> None:
    exported = export(other, "safetensors", tmp_path / "weights.safetensors")
    assert exported.lines[1].startswith("takes inputs (batch, 1, 8, 8) float32, pixels in [0, 1]")
    assert exported.lines[1].endswith("; it normalizes them itself")
    inputs = pixels_of_digits()
    assert torch.equal(limbeck.load(exported.file)(inputs), limbeck.load(other)(inputs))
    assert exported.lines[0] == (
        "the student's weights below 'network.', beside mean, std; "
        "limbeck.load builds the network around them"
    )
    state = models.load_state(exported.file)
    own = state_of(other)
    assert state.keys() == {"mean", "std", *(f"network.{key}" for key in own)}
    assert all(torch.equal(state[f"network.{key}"], tensor) for key, tensor in own.items())
    kept = read_metadata(exported.file)
    assert json.loads(kept["names"]) == list("0123456789")
    assert json.loads(kept["preprocessing"])["inputs"][0]["shape"] == ["batch", 1, 8, 8]


PLAIN = """
import sys
import torch
from safetensors.torch import load_file
from torch import nn

class Layer(nn.Module):
    def __init__(self, *sizes):
        super().__init__()
        self.linear = nn.Linear(*sizes)

class Perceptron(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers, self.classifier = nn.ModuleList([Layer(64, 16)]), nn.Linear(16, 10)

    def forward(self, pixels):
        return self.classifier(self.layers[0].linear(pixels.flatten(1)).relu())

class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = Perceptron()
        self.register_buffer("mean", torch.empty(1))
        self.register_buffer("std", torch.empty(1))

    def forward(self, pixels):
        return self.network((pixels - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1))

plain = Plain()
plain.load_state_dict(load_file(sys.argv[1]))
torch.save(plain(torch.load(sys.argv[2])).detach(), sys.argv[3])
assert "limbeck" not in sys.modules
"""


def test_plain_torch_answers_as_the_student_does(other: Run, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("weights.safetensors", "pixels.pt", "answers.pt")]
    export(other, "safetensors", files[0])
    inputs = pixels_of_digits()
    torch.save(inputs, files[1])
    subprocess.run([sys.executable, "-c", PLAIN, *map(str, files)], check=True)
    torch.testing.assert_close(torch.load(files[2]), limbeck.load(other)(inputs).detach())


def test_what_an_evaluation_chose_travels_along(
    other: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = property(lambda found: {"thresholds": [0.25, 0.5]})
    monkeypatch.setattr(Findings, "shipped", chosen)
    for form in ("safetensors", "pt2"):
        export(other, form, tmp_path / form)
    kept = {"thresholds": "", "task": ""}
    torch.export.load(tmp_path / "pt2", extra_files=kept)
    assert json.loads(kept["thresholds"]) == [0.25, 0.5]
    assert json.loads(kept["task"]) == {"name": "classification", "names": list("0123456789")}
    assert json.loads(read_metadata(tmp_path / "safetensors")["thresholds"]) == [0.25, 0.5]


def test_the_runs_own_file_says_what_to_do_before_use(other: Run) -> None:
    """As the model card says it."""
    kept = read_metadata(other.path / "student.safetensors")
    constant = {
        name: torch.tensor(json.loads(text))
        for name, text in kept.items()
        if name.endswith(("_mean", "_std"))
    }
    assert constant.keys() == {"normalize_mean", "normalize_std"}
    bare = models.build(other.config.student.model, example=pixels_of_digits(), num_classes=10)
    bare.load_state_dict(state_of(other))
    inputs = pixels_of_digits()
    lines = re.search(r"inputs = .*", (other.path / "README.md").read_text())
    assert lines is not None
    scope = {"inputs": inputs, "constant": constant}
    exec(lines[0], scope)
    torch.testing.assert_close(bare(scope["inputs"]), limbeck.load(other)(inputs))


def test_a_program_is_checked_on_the_runs_own_test_split(other: Run) -> None:
    before = content(other.path)
    inputs = pixels_of_digits()
    wanted = limbeck.load(other)(inputs)
    found = export(other, "onnx")
    assert found.file == other.path / "student.onnx"
    assert found.lines[0] == "ONNX with opset 20"
    assert "on 500 samples of the test split of digits in batches of 1, 2, 32, 465: all" in found.lines[2]
    session = onnxruntime.InferenceSession(str(found.file), providers=["CPUExecutionProvider"])
    answers = torch.from_numpy(session.run(None, {"inputs": inputs.numpy()})[0])
    torch.testing.assert_close(answers, wanted)
    found = export(other.path / "student.safetensors", "pt2", data="digits")
    assert found.file == other.path / "student.pt2"
    program = torch.export.load(found.file).module()
    assert torch.equal(program(inputs), wanted)
    after = content(other.path)
    assert after.keys() - before.keys() == {"student.onnx", "student.pt2"}
    assert [name for name in before if after[name] != before[name]] == ["README.md"], (
        "it tells of student.onnx"
    )


def test_an_object_is_enough_to_check_on(run: Run, tmp_path: Path) -> None:
    found = export(run, "pt2", tmp_path / "a.pt2", data=images())
    assert "40 samples of the training split of squares in batches of 1, 2, 32, 5:" in found.lines[2]
    with pytest.raises(LimbeckError, match=r"those of squares are \(3, 9, 9\)"):
        export(run, "pt2", tmp_path / "b.pt2", data=images(9))


def test_a_network_is_no_run(tmp_path: Path) -> None:
    network: Any = torch.nn.Linear(2, 2)
    said = r"^a run, or its directory, comes first, not a Linear; a network is network=\.\.\.$"
    with pytest.raises(LimbeckError, match=said):
        export(network, "onnx")
    with pytest.raises(LimbeckError, match=said):
        limbeck.load(network)
    with pytest.raises(LimbeckError, match=said):
        limbeck.evaluate(network)
    with pytest.raises(LimbeckError, match=r"^what comes first is a config or its file, not a Linear; a net"):
        limbeck.train(network, out=tmp_path / "run")


def test_a_student_that_was_an_object(tmp_path: Path) -> None:
    def network() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))

    run = limbeck.train(model=network(), out=tmp_path / "run", **QUICK)
    with pytest.raises(LimbeckError, match="was handed over as an object and cannot be built from a name"):
        export(run, "onnx")
    found = export(run, "onnx", network=network())
    session = onnxruntime.InferenceSession(str(found.file), providers=["CPUExecutionProvider"])
    inputs = pixels_of_digits()
    answers = torch.from_numpy(session.run(None, {"inputs": inputs.numpy()})[0])
    torch.testing.assert_close(answers, limbeck.load(run, network=network())(inputs).detach())


def test_a_graft_goes_along(tmp_path: Path) -> None:
    teacher = make_teacher(tmp_path / "teacher", model="cnn(channels=[4, 8])", batch_size=20)
    run = make_student(tmp_path / "run", teacher, student="cnn(channels=[2, 4])", objective="simkd")
    for form in ("onnx", "pt2"):
        assert "all decisions are the same" in export(run, form).lines[2]
    inputs = pixels_of_digits()
    alone = export(run, "safetensors", tmp_path / "weights.safetensors").file
    assert torch.equal(limbeck.load(alone)(inputs), limbeck.load(run)(inputs))
    assert "normalize_mean" in read_metadata(alone), "the student inside normalizes, so no tensor says it"
    program = torch.export.load(run.path / "student.pt2").module()
    assert torch.equal(program(inputs), limbeck.load(run)(inputs))
    with pytest.raises(
        LimbeckError, match=r"through a graft of the teacher's classifier.*; use the format safet"
    ):
        export(run, "repdistiller")


def test_a_file_that_answers_otherwise_is_not_kept(
    other: Run, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    truthful = pt2.reopen
    monkeypatch.setattr(pt2, "reopen", lambda file: lambda inputs: truthful(file)(inputs).roll(1, 1))
    before = content(other.path)
    answer = command("export", other.path, "--format", "pt2")
    assert answer.code == 1
    assert answer.out == ""
    assert answer.err.startswith("limbeck: the file does not answer as the student and was not kept: ")
    assert answer.err.count("\n") == 1
    (other.path / "student.pt2").write_bytes(b"the one before")
    answer = command("export", other.path, "--format", "pt2", "--overwrite")
    assert answer.code == 1
    assert answer.err.endswith(f"; '{other.path}/student.pt2' is the one that was there before\n")
    assert content(other.path) == {**before, "student.pt2": b"the one before"}


def test_a_program_takes_images_of_the_size_that_the_student_reads(tmp_path: Path) -> None:
    settings = {**QUICK["settings"], "student.size": 5}
    made = limbeck.train(model="mlp(hidden=[4])", out=tmp_path / "run", **{**QUICK, "settings": settings})
    assert export(made, "pt2").lines[1].startswith("takes inputs (batch, 1, 5, 5) float32, pixels in [0, 1]")
    inputs = Preparation(5)(pixels_of_digits())
    program = torch.export.load(made.path / "student.pt2").module()
    assert torch.equal(program(inputs), limbeck.load(made)(inputs))


def test_a_package_that_is_missing_is_named(
    other: Run, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    answer = command("export", other.path, "--format", "onnx")
    assert answer.code == 2
    assert answer.err == "limbeck: onnxruntime is not installed; `pip install 'limbeck[onnx]'` brings it\n"
    assert command("export", other.path, "--format", "pt2").code == 0


def test_on_the_command_line(other: Run, command: Command) -> None:
    answer = command("export", other.path, "--format", "onnx", "--out", "deep/digits.onnx")
    assert answer.code == 0
    assert answer.out.splitlines()[0] == "deep/digits.onnx"
    assert Path("deep/digits.onnx").is_file()
    answer = command("export", other.path, "--format", "onnx", "--out", "deep/digits.onnx")
    assert (answer.code, answer.err) == (
        2,
        "limbeck: 'deep/digits.onnx' exists; say overwrite=True (--overwrite) or choose another out "
        "(--out)\n",
    )


def test_data_that_has_moved_is_found_where_it_is_said_to_be(tmp_path: Path) -> None:
    rows = "".join(f"{i / 10},{i % 3},{'ab'[i % 2]}\n" for i in range(40))
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "cells.csv").write_text(f"size,shape,kind\n{rows}")
    given = {**QUICK, "batch_size": 10, "data": "table(path='cells.csv', label='kind')"}
    made = limbeck.train(model="mlp", out=tmp_path / "run", data_dir=tmp_path / "first", **given)
    (tmp_path / "first").rename(tmp_path / "second")
    with pytest.raises(LimbeckError, match="cells"):
        export(made, "pt2")
    assert "all decisions are the same" in export(made, "pt2", data_dir=tmp_path / "second").lines[2]
