from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx as onnx_package
import onnxruntime.quantization
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

import onnx_models
from limbeck.errors import LimbeckError
from limbeck.runs.exports import int8, onnx
from limbeck.runs.exports.int8 import Way

IMAGES = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def quantized(make: Callable[[Path], Path], inputs: Tensor, folder: Path) -> tuple[Path, Path]:
    """The file in float32, and the quantized one."""
    file, out = make(folder), folder / "out"
    int8.quantize(file, out, int8.way_of(file), iter(torch.split(inputs, 16)))
    return file, out


def stored(file: Path) -> dict[str, NDArray[np.float32]]:
    return {each.name: numpy_helper.to_array(each) for each in onnx_package.load(file).graph.initializer}


@pytest.mark.parametrize(
    ("make", "inputs", "mode", "because"),
    [
        (onnx_models.convolutional, IMAGES, "static", "convolutions"),
        (onnx_models.attentive, IMAGES, "dynamic", "attention"),
        (onnx_models.linear, IMAGES.reshape(64, -1)[:, :12], "dynamic", "no convolutions"),
        (onnx_models.embedded, (20 * IMAGES[:, 0, 0, :6]).long(), "dynamic", "no convolutions"),
    ],
)
def test_the_network_decides_how_it_is_quantized(
    make: Callable[[Path], Path], inputs: Tensor, mode: str, because: str, tmp_path: Path
) -> None:
    file, out = quantized(make, inputs, tmp_path)
    way = int8.way_of(file)
    assert (way.mode, way.because) == (mode, because)
    exact, rounded = (onnx.reopen(each)(inputs) for each in (file, out))
    assert not torch.equal(exact, rounded)
    assert float((exact - rounded).abs().max()) < 0.1 * float(exact.std())


def test_the_way_is_told() -> None:
    assert Way("static", "convolutions").summary(1234) == (
        "static quantization, because the network has convolutions: weights and activations are rounded to 8 "
        "bits, in ranges of 1,234 training samples"
    )
    assert Way("dynamic", "attention").summary(1234) == (
        "dynamic quantization, because the network has attention: weights are rounded to 8 bits, and the "
        "inputs of layers as they come, in the range of a batch"
    )


def test_a_convolution_beside_attention_stays_in_float32(tmp_path: Path) -> None:
    _, out = quantized(onnx_models.attentive, IMAGES, tmp_path)
    kinds = {node.op_type for node in onnx_package.load(out).graph.node}
    assert {"Conv", "MatMul", "MatMulInteger"} <= kinds
    assert "ConvInteger" not in kinds


def test_an_embedding_is_stored_in_8_bits(tmp_path: Path) -> None:
    _, out = quantized(onnx_models.embedded, (20 * IMAGES[:, 0, 0, :6]).long(), tmp_path)
    assert [each.dtype.name for each in stored(out).values() if each.shape == (20, 8)] == ["uint8"]


@pytest.mark.parametrize("make", [onnx_models.convolutional, onnx_models.attentive])
def test_weights_are_integers_that_do_not_overflow(make: Callable[[Path], Path], tmp_path: Path) -> None:
    _, out = quantized(make, IMAGES, tmp_path)
    weights = [each.astype(int) for each in stored(out).values() if each.dtype == np.int8 and each.ndim > 1]
    assert weights
    assert {int(np.abs(each).max()) for each in weights} <= {63, 64}


def test_inputs_outputs_and_metadata_stay(tmp_path: Path) -> None:
    file, out = (onnx_package.load(each) for each in quantized(onnx_models.convolutional, IMAGES, tmp_path))
    onnx_package.checker.check_model(out, full_check=True)
    assert list(out.graph.input) == list(file.graph.input)
    assert list(out.graph.output) == list(file.graph.output)
    assert not out.graph.value_info
    kept = {each.key: each.value for each in out.metadata_props}
    assert json.loads(kept.pop("quantization")) == {"precision": "int8", "mode": "static"}
    assert kept == onnx_models.METADATA
    answer = onnx.reopen(tmp_path / "out")
    for size in (1, 2, 7):
        assert answer(IMAGES[:size]).shape == (size, 4)


def test_what_follows_the_last_layer_is_not_rounded(tmp_path: Path) -> None:
    """Or 64 answers would lie on 256 steps of equal width."""
    _, out = quantized(onnx_models.convolutional, IMAGES, tmp_path)
    column = onnx.reopen(out)(IMAGES)[:, 0]
    steps = column.sort().values.diff() / (column.max() - column.min()) * 255
    assert float((steps - steps.round()).abs().mean()) > 0.1


def test_static_ranges_are_those_of_the_calibration(tmp_path: Path) -> None:
    file, out = onnx_models.convolutional(tmp_path), tmp_path / "out"
    exact, errors = onnx.reopen(file)(IMAGES), []
    for largest in (1.0, 0.1):
        batches = iter(torch.split(largest * IMAGES, 16))
        int8.quantize(file, out, int8.way_of(file), batches)
        assert next(batches, None) is None, "each batch was taken"
        errors.append(float((onnx.reopen(out)(IMAGES) - exact).abs().max()))
    assert errors[1] > 10 * errors[0]


def test_a_network_without_layers_has_nothing_to_quantize(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match="there is nothing to quantize: the student has no convolution, "):
        int8.way_of(onnx_models.scaled(tmp_path))


def test_what_onnxruntime_cannot_quantize_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object, **named: object) -> None:
        raise ValueError("no such axis\nand more")

    monkeypatch.setattr(onnxruntime.quantization, "quantize_static", fail)
    with pytest.raises(LimbeckError, match=r"^onnxruntime cannot quantize the student: no such axis$"):
        quantized(onnx_models.convolutional, IMAGES, tmp_path)
    assert not (tmp_path / "out").exists()


def test_nothing_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    quantized(onnx_models.convolutional, IMAGES, tmp_path)
    assert capfd.readouterr() == ("", "")
