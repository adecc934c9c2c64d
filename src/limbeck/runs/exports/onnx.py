"""ONNX: runs in onnxruntime and most other engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from limbeck.errors import LimbeckError
from limbeck.outputs import Inputs
from limbeck.runs.exports.check import CheckError
from limbeck.runs.exports.metadata import OUTPUT, named_tensors
from limbeck.runs.exports.program import first_line, quiet

OPSET = 20
"""Version of ONNX's operators, of October 2023; onnxruntime reads it from 1.17 on."""

_LARGEST = 2**31 - 2**20
"""Bytes of weights that a file can hold, which is one protobuf message."""


def write(
    program: ExportedProgram,
    names: Sequence[str],
    file: Path,
    metadata: Mapping[str, str],
    fields: Sequence[str] = (),
) -> str:
    """Writes the model with its weights in the one file; says what there is to know of it.

    Raises:
        LimbeckError: for operators that have no translation, and for weights of 2 GiB and more.
    """
    if sum(tensor.nbytes for tensor in program.state_dict.values()) > _LARGEST:
        raise LimbeckError("an ONNX file holds less than 2 GiB, and the student has more; use the format pt2")
    try:
        with quiet():
            made = torch.onnx.export(
                program,
                input_names=list(names),
                output_names=[OUTPUT, *fields],
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:  # the first one names the operator
            cause = cause.__cause__
        reason = first_line(cause).rstrip(".")
        raise LimbeckError(f"the student cannot be written as ONNX: {reason}; try the format pt2") from error
    assert made is not None, "torch gives nothing only if it writes a file"
    made.model.metadata_props.update(metadata)
    model = made.model_proto
    _tidy(model.graph)
    file.write_bytes(model.SerializeToString())  # save() may put the weights into a second file
    return f"ONNX with opset {OPSET}"


def _tidy(graph: Any) -> None:
    """Calls the free axes `batch`, `length`, `height`, `width`, and drops the shapes of what is in between.

    The exporter numbers the axes, and onnxruntime infers shapes by itself; those in the file contradict what
    its quantization makes of the graph.

    Args:
        graph: the GraphProto, which is changed.
    """
    del graph.value_info[:]
    named: dict[str, str] = {}
    for each in graph.input:
        dimensions = each.type.tensor_type.shape.dim
        names = ("batch", "channels", "height", "width") if len(dimensions) == 4 else ("batch", "length")
        for axis, dimension in zip(names, dimensions, strict=False):
            if dimension.dim_param:
                named.setdefault(dimension.dim_param, axis)
    for value in (*graph.input, *graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param in named:
                dimension.dim_param = named[dimension.dim_param]


def reopen(file: Path, place: int = 0) -> Callable[[Inputs], Tensor]:
    """What the model answers in onnxruntime, on the CPU, with as many threads as torch takes.

    Args:
        file: the model.
        place: which of its outputs; the first are the logits.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kinds = [kind for kind in vars(state).values() if isinstance(kind, type)]
    failures = tuple(kind for kind in kinds if issubclass(kind, Exception))  # they share no base of their own
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.force_spinning_stop", "1")  # or it slows the next session down
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except failures as error:
        raise CheckError(f"onnxruntime cannot read it: {first_line(error)}") from error

    name = session.get_outputs()[place].name

    def answer(inputs: Inputs) -> Tensor:
        try:
            return torch.from_numpy(session.run([name], arrays(inputs))[0])
        except failures as error:
            raise CheckError(f"onnxruntime cannot run it: {first_line(error)}") from error

    return answer


def arrays(inputs: Inputs) -> dict[str, Any]:
    """What a session is given: arrays by the names of the inputs."""
    return {name: tensor.numpy() for name, tensor in named_tensors(inputs).items()}
