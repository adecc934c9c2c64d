"""Writes a method of your own, and trains with it beside limbeck's and inside MGD.

A package names its methods in the entry-point group `limbeck.methods`; they are then written in the notation,
as `ce + centered_mse`, and pass through every test of a method. Here the method is an object.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from torch import Tensor

import limbeck
from limbeck.arguments import Positive
from limbeck.data import load
from limbeck.methods import CE, KD, MGD, Method
from limbeck.methods.declarations import Reads
from limbeck.outputs import Batch, Outputs


def centered_mse(student: Tensor, teacher: Tensor, scale: float = 1.0) -> Tensor:
    """The mean squared difference of logits, each row without its mean, which softmax does not see.

    Args:
        student: (P, C) logits.
        teacher: (P, C) logits.
        scale: factor of the teacher's logits.
    """
    ours = student - student.mean(1, keepdim=True)
    theirs = teacher - teacher.mean(1, keepdim=True)
    return (ours - scale * theirs).square().mean()


class CenteredMSE(Method):
    """Wires the equation: what it reads of each network, its arguments, and the loss."""

    name = "centered_mse"
    reads = Reads(student=("logits",), teacher=("logits",))

    def __init__(self, scale: Positive = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return centered_mse(student.logits, teacher.logits, self.scale)


def main(folder: str, epochs: int = 30) -> dict[str, float]:
    """Top-1 of the student on test scans of digits by objective; 100 of its 1,000 scans have a label."""
    torch.set_num_threads(1)
    common: dict[str, Any] = {"epochs": epochs, "display": False, "settings": {"training.trackers": []}}
    teacher = limbeck.train(model="cnn(channels=[32, 64])", data="digits", out=f"{folder}/teacher", **common)
    common["data"] = load("digits(labeled=100)")
    small = "cnn(channels=[4, 8])"
    runs = {"student alone": limbeck.train(model=small, out=f"{folder}/alone", **common)}
    own = CE() + 0.1 * CenteredMSE(scale=0.5)
    for name, objective in {"distilled": own, "inside MGD": MGD(own + KD(), scheme="stable")}.items():
        runs[name] = limbeck.distill(
            student=small, teacher=teacher, objective=objective, out=f"{folder}/{name}", **common
        )
    found = {}
    for name, run in runs.items():
        found[name] = run.result.metrics.on("test")["top1"]
        print(f"{name}, {run.result.objective}: {found[name]:.1%} of the test scans are right")
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(folder)
