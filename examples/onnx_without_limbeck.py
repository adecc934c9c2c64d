"""Exports a distilled student, and runs the file with numpy and onnxruntime alone.

What serves the student needs neither limbeck nor torch: `classify` imports numpy and onnxruntime.
"""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np


def classify(file: str, images: Any) -> Any:
    """The class of each image, (N, 1, 8, 8) with values from 0 to 1; the file holds the normalization."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: images.astype(np.float32)})
    return logits.argmax(1)


def main(folder: str, epochs: int = 40) -> dict[str, float]:
    """How many of the test scans the file gets right."""
    import torch

    import limbeck
    from limbeck.data import Loader, load

    torch.set_num_threads(1)
    common: dict[str, Any] = {"epochs": epochs, "display": False, "settings": {"training.trackers": []}}
    teacher = limbeck.train(model="cnn(channels=[32, 64])", data="digits", out=f"{folder}/teacher", **common)
    student = limbeck.distill(
        student="cnn(channels=[4, 8])",
        teacher=teacher,
        data="digits(labeled=100)",
        objective="ce + kd(temperature=4)",
        out=f"{folder}/student",
        **common,
    )
    exported = limbeck.export(student, "onnx")
    print(*exported.lines, sep="\n")
    test = load("digits").test
    assert test is not None
    (batch,) = Loader(test, len(test))
    assert isinstance(batch.inputs, torch.Tensor)
    assert batch.targets is not None
    found = float(np.mean(classify(str(exported.file), batch.inputs.numpy()) == batch.targets.numpy()))
    print(f"{found:.1%} of the test scans are right, by {exported.file.stat().st_size:,} bytes")
    return {"file": found, "student": student.result.metrics.on("test")["top1"]}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(folder)
