from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import Command
from numpy.typing import NDArray
from small_runs import QUICK, content
from torch import Tensor, nn

import limbeck
import onnx_models
from limbeck import data
from limbeck.data import Source
from limbeck.data.preparation import AS_RENDERED
from limbeck.errors import LimbeckError
from limbeck.files import digest
from limbeck.runs import Run
from limbeck.runs.exporting import export
from limbeck.runs.exports import onnx
from limbeck.runs.exports.quality import MaxDrop
from limbeck.runs.exports.quantization import Quantization, read
from limbeck.runs.modelcard import write_model_card
from limbeck.runs.network_record import describe
from limbeck.runs.quantizing import DropError, quantized

WEIGHT = onnx_models.normal(4, 12)

Pair = tuple[Tensor, Tensor]


def rows(count: int, seed: int) -> Pair:
    """Inputs and what the linear layer of `WEIGHT` says of them."""
    inputs = torch.randn(count, 12, generator=torch.Generator().manual_seed(seed))
    return inputs, (inputs @ torch.from_numpy(WEIGHT).T).argmax(1)


def source(**changes: Any) -> Source:
    inputs, targets = rows(100, 0)
    given = {"validation": rows(50, 1), "test": rows(70, 2), "names": ("a", "b", "c", "d"), **changes}
    return data.from_tensors(inputs, targets, name="rows", kind="table", **given)


def tried(
    folder: Path,
    given: Source,
    max_drop: MaxDrop = "auto",
    weight: NDArray[np.float32] = WEIGHT,
    trained_on: Source | None = None,
) -> tuple[Quantization, list[str]]:
    """Quantizes a linear layer with that weight and measures it on the data."""
    plain, card = onnx_models.linear(folder, weight), describe(nn.Identity(), None, trained_on or given)
    file = folder / "student.int8.onnx"
    return quantized(plain, folder / "out", given, card, AS_RENDERED, folder, file, max_drop)


def answers(file: Path, inputs: Tensor) -> Tensor:
    return torch.cat([onnx.reopen(file)(batch) for batch in torch.split(inputs, 32)])


def test_the_figures_are_those_of_the_files(tmp_path: Path) -> None:
    given = source()
    found, lines = tried(tmp_path, given)
    plain, out = tmp_path / onnx_models.FILE, tmp_path / "out"
    assert (found.file, found.digest) == ("student.int8.onnx", digest(out))
    assert (found.mode, found.calibration) == ("dynamic", 0)
    assert found.bytes.before == plain.stat().st_size
    assert found.bytes.after == out.stat().st_size
    assert (found.data.name, found.data.fingerprint) == ("rows", given.fingerprint())
    for name, (inputs, targets) in {"validation": rows(50, 1), "test": rows(70, 2)}.items():
        its = found.splits[name]  # type: ignore[index]
        decided = answers(out, inputs).argmax(1)
        assert its.samples == len(inputs)
        assert its.before["top1"] == 1
        assert its.after["top1"] == its.agreement == float((decided == targets).double().mean())
    assert (found.decided_on, found.max_drop) == ("validation", 1.0)
    assert found.drop == pytest.approx(100 * (1 - found.splits["validation"].after["top1"]))
    assert list(found.latency) == [1, 32]
    assert all(
        0 < time.median_ms <= time.p95_ms
        for each in found.latency.values()
        for time in (each.before, each.after)
    )
    assert found.machine.threads == torch.get_num_threads()
    assert lines[0].startswith("dynamic quantization, because the network has no convolutions: ")
    assert "before and" in lines[1]
    assert lines[2] == "the quantized file is no smaller: what describes the ranges outweighs so few weights"
    slower = [size for size, each in found.latency.items() if each.after.median_ms > each.before.median_ms]
    assert any("is slower in batches" in line for line in lines) is bool(slower)


FRAGILE = np.array([[1, 0], [-1, 0]], np.float32)


def fragile(count: int, seed: int) -> Pair:
    """The small first column decides; the second one, which has no weight, takes all steps of 8 bits."""
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.rand(count, 2, generator=draw) * torch.tensor([2.0, 10_000.0]) - torch.tensor([1.0, 0.0])
    return inputs, (inputs[:, 0] < 0).long()


def fragile_source(**changes: Any) -> Source:
    inputs, targets = fragile(100, 0)
    given = {"validation": fragile(50, 1), "test": fragile(50, 2), "names": ("plus", "minus"), **changes}
    return data.from_tensors(inputs, targets, name="outliers", kind="table", **given)


def test_a_loss_above_the_limit_is_refused(tmp_path: Path) -> None:
    said = (
        r"top-1 on the validation split of outliers is 100\.00.% before and \d\d\.00.% after quantization; .*"
    )
    for limit, told in (("auto", "1 point"), (12.5, "12.5 points")):
        with pytest.raises(DropError, match=rf"^{said} by {told} at most; no quantized file was kept$"):
            tried(tmp_path, fragile_source(), limit, FRAGILE)  # type: ignore[arg-type]
    found, _ = tried(tmp_path, fragile_source(), 70.0, FRAGILE)
    assert found.drop is not None
    assert 30 < found.drop < 70
    assert found.max_drop == 70
    found, lines = tried(tmp_path, fragile_source(), None, FRAGILE)
    assert (found.decided_on, found.drop, found.max_drop) == (None, None, None)
    assert found.splits["validation"].after["top1"] < 0.7
    assert not any("max_drop" in line for line in lines)


def test_nothing_is_decided_on_the_test_split(tmp_path: Path) -> None:
    easy, hard = (torch.tensor([[1.0, 0.0], [-1.0, 0.0]] * 10), torch.tensor([0, 1] * 10)), fragile(50, 2)
    found, _ = tried(tmp_path, fragile_source(validation=easy, test=hard), 0.0, FRAGILE)
    assert (found.decided_on, found.drop) == ("validation", 0)
    assert found.splits["test"].after["top1"] < 0.7
    with pytest.raises(DropError, match="top-1 on the training split of outliers"):
        tried(tmp_path, fragile_source(validation=None, test=easy), 0.0, FRAGILE)


def test_without_labels_there_is_no_loss_to_measure(tmp_path: Path) -> None:
    inputs = rows(100, 0)[0]
    bare = data.from_tensors(
        inputs, None, validation=None, names=("a", "b", "c", "d"), name="bare", kind="table"
    )
    with pytest.raises(
        LimbeckError, match=r"no loss of top-1 can be measured on .* of bare.*--max-drop none\)"
    ):
        tried(tmp_path, bare)
    found, _ = tried(tmp_path, bare, None)
    assert list(found.splits) == ["training"]
    assert found.splits["training"].before == {}
    assert found.splits["training"].agreement > 0.9  # type: ignore[operator]


def test_outputs_are_those_of_the_data_by_name(tmp_path: Path) -> None:
    """The network answers a, b, c, d, and the data counts d, c, b, a."""
    inputs, targets = rows(50, 1)
    other = source(names=("d", "c", "b", "a"), validation=(inputs, 3 - targets), test=None)
    found, _ = tried(tmp_path, other, trained_on=source())
    assert found.splits["validation"].before["top1"] == 1
    with pytest.raises(LimbeckError, match=r"has no output for 'x' of rows"):
        tried(tmp_path, source(names=("a", "b", "c", "x")), trained_on=source())


def test_data_with_another_number_of_outputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match="the student has 4 outputs, and rows has 5 classes"):
        tried(tmp_path, source(names=None, num_classes=5), trained_on=source(names=None))


def test_a_regression_may_lose_one_percent(tmp_path: Path) -> None:
    inputs = rows(100, 0)[0]
    values = inputs @ torch.from_numpy(WEIGHT).T + torch.randn(
        100, 4, generator=torch.Generator().manual_seed(1)
    )
    held = (inputs[:50], values[:50])
    given = data.from_tensors(inputs, values, validation=held, name="sums", kind="table", task="regression")
    found, lines = tried(tmp_path, given)
    its = found.splits["validation"]
    assert its.agreement is None
    assert 0 < its.distance < 0.1
    assert found.max_drop == its.before["rmse"] / 100
    assert found.drop == pytest.approx(its.after["rmse"] - its.before["rmse"])
    assert lines[1].startswith("RMSE on the validation split of sums is ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"form": "pt2"}, "a file of pt2 is not quantized; leave out quantize .* or take the format onnx"),
        ({"form": "safetensors"}, "a file of safetensors is not quantized"),
        ({"quantize": "int4"}, "unknown precision 'int4'; did you mean 'int8'?"),
        ({"quantize": "fp16"}, "unknown precision 'fp16'; there are: int8"),
        (
            {"quantize": None, "max_drop": 2.0},
            "max_drop .* is the loss that quantization may cost; say quantize=",
        ),
        (
            {"quantize": None, "max_drop": None},
            "max_drop .* is the loss that quantization may cost; say quantize=",
        ),
        ({"max_drop": -1}, "max_drop .* should be a loss of 0 or more in the task's first metric, .* not -1"),
        ({"max_drop": float("nan")}, "should be a loss of 0 or more .* not nan"),
        ({"max_drop": "much"}, "should be a loss of 0 or more .* not 'much'"),
    ],
)
def test_what_cannot_be_asked_for(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=message):
        export(tmp_path, **{"form": "onnx", "quantize": "int8", **changes})


def test_the_run_keeps_the_figures_and_the_card_shows_them(
    teacher: Run, tmp_path: Path, command: Command
) -> None:
    run = Run(Path(shutil.copytree(teacher.path, tmp_path / "run")))
    answer = command("export", run.path, "--format", "onnx", "--quantize", "int8", "--max-drop", "50")
    assert (answer.code, answer.err) == (0, "")
    printed = answer.out.splitlines()
    assert printed[0] == str(run.path / "student.int8.onnx")
    assert printed[3].startswith("before quantization: read back, it agrees with the student on 500 samples")
    assert str(run.path / "quantization.json keeps the figures") in printed
    assert not (run.path / "student.onnx").exists()
    found = read(run.path)
    assert found is not None
    assert found.lies_in(run.path)
    assert (found.drop, found.max_drop) != (None, None)
    card = (run.path / "README.md").read_text()
    assert 'onnxruntime.InferenceSession("student.int8.onnx")' in card
    assert "`student.int8.onnx` has weights in int8, by dynamic quantization. Measured on digits:" in card
    its = found.splits["test"]
    before, after = (f"{100 * value['top1']:.2f}" for value in (its.before, its.after))
    assert f"| top-1 (%), test | {before} | {after} |" in card
    row = next(line for line in printed if "top-1 (%), test" in line)
    assert [cell.strip() for cell in row.split("\N{BOX DRAWINGS LIGHT VERTICAL}")[2:4]] == [before, after]
    (run.path / "student.int8.onnx").write_bytes(b"another file")
    write_model_card(run, run.result)
    assert "Measured on digits" not in (run.path / "README.md").read_text()


NETWORK = """
import torch

def make():
    network = torch.nn.Linear(2, 2)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        network.bias.zero_()
    return network
"""


def test_a_file_that_loses_too_much_is_not_kept(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    Path("fragile_network.py").write_text(NETWORK)
    inputs, targets = fragile(300, 0)
    columns = (*inputs.T.tolist(), ["yes" if label else "no" for label in targets])
    lines = [",".join(map(str, row)) for row in zip(*columns, strict=True)]
    Path("outliers.csv").write_text("\n".join(["small,large,negative", *lines]))
    spec = "table(path='outliers.csv', label='negative')"
    run = limbeck.train(model="fragile_network:make", data=spec, data_dir=Path(), out="run", lr=1e-9, **QUICK)
    assert run.result.metrics.on("test")["top1"] == 1
    (run.path / "student.int8.onnx").write_bytes(b"the one before")
    before = content(tmp_path)
    answer = command("export", "run", "--format", "onnx", "--quantize", "int8", "--overwrite")
    assert (answer.code, answer.out) == (2, "")
    assert "100.00 % before and " in answer.err.replace("\N{NO-BREAK SPACE}", " ")
    assert answer.err.endswith(
        " by 1 point at most; no quantized file was kept; 'run/student.int8.onnx' is the one that was there "
        "before\n"
    )
    assert content(tmp_path) == before
