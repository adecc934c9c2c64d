"""Eight-bit integers in an ONNX file, made by onnxruntime."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from limbeck.errors import LimbeckError
from limbeck.outputs import Inputs
from limbeck.runs.exports.onnx import arrays
from limbeck.runs.exports.program import first_line, quiet

_CONVOLUTIONS = {"Conv", "ConvTranspose"}
_PRODUCTS = {"MatMul", "Gemm", "Gather", "LSTM"}
"""Operators with weights that dynamic quantization changes; Gather is an embedding."""

_STATIC = [
    *sorted(_CONVOLUTIONS),
    *("Gemm", "MatMul", "Gather"),
    *("Add", "AveragePool", "Clip", "Concat", "GlobalAveragePool", "MaxPool", "Relu"),
    *("Flatten", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
]
"""Operators that static quantization changes: those with weights, and those that lie between them."""

_LAYERS = _CONVOLUTIONS | {"MatMul", "Gemm"}

_FAILURES = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError, OSError)
"""What onnxruntime.quantization raises where a graph is none that it can quantize."""


@dataclass(frozen=True)
class Way:
    """How a graph is quantized.

    Attributes:
        mode: "static", weights and activations with ranges that calibration data gave; or "dynamic", weights,
            and activations with the range that they have in a batch.
        because: what of the network decided it.
    """

    mode: Literal["static", "dynamic"]
    because: str

    def summary(self, calibration: int) -> str:
        """One sentence, for people.

        Args:
            calibration: samples that gave the ranges of static quantization.
        """
        if self.mode == "static":
            how = f"and activations are rounded to 8 bits, in ranges of {calibration:,} training samples"
        else:
            how = "are rounded to 8 bits, and the inputs of layers as they come, in the range of a batch"
        return f"{self.mode} quantization, because the network has {self.because}: weights {how}"


def way_of(file: Path) -> Way:
    """Static quantization for networks with convolutions, dynamic for those with attention and all others.

    Raises:
        LimbeckError: if there is no layer with weights in float32.
    """
    import onnx

    graph = onnx.load(str(file)).graph
    float32 = onnx.TensorProto.FLOAT
    weights = {each.name for each in graph.initializer if each.data_type == float32 and len(each.dims) > 1}
    layers = {node.op_type for node in graph.node if weights.intersection(node.input)}
    attention = any(node.op_type == "MatMul" and not weights.intersection(node.input) for node in graph.node)
    if attention and layers & _PRODUCTS:
        return Way("dynamic", "attention")
    if layers & _CONVOLUTIONS:
        return Way("static", "convolutions")
    if layers & _PRODUCTS:
        return Way("dynamic", "no convolutions")
    raise LimbeckError(
        "there is nothing to quantize: the student has no convolution, linear layer or embedding with "
        "weights in float32; leave out quantize (--quantize)"
    )


def quantize(file: Path, out: Path, way: Way, calibration: Iterator[Inputs]) -> None:
    """Writes the quantized model, with the inputs, outputs and metadata of the one it is made of.

    Weights are integers in [-64, 64], with a scale for each output channel, and activations integers in
    [0, 255]. Products of wider weights overflow on x86 processors without VNNI, so that a file would answer
    differently from machine to machine. The answer of the last layer, and what follows it, stay in float32.

    Args:
        file: the model in float32; files of onnxruntime's are written beside it.
        out: where the quantized one goes.
        way: what `way_of` gives.
        calibration: batches of inputs; static quantization sees each once, dynamic none.
    Raises:
        LimbeckError: if onnxruntime cannot quantize it.
    """
    import onnx
    from onnxruntime import quantization as ort

    model = onnx.load(str(file))
    made = file.with_name(f"int8-{file.name}")
    integers = {"weight_type": ort.QuantType.QInt8, "per_channel": True, "reduce_range": True}
    try:
        with quiet():
            if way.mode == "dynamic":
                ort.quantize_dynamic(str(file), str(made), sorted(_PRODUCTS), **integers)
            else:
                ort.quantize_static(
                    str(file),
                    str(made),
                    _Reader(calibration),
                    op_types_to_quantize=_STATIC,
                    nodes_to_exclude=_after_the_layers(model.graph),
                    activation_type=ort.QuantType.QUInt8,
                    extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
                    **integers,
                )
    except _FAILURES as error:
        raise LimbeckError(f"onnxruntime cannot quantize the student: {first_line(error)}") from error
    quantized = onnx.load(str(made))
    del quantized.graph.value_info[:]  # of the shapes that it inferred
    del quantized.metadata_props[:]
    kept = {each.key: each.value for each in model.metadata_props}
    told = {"precision": "int8", "mode": way.mode}
    for key, value in {**kept, "quantization": json.dumps(told)}.items():
        quantized.metadata_props.add(key=key, value=value)
    out.write_bytes(quantized.SerializeToString())


class _Reader:
    """Calibration data as onnxruntime asks for them."""

    def __init__(self, batches: Iterator[Inputs]) -> None:
        self._batches = batches

    def get_next(self) -> Mapping[str, Any] | None:
        """Arrays by the name of the input; None at the end."""
        inputs = next(self._batches, None)
        return None if inputs is None else arrays(inputs)


def _after_the_layers(graph: Any) -> list[str]:
    """Names of the nodes behind the last layers: a pooling, or the rescaling of the answer."""
    makers = {output: node for node in graph.node for output in node.output}
    found: dict[str, None] = {}
    ahead = [each.name for each in graph.output]
    while ahead:
        node = makers.get(ahead.pop())
        if node is not None and node.op_type not in _LAYERS and node.name not in found:
            found[node.name] = None
            ahead += node.input
    return list(found)
