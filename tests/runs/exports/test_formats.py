"""ONNX and torch.export: what others find in the files, and every network in them."""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import onnx as onnx_package
import onnxruntime
import pytest
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

from limbeck import data, models
from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.models import Normalization
from limbeck.runs.exports import onnx, pt2
from limbeck.runs.exports.check import CheckError, check
from limbeck.runs.exports.metadata import metadata, named_tensors, preprocessing
from limbeck.runs.exports.program import trace
from limbeck.runs.network_record import describe

SMALL = {
    "cnn": "cnn(channels=[4, 8])",
    "mlp": "mlp(hidden=[8])",
    "resnet": "resnet(blocks=1)",
    "vgg": "vgg(depth=1)",
    "wrn": "wrn(depth=10, width=1)",
    "textcnn": "textcnn(dim=8, channels=4)",
    "transformer": "transformer(dim=8, depth=1, heads=2)",
    "unet": "unet(channels=[4, 8])",
    "deeplab": "deeplab(channels=[4, 8], width=8)",
    "deeplab_mobilenetv2": "deeplab_mobilenetv2(multiplier=0.1, width=4)",
    "lraspp": "lraspp(channels=[4, 4, 8], width=4)",
    "lraspp_mobilenetv2": "lraspp_mobilenetv2(multiplier=0.1, width=4)",
    "fcos": "fcos(channels=[4, 8], levels=2, width=8)",
    "edsr": "edsr(width=4, depth=2)",
    "fsrcnn": "fsrcnn(width=4, inner=2, depth=1)",
}
"""Small networks of some names; the others are as they are."""
SEGMENTERS = ("unet", "deeplab", "deeplab_mobilenetv2", "lraspp", "lraspp_mobilenetv2")


def images(size: int = 32) -> Source:
    draw = torch.Generator().manual_seed(0)
    return data.from_tensors(torch.rand(40, 3, size, size, generator=draw), torch.arange(40) % 4)


def texts() -> Source:
    ids = torch.randint(0, 20, (40, 12), generator=torch.Generator().manual_seed(0))
    tokens = {"input_ids": ids, "attention_mask": (ids > 3).long()}
    return replace(data.from_tensors(tokens, torch.arange(40) % 4, kind="text"), facts={"vocab_size": 20})


def labeled_pixels() -> Source:
    draw = torch.Generator().manual_seed(0)
    maps = torch.randint(4, (40, 16, 16), generator=draw)
    return data.from_tensors(torch.rand(40, 3, 16, 16, generator=draw), maps, task="segmentation")


def boxed() -> Source:
    draw = torch.Generator().manual_seed(0)
    boxes = torch.tensor([2.0, 2.0, 9.0, 9.0, 0.0]).repeat(40, 1, 1)
    boxes[:, 0, 4] = torch.arange(40) % 3
    return data.from_tensors(torch.rand(40, 3, 16, 16, generator=draw), boxes, task="detection")


def enlarged_images() -> Source:
    draw = torch.Generator().manual_seed(0)
    low, high = (
        torch.randint(256, (40, 3, side, side), generator=draw, dtype=torch.uint8) for side in (8, 16)
    )
    return data.from_tensors(low, high, task="restoration")


def write(form: ModuleType, network: nn.Module, source: Source, file: Path) -> None:
    example = source.example()
    inputs = preprocessing(card := describe(network, None, source))
    fields = source.task.fields
    program = trace(network, example, fields=fields)
    form.write(program, list(named_tensors(example)), file, metadata(card, inputs), fields)


def network_for(source: Source, spec: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = models.build(
            spec, example=source.example(), num_classes=source.task.width, facts=source.facts
        ).eval()
    return (
        models.normalize_inputs(network, Normalization(source.mean, source.std)) if source.mean else network
    )


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("mlp", "cnn") else pytest.param(name, marks=pytest.mark.slow)
        for name in models.MODELS
        if name != "gpt"  # a language model is exported as a folder
    ],
)
def test_every_network_answers_the_same_from_a_file(name: str, tmp_path: Path) -> None:
    sources = {
        "fcos": boxed,
        **dict.fromkeys(("textcnn", "transformer"), texts),
        **dict.fromkeys(SEGMENTERS, labeled_pixels),
        **dict.fromkeys(("edsr", "fsrcnn"), enlarged_images),
    }
    source = sources.get(name, images)()
    network = network_for(source, SMALL.get(name, name))
    for form in (onnx, pt2):
        write(form, network, source, tmp_path / "file")
        found = check(network, form.reopen(tmp_path / "file"), source.train, source.task)
        assert found.batches == (1, 2, 32)
        assert found.difference < 1e-5


def test_what_others_find_in_an_onnx_file(tmp_path: Path) -> None:
    source, file = images(8), tmp_path / "student.onnx"
    network = network_for(source, "cnn(channels=[4])")
    write(onnx, network, source, file)
    assert list(tmp_path.iterdir()) == [file], "the weights are inside"
    model = onnx_package.load(file)
    onnx_package.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", onnx.OPSET)]
    kept = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(kept["names"]) == ["0", "1", "2", "3"]
    made = json.loads(kept["preprocessing"])
    assert made["inputs"] == [
        {"name": "inputs", "dtype": "float32", "shape": ["batch", 3, 8, 8], "layout": "NCHW"}
    ]
    assert made["values"] == "values as in the data"  # they were handed over as floats
    assert made["normalization"] == {
        "mean": list(source.mean),
        "std": list(source.std),
        "where": "inside the network",
    }
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (given,), (answer,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape[1:]) == ("inputs", "tensor(float)", [3, 8, 8])
    assert given.shape[0] == "batch"
    assert (answer.name, answer.shape) == ("logits", ["batch", 4])
    assert not model.graph.value_info
    pixels = torch.rand(3, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(
            torch.from_numpy(session.run(None, {"inputs": pixels.numpy()})[0]), network(pixels)
        )


def test_onnxruntime_quantizes_the_file(tmp_path: Path) -> None:
    source, file, smaller = images(8), tmp_path / "student.onnx", tmp_path / "int8.onnx"
    network = network_for(source, "mlp(hidden=[64, 64])")
    write(onnx, network, source, file)
    quantize_dynamic(file, smaller, weight_type=QuantType.QUInt8)
    assert smaller.stat().st_size < 0.5 * file.stat().st_size
    pixels = source.example(40)
    assert isinstance(pixels, torch.Tensor)
    (exact, rounded) = (onnx.reopen(each)(pixels) for each in (file, smaller))
    assert rounded.shape == exact.shape == (len(pixels), 4)
    torch.testing.assert_close(rounded, exact, rtol=0, atol=0.05 * float(exact.abs().max()))
    assert not torch.equal(rounded, exact)


def test_what_others_find_in_a_program_of_torch(tmp_path: Path) -> None:
    source, file = texts(), tmp_path / "student.pt2"
    network = network_for(source, SMALL["textcnn"])
    write(pt2, network, source, file)
    kept = {"names": "", "preprocessing": "", "limbeck": ""}
    program = torch.export.load(file, extra_files=kept)
    assert json.loads(kept["names"]) == ["0", "1", "2", "3"]
    made = json.loads(kept["preprocessing"])
    assert [(each["name"], each["dtype"], each["shape"]) for each in made["inputs"]] == [
        ("input_ids", "int64", ["batch", 12]),
        ("attention_mask", "int64", ["batch", 12]),
    ]
    assert made["normalization"] is None
    example = source.example(5)
    assert not isinstance(example, torch.Tensor)
    with torch.no_grad():
        assert torch.equal(program.module()(*example.values()), network(**example))


def test_nothing_is_said_and_logging_is_left_as_it_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    disabled = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(onnx, network_for(images(8), "mlp(hidden=[])"), images(8), tmp_path / "student.onnx")
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == disabled


def test_a_file_that_onnxruntime_cannot_read_or_run_is_no_agreement(tmp_path: Path) -> None:
    source, file = images(8), tmp_path / "student.onnx"
    file.write_bytes(b"no model")
    with pytest.raises(CheckError, match="onnxruntime cannot read it: "):
        onnx.reopen(file)
    write(onnx, network_for(source, "mlp(hidden=[])"), source, file)
    with pytest.raises(CheckError, match=r"onnxruntime cannot run it: .*invalid dimensions for input"):
        onnx.reopen(file)(torch.rand(2, 5, 8, 8))


def test_operators_that_onnx_has_not_are_refused(tmp_path: Path) -> None:
    class Eigen(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            values: torch.Tensor = torch.linalg.eigvalsh(inputs[:, 0] + inputs[:, 0].mT)
            return values

    with pytest.raises(LimbeckError, match=r"as ONNX: .*aten\._linalg_eigh.*; try the format pt2$"):
        write(onnx, Eigen(), images(8), tmp_path / "student.onnx")


def test_weights_that_are_too_large_for_one_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx, "_LARGEST", 100)
    with pytest.raises(LimbeckError, match=r"less than 2 GiB, and the student has more; use the format pt2"):
        write(onnx, network_for(images(8), "mlp(hidden=[])"), images(8), tmp_path / "student.onnx")
