"""Small files of ONNX, written without the exporter, which takes its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from limbeck.runs.exports.onnx import OPSET

FILE = "student.onnx"
METADATA = {"names": '["a", "b", "c", "d"]', "limbeck": "{}"}


def write(
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, NDArray[np.float32]],
    shape: Sequence[int],
    folder: Path,
    *,
    width: int = 4,
    kind: int = TensorProto.FLOAT,
) -> Path:
    """A file that takes `inputs` (batch, *shape) and gives `logits` (batch, width).

    Each constant of axes or indices is int64, all others float32.
    """
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("inputs", kind, ["batch", *shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", width])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    for key, value in METADATA.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model, full_check=True)
    file = folder / FILE
    file.write_bytes(model.SerializeToString())
    return file


def normal(*shape: int) -> NDArray[np.float32]:
    """The same numbers every time."""
    return np.random.default_rng(0).normal(scale=0.3, size=shape).astype(np.float32)


def linear(folder: Path, weight: NDArray[np.float32] | None = None) -> Path:
    """A linear layer for inputs (batch, 12), or for as many as the weight (C, inputs) has."""
    weight = normal(4, 12) if weight is None else weight
    node = helper.make_node("Gemm", ["inputs", "weight"], ["logits"], "linear", transB=1)
    return write([node], {"weight": weight}, weight.shape[1:], folder, width=len(weight))


def convolutional(folder: Path) -> Path:
    """Two convolutions with a residual connection and a pooling behind them, for inputs (batch, 3, 8, 8)."""
    nodes = [
        helper.make_node("Conv", ["inputs", "w1"], ["first"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["first"], ["positive"], "relu"),
        helper.make_node("Conv", ["positive", "w2"], ["second"], "conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["positive", "second"], ["sum"], "add"),
        helper.make_node("GlobalAveragePool", ["sum"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["logits"], "flatten"),
    ]
    return write(nodes, {"w1": normal(4, 3, 3, 3), "w2": normal(4, 4, 3, 3)}, (3, 8, 8), folder)


def attentive(folder: Path) -> Path:
    """Patches by a convolution, attention among them, and a linear layer, for inputs (batch, 3, 8, 8)."""
    nodes = [
        helper.make_node("Conv", ["inputs", "w1"], ["patches"], "patches", strides=[4, 4]),
        helper.make_node("Reshape", ["patches", "shape"], ["columns"], "reshape"),
        helper.make_node("Transpose", ["columns"], ["tokens"], "transpose", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["tokens", "columns"], ["scores"], "scores"),
        helper.make_node("Softmax", ["scores"], ["shares"], "softmax"),
        helper.make_node("MatMul", ["shares", "tokens"], ["mixed"], "mixed"),
        helper.make_node("ReduceMean", ["mixed", "axes"], ["mean"], "mean", keepdims=0),
        helper.make_node("MatMul", ["mean", "w2"], ["logits"], "classifier"),
    ]
    weights = {
        "w1": normal(8, 3, 4, 4),
        "w2": normal(8, 4),
        "shape": np.array([0, 8, -1]),
        "axes": np.array([1]),
    }
    return write(nodes, weights, (3, 8, 8), folder)


def embedded(folder: Path) -> Path:
    """The mean of embeddings and a linear layer, for token ids (batch, 6) below 20."""
    nodes = [
        helper.make_node("Gather", ["table", "inputs"], ["tokens"], "embedding"),
        helper.make_node("ReduceMean", ["tokens", "axes"], ["mean"], "mean", keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["logits"], "classifier"),
    ]
    weights = {"table": normal(20, 8), "w": normal(8, 4), "axes": np.array([1])}
    return write(nodes, weights, (6,), folder, kind=TensorProto.INT64)


def scaled(folder: Path) -> Path:
    """Weights, and no layer, for inputs (batch, 4)."""
    node = helper.make_node("Mul", ["inputs", "scale"], ["logits"], "scale")
    return write([node], {"scale": normal(1, 4)}, (4,), folder)
