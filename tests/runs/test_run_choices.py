"""What "auto" comes to: recorded, and taken over when a run is resumed, on whatever machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import timeless

import limbeck
from interrupting import interrupted_after
from limbeck import data
from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.runs import Run
from limbeck.training.trials import check_compiler

torch.set_num_threads(1)

WEIGHTS = "student.safetensors"


def images() -> Source:
    """20 random color images of two classes; the last batch of 8 is one of 4."""
    inputs = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return data.from_tensors(inputs, torch.arange(20) % 2, test=(inputs[:8], torch.arange(8) % 2))


def run(folder: Path, *, resume: bool = False, precision: str = "auto", **changes: Any) -> Run:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        teacher = limbeck.models.build("cnn(channels=[8])", example=torch.rand(1, 3, 8, 8), num_classes=2)
    given = {
        "teacher": teacher,
        "data": images(),
        "student": "cnn(channels=[4, 8])",
        "epochs": 3,
        "batch_size": 8,
        "settings": {"training.trackers": [], "training.precision": precision},
        "display": False,
    }
    return limbeck.distill(out=folder, resume=resume, **{**given, **changes})


def interrupted(folder: Path, **changes: Any) -> None:
    """A run that stops after the second epoch's line, so that its last checkpoint is the first epoch's."""

    with interrupted_after(2):
        run(folder, **changes)


def able(monkeypatch: pytest.MonkeyPatch, bfloat16: bool) -> None:
    monkeypatch.setattr("limbeck.training.choices.multiplies_bfloat16", lambda: bfloat16)


@pytest.mark.parametrize(("bfloat16", "precision"), [(True, "bf16"), (False, "fp32")])
def test_they_are_recorded(
    bfloat16: bool, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    able(monkeypatch, bfloat16)
    made = run(tmp_path / "run")
    assert made.environment["precision"] == precision
    assert made.result.choices == {
        "precision": precision,
        "memory_format": "channels_last",
        "compile": False,
    }
    assert made.config.training.precision == "auto"
    checkpoint = torch.load(made.path / "checkpoints" / "last.pt", weights_only=True)
    assert checkpoint["choices"] == made.result.choices
    assert all(value.is_contiguous() for value in checkpoint["root"].values())


@pytest.mark.parametrize("bfloat16", [True, False])
def test_a_run_resumed_on_another_processor_ends_as_it_would_have(
    bfloat16: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    able(monkeypatch, bfloat16)
    whole = run(tmp_path / "whole")
    interrupted(tmp_path / "run")
    able(monkeypatch, not bfloat16)
    resumed = run(tmp_path / "run", resume=True)
    assert (resumed.path / WEIGHTS).read_bytes() == (whole.path / WEIGHTS).read_bytes()
    assert timeless(resumed.history) == timeless(whole.history)
    assert resumed.result.choices == whole.result.choices
    other = run(tmp_path / "other")
    assert (other.path / WEIGHTS).read_bytes() != (whole.path / WEIGHTS).read_bytes()


def test_a_precision_of_ones_own_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    able(monkeypatch, True)
    interrupted(tmp_path / "run", precision="fp32")
    with pytest.raises(LimbeckError, match=r"was run with training\.precision='fp32', not 'bf16'"):
        run(tmp_path / "run", resume=True, precision="bf16")
    assert run(tmp_path / "run", resume=True, precision="fp32").result.choices["precision"] == "fp32"


def test_a_run_of_before_choices_were_recorded_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(tmp_path / "run")
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    del environment["precision"]
    (tmp_path / "run" / "environment.json").write_text(json.dumps(environment))
    checkpoint = tmp_path / "run" / "checkpoints" / "last.pt"
    torch.save({**torch.load(checkpoint, weights_only=True), "format": 1}, checkpoint)
    with pytest.raises(LimbeckError, match=r"last\.pt' has format 1; this version reads 4"):
        run(tmp_path / "run", resume=True)


def test_auto_compiles_nothing_in_a_training_of_a_moment(tmp_path: Path) -> None:
    assert run(tmp_path / "run", compile="auto").result.choices["compile"] is False


@pytest.mark.slow
def test_a_compiled_run_is_resumed_to_the_bit_and_leaves_ordinary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        check_compiler(torch.device("cpu"))
    except LimbeckError as error:  # torch cannot, for example, when it is installed below a path with a space
        pytest.skip(str(error))
    whole = run(tmp_path / "whole", compile=True)
    plain = run(tmp_path / "plain")
    assert whole.result.choices == {**plain.result.choices, "compile": True}
    interrupted(tmp_path / "run", compile=True)
    torch.compiler.reset()  # as in another process
    resumed = run(tmp_path / "run", resume=True, compile=True)
    assert (resumed.path / WEIGHTS).read_bytes() == (whole.path / WEIGHTS).read_bytes()
    assert timeless(resumed.history) == timeless(whole.history)
    states = [limbeck.models.load_state(each.path / WEIGHTS) for each in (whole, plain)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[1].items():
        torch.testing.assert_close(states[0][name], value, rtol=0.1, atol=0.01)
    roots = [
        torch.load(each.path / "checkpoints" / "last.pt", weights_only=True)["root"]
        for each in (whole, plain)
    ]
    assert roots[0].keys() == roots[1].keys()


@pytest.mark.slow
def test_without_a_compiler_true_is_refused_and_auto_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.compiler.reset()
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "no-such-compiler"))
    monkeypatch.setattr("limbeck.training.trials.WORTH_COMPILING", 0.0)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))
    with pytest.raises(LimbeckError, match=r"compile=true: nothing can be compiled here: .*no-such-compiler"):
        run(tmp_path / "run", compile=True)
    assert not (tmp_path / "run").exists()
    torch.compiler.reset()
    made = run(tmp_path / "other", compile="auto", display=True)
    assert made.result.choices["compile"] is False
    notes = capsys.readouterr().err
    assert notes.count("the networks cannot be compiled here and run as they are: ") == 1
